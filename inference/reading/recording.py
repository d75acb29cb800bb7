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
        samples: (samples,) float in mV, NaN where no sample was recorded or where the device marked a fault; or int16,
            if `steps_per_mv` says so.
        rate_hz: samples a second.
        start_s: when the first sample was taken, in seconds after a time that all channels of the file share.
        step_uv: the file's own step, where the samples are multiples of one: the record keeps it, and so the samples.
        unusable: why the samples cannot be taken as voltages: 'in mmHg'. Such a channel serves the error alone, which
            names it; its samples only say how long it is.
        steps_per_mv: the samples are whole steps as a record keeps them, so many a mV, and none is missing. A record of
            such channels alone is made without arithmetic.
    """

    name: str
    samples: NDArray[Any]
    rate_hz: float
    start_s: float = 0.0
    step_uv: float | None = None
    unusable: str = ""
    steps_per_mv: float | None = None

    @property
    def millivolts(self) -> NDArray[np.floating[Any]]:
        """The samples in mV."""
        return self.samples if self.steps_per_mv is None else self.samples / self.steps_per_mv

    @property
    def duration_s(self) -> float:
        """The time from the first sample to the end of the last."""
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True, slots=True)
class Part:
    """Channels that the file keeps together: a multiplex group, a series, a waveform, a segment.

    Attributes:
        title: what the format calls it and which one it is: 'multiplex group 2 (RHYTHM)'.
        derived: whether its samples were computed from others, as a median beat is. A part that was recorded is taken
            before a derived one.
    """

    title: str
    channels: tuple[Channel, ...]
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """All that a reader found in a file.

    Attributes:
        format_name: what the file was taken for: 'DICOM', 'SCP-ECG'.
        recorded_at: the time from which the channels' starts count. Where the file names no time zone, it has none, and
            the reader's caller says which zone is meant.
        paced: whether the patient has a pacemaker, where the file says so.
        remarks: the doubts of the reader, or of its library. They become remarks of the ECG record.
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
