"""The ECG record as a device publishes it, or as a reader of files makes it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard 12 leads, in the order in which the networks take them."""

MISSING_SAMPLE = -32768
"""The int16 that stands for 'no sample here' (as in WFDB format 16)."""

MAX_STEP = 32767
"""The largest step that an int16 holds. A sample lies between -MAX_STEP and MAX_STEP."""


MAX_REMARKS = 16
MAX_REMARK_CODE_CHARACTERS = 64
MAX_REMARK_CHARACTERS = 256
"""Of a remark's sentence. A longer one is cut."""


class Remark(msgspec.Struct, frozen=True):
    """What the device, or the reader of a file, says of a record and that does not prevent its screening.

    The report repeats it among its warnings. It must not identify a patient.

    Attributes:
        code: for a program, such as `library_warning`: lower-case letters, digits and underscores.
        detail: one sentence for a person, cut to `MAX_REMARK_CHARACTERS`.
    """

    code: str
    detail: str

    def __post_init__(self) -> None:
        if len(self.detail) > MAX_REMARK_CHARACTERS:
            msgspec.structs.force_setattr(self, "detail", self.detail[: MAX_REMARK_CHARACTERS - 1] + "…")


def bounded_remarks(remarks: tuple[Remark, ...]) -> tuple[Remark, ...]:
    """Return at most `MAX_REMARKS` remarks: where there are more, the last one says how many are left out."""
    if len(remarks) <= MAX_REMARKS:
        return remarks
    kept = remarks[: MAX_REMARKS - 1]
    return (*kept, Remark("more_remarks", f"{len(remarks) - len(kept)} more remarks are left out"))


class EcgRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One ECG: named leads of equally many int16 samples.

    Attributes:
        samples: little-endian int16, lead after lead; `MISSING_SAMPLE` where there is none.
        paced: whether the patient has a pacemaker, where the device knows.
        site: where the ECG was recorded, such as a hospital and its ward.
        remarks: what the device or the reader of the file says of the record.
    """

    record_id: str
    leads: tuple[str, ...]
    sample_rate_hz: float
    microvolts_per_step: float
    samples: bytes
    patient_id: str | None = None
    device_id: str | None = None
    recorded_at: datetime | None = None
    age_years: float | None = None
    sex: Literal["female", "male"] | None = None
    paced: bool | None = None
    site: str | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def n_samples(self) -> int:
        """Samples a lead."""
        return len(self.samples) // (2 * len(self.leads))
