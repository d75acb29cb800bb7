"""Contec ECG90A files (`.ECG`): a short header, and eight leads interleaved at 800 Hz.

The format is not published. N. Rigacci worked out its layout and its scale (rigacci.org). On a real recording of 12
leads they give a heart's amplitudes, and R waves that grow from V1 to V4. A remark tells where they come from.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .patient import plausible_age
from .recording import Channel, Part, Recording

HEADER_BYTES = 43
LEADS = ("II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
RATE_HZ = 800.0
STEP_UV = 5.0
ZERO = 2048
OFF = 0x6800
"""The value that stands where an electrode was off: no sample."""
SEXES: dict[int, Literal["female", "male"]] = {0: "female", 1: "male"}
UNPUBLISHED = Remark(
    "unpublished_format", "Contec publishes no description of this format: compare with the recorder's own print"
)

_HEAD = re.compile(rb"[0-9]{1,8}\x00*.{2}(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\x00", re.DOTALL)
"""The number of the case in 8 bytes, 2 bytes, and the time."""
_TIME_PLACE = 10


def is_contec(head: bytes) -> bool:
    """Return whether a content begins as an ECG90A's does."""
    return _time_of(head) is not None


def read_contec(content: bytes, path: Path) -> Recording:
    """Return what an ECG90A's file holds. The name of the patient is not read.

    Raises:
        UnreadableFile: the file ends before its samples.
    """
    rows, is_whole = _rows(content) if len(content) > HEADER_BYTES else (np.empty((0, len(LEADS)), np.uint16), False)
    if not len(rows):
        raise UnreadableFile(f"{path} was taken for a Contec ECG90A file, but holds no sample: copy the file again")
    millivolts = np.where(rows == OFF, np.nan, (rows.astype(np.int32) - ZERO) * (STEP_UV / 1e3)).T
    stored = dict(zip(LEADS, millivolts, strict=True))
    leads = {"I": stored["II"] - stored["III"], **stored}
    channels = [Channel(name, samples, RATE_HZ, step_uv=STEP_UV) for name, samples in leads.items()]
    return Recording(
        format_name="Contec ECG90A",
        parts=(Part("the leads", tuple(channels)),),
        recorded_at=_time_of(content),
        age_years=plausible_age(content[41]) if content[41] else None,
        sex=SEXES.get(content[40]),
        remarks=(UNPUBLISHED,)
        if is_whole
        else (UNPUBLISHED, Remark("file_length", "the file is cut short at its end")),
    )


def _rows(content: bytes) -> tuple[NDArray[np.uint16], bool]:
    """Return the samples (samples, 8), and whether they have their end: a row of zeros."""
    count = (len(content) - HEADER_BYTES) // (2 * len(LEADS))
    rows = np.frombuffer(content, "<u2", count * len(LEADS), HEADER_BYTES).reshape(-1, len(LEADS))
    ends = np.flatnonzero(~rows.any(axis=1))
    return (rows[: ends[0]], True) if len(ends) else (rows, False)


def _time_of(content: bytes) -> datetime | None:
    found = _HEAD.match(content[:HEADER_BYTES])
    if found is None or found.start(1) != _TIME_PLACE:
        return None
    try:
        return datetime.fromisoformat(found[1].decode())
    except ValueError:
        return None
