"""MkDocs: the site has the repository's own layout, so that a relative link works in both."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PUBLISHED = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "docs/**/*.md",
    "docker/*",
    "examples/*",
    "schemas/*.avsc",
    "schemas/*.yaml",
    "schemas/golden/*",
    "schemas/json/*.json",
    "stream/dashboard/screenshots/*.png",
)
"""What the site holds: the documents, and every file that they link to."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of `docs_dir` by those of the repository; the theme's own files stay."""
    root = Path(config.config_file_path).parent
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in (path for pattern in PUBLISHED for path in sorted(root.glob(pattern)) if path.is_file()):
        name = path.relative_to(root).as_posix()
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files
