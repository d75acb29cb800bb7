"""What a reader finds in a file: parts of channels in mV, each with rate and start, and what is said of the patient.

Every reader returns a `Recording`. `assemble.py` makes it an ECG record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import Remark


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One recorded signal.

    Attributes:
        name: as the file writes it; empty where the file gives none.
        millivolts: (samples,) float, NaN where no sample was recorded or where the device marked a fault.
        rate_hz: samples a second.
        start_s: when the first sample was taken, in seconds after a time that all channels of the file share.
    """

    name: str
    millivolts: NDArray[np.floating[Any]]
    rate_hz: float
    start_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """The time from the first sample to the end of the last."""
        return len(self.millivolts) / self.rate_hz


@dataclass(frozen=True, slots=True)
class Part:
    """Channels that the file keeps together: a multiplex group, a series, a waveform, a segment.

    Attributes:
        title: what the format calls it and which one it is: 'multiplex group 2 (RHYTHM)'.
        derived: whether its samples were computed from others, as a median beat is.
    """

    title: str
    channels: tuple[Channel, ...]
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """All that a reader found in a file.

    Attributes:
        format_name: what the file was taken for: 'DICOM', 'SCP-ECG'.
        recorded_at: when the recording began. Where the file names no time zone, it has none, and the reader's caller
            says which zone is meant.
        paced: whether the patient has a pacemaker, where the file says so.
        remarks: the doubts of the reader, or of its library.
    """

    format_name: str
    parts: tuple[Part, ...]
    patient_id: str | None = None
    device_id: str | None = None
    recorded_at: datetime | None = None
    age_years: float | None = None
    sex: Literal["female", "male"] | None = None
    paced: bool | None = None
    remarks: tuple[Remark, ...] = ()
