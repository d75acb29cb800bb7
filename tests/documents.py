"""The documents of the repository: their text, their blocks of commands, their links."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
A_FILE = re.compile(r"<!-- the file (\S+) -->")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


def documents():
    """Return every document, but for what tools and environments bring along."""
    folders = (ROOT, ROOT / "docs", ROOT / "docs" / "decisions", ROOT / "docs" / "reference")
    others = (ROOT / "examples", ROOT / "schemas" / "golden")
    return [path for folder in (*folders, *others) for path in sorted(folder.glob("*.md"))]


@cache
def text_of(document):
    """Return the text of a document."""
    return document.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block of shell commands.

    Attributes:
        reason: why it is not run, None where it is.
        files: name and content of each file that the document showed before it.
    """

    document: Path
    lines: tuple[str, ...]
    reason: str | None
    files: tuple[tuple[str, str], ...] = ()


def shell_blocks(document):
    """Return the blocks that are marked as `sh`."""
    blocks, files, before, body = [], [], "", None
    for line in text_of(document).splitlines():
        if body is None:
            if line.startswith("```") and (line == "```sh" or A_FILE.fullmatch(before)):
                body, marker, file = [], NOT_RUN.fullmatch(before), A_FILE.fullmatch(before)
            before = line
        elif line == "```":
            if file:
                files.append((file[1], "\n".join([*body, ""])))
            else:
                blocks.append(Block(document, tuple(body), marker and marker[1], tuple(files)))
            body = None
        else:
            body.append(line)
    return blocks


def prose(document):
    """Return the text of a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)


def name_of(document):
    """Return how a test calls a document."""
    return document.relative_to(ROOT).as_posix()
