"""Why a content is no ECG, in words, where no reader recognises it."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import UnreadableFile

from .content import printable
from .formats import format_of
from .other_content import is_matlab_4, name_other, name_text
from .other_formats import is_other_format
from .wfdb_folder import HEADER_SUFFIX, SIGNAL_SUFFIXES


def why_no_ecg(path: Path, head: bytes) -> UnreadableFile | None:
    """Return why no reader takes a content, by its first 4 KiB; None where one does."""
    shown = printable(path)
    if not head:
        return UnreadableFile(f"{shown} is empty: copy the file again", code="empty_file")
    if other := name_other(head):
        return UnreadableFile(f"{shown}: {other.sentence}", code=other.code)
    if format_of(head) or is_other_format(path, head):
        return None
    if text := name_text(head):
        return UnreadableFile(f"{shown}: {text.sentence}", code=text.code)
    if is_matlab_4(head) or path.suffix.lower() in SIGNAL_SUFFIXES:
        lacks = (
            f"a signal file of WFDB without its header: {printable(Path(path.stem))}{HEADER_SUFFIX} must lie beside it"
        )
        return UnreadableFile(f"{shown} looks like {lacks}", code="missing_header")
    return UnreadableFile(f"{shown}: the content is of no format that has a reader", code="not_an_ecg")
