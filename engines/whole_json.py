"""JSON as files that are whole or not there, whenever the process is killed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from .whole_file import write_whole


def write_json(path: Path, content: object) -> None:
    """Write the content as JSON that people and programs read."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
