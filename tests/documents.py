"""The documents of the repository: their text, their blocks of commands, their links."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
    """A fenced block of shell commands; `reason` is why it is not run, None where it is."""

    document: Path
    lines: tuple[str, ...]
    reason: str | None


def shell_blocks(document):
    """Return the blocks that are marked as `sh`."""
    blocks, before, body = [], "", None
    for line in text_of(document).splitlines():
        if body is None:
            if line == "```sh":
                body, marker = [], NOT_RUN.fullmatch(before)
            before = line
        elif line == "```":
            blocks.append(Block(document, tuple(body), marker and marker[1]))
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
