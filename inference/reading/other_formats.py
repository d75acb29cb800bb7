"""Formats that `ecgdatakit` reads and that have no reader of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .patient import plausible_age, sex_of
from .recording import Channel, Part, Recording
from .units import millivolts_per

if TYPE_CHECKING:
    from ecgdatakit import ECGRecord


def read_other(path: Path) -> Recording:
    """Return what `ecgdatakit` finds in a file.

    Raises:
        Exception: whatever the library raises.
    """
    from ecgdatakit import FileParser

    parsed: ECGRecord = FileParser().parse(path)
    channels = tuple(
        Channel(lead.label, lead.samples * (millivolts_per(str(lead.units)) or 1.0), float(lead.sampling_rate))
        for lead in parsed.leads
    )
    patient = parsed.patient
    return Recording(
        format_name=str(parsed.file_format.name),
        parts=(Part("the leads", channels),),
        age_years=plausible_age(patient.age),
        sex=sex_of(str(patient.sex)),
        paced=patient.has_pacemaker,
    )
