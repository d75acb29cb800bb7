"""What the comments of a WFDB header say of a patient. A name or a birth date is never read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .pacing import paced_in_words
from .patient import plausible_age, sex_of

_SUBJECT = re.compile(r"<subject_id>:?\s*([A-Za-z0-9_-]+)")
_AGE = re.compile(
    r"\bage>?\s*[:=]?\s*(-?\d{1,9}(?:\.\d{1,9})?)(?:\s*(months?|mos?|weeks?|wks?|days?)\b|\b)", re.IGNORECASE
)
_PER_YEAR = {"m": 12, "w": 365.25 / 7, "d": 365.25}
_SEX = re.compile(r"\b(?:sex|gender)>?\s*[:=]?\s*(female|male|f|m)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is said of a patient."""

    patient_id: str | None
    age_years: float | None
    sex: Literal["female", "male"] | None
    paced: bool | None


def read_comments(comments: Sequence[str]) -> Patient:
    """Return what the comments say of the patient."""
    text = "\n".join(comments)
    subject, sex = _SUBJECT.search(text), _SEX.search(text)
    return Patient(
        patient_id=subject[1] if subject else None,
        age_years=_age(text),
        sex=sex_of(sex[1] if sex else ""),
        paced=paced_in_words(text),
    )


def _age(text: str) -> float | None:
    found = _AGE.search(text)
    if found is None:
        return None
    return plausible_age(float(found[1]) / (_PER_YEAR[found[2][0].lower()] if found[2] else 1))
