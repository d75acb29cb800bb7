"""What files say of a patient, in words: age, sex and pacing."""

from __future__ import annotations

from typing import Literal

OLDEST_YEARS = 120


def plausible_age(years: float | None) -> float | None:
    """Return the age, or None if nobody is that old."""
    return float(years) if years is not None and 0 <= years <= OLDEST_YEARS else None


def sex_of(text: str) -> Literal["female", "male"] | None:
    """Return the sex that a word or a letter names."""
    initial = text.strip().lower()[:1]
    return "female" if initial == "f" else "male" if initial == "m" else None
