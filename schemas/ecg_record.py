"""The ECG record as a device publishes it."""

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


class EcgRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One ECG: named leads of equally many int16 samples.

    Attributes:
        samples: little-endian int16, lead after lead; `MISSING_SAMPLE` where there is none.
        paced: whether the patient has a pacemaker, where the device knows.
        site: where the ECG was recorded, such as a hospital and its ward.
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

    @property
    def n_samples(self) -> int:
        """Samples a lead."""
        return len(self.samples) // (2 * len(self.leads))
