"""The formats, each with how its content is recognised and who reads it.

A format is recognised by the first bytes of its content alone: a file may have any name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .aecg import NAME as AECG
from .aecg import is_aecg, read_aecg
from .contec import is_contec, read_contec
from .dicom import read_dicom
from .dicom_content import is_dicom
from .edf import read_edf
from .edf_header import is_edf
from .ishne import is_ishne, read_ishne
from .mfer import read_mfer
from .mfer_definitions import is_mfer
from .muse import NAME as MUSE
from .muse import is_muse, read_muse
from .recording import Recording
from .scp import read_scp
from .scp_sections import is_scp
from .sierra import is_sierra, read_sierra
from .sierra_waveforms import NAME as SIERRA


@dataclass(frozen=True, slots=True)
class Format:
    """A file format with a reader of ours.

    Attributes:
        name: as people call it.
        recognise: whether the first 4 KiB of a content are of this format. It is quick and never raises.
        read: returns what a content holds. The path is for the words of errors alone. It raises `UnreadableFile`.
        in_child: whether a library of others parses the content. Then it is read in a child; see `in_child.py`.
    """

    name: str
    recognise: Callable[[bytes], bool]
    read: Callable[[bytes, Path], Recording]
    in_child: bool = False


FORMATS: tuple[Format, ...] = (
    Format("DICOM", is_dicom, read_dicom, in_child=True),
    Format("SCP-ECG", is_scp, read_scp),
    Format("EDF or BDF", is_edf, read_edf),
    Format("ISHNE Holter", is_ishne, read_ishne),
    Format("Contec ECG90A", is_contec, read_contec),
    Format(MUSE, is_muse, read_muse, in_child=True),
    Format(AECG, is_aecg, read_aecg, in_child=True),
    Format(SIERRA, is_sierra, read_sierra, in_child=True),
    Format("MFER", is_mfer, read_mfer),  # it has no mark of its own, and is asked after those that have
)
"""In the order in which they are asked. What none recognises goes to `other_formats.py`."""


def format_of(head: bytes) -> Format | None:
    """Return the format of a content by its first bytes, or None."""
    return next((known for known in FORMATS if known.recognise(head)), None)
