"""What files say of a patient, in words: age and sex."""

from __future__ import annotations

from typing import Literal

OLDEST_YEARS = 120
YEARS_IN = {
    **dict.fromkeys(("years", "year", "yr", "y", "a"), 1.0),
    **dict.fromkeys(("months", "month", "mo"), 1 / 12),
    **dict.fromkeys(("weeks", "week", "wk"), 7 / 365.25),
    **dict.fromkeys(("days", "day", "d"), 1 / 365.25),
    **dict.fromkeys(("hours", "hour", "h"), 1 / 8766),
}
"""How many years the units are that files give ages in."""


def plausible_age(years: float | None) -> float | None:
    """Return the age, or None if nobody is that old."""
    return float(years) if years is not None and 0 <= years <= OLDEST_YEARS else None


def sex_of(text: str) -> Literal["female", "male"] | None:
    """Return the sex that a word or a letter names."""
    initial = text.strip().lower()[:1]
    return "female" if initial == "f" else "male" if initial == "m" else None


def years_of(value: float | None, unit: str) -> float | None:
    """Return an age in years, or None if its unit is not known or nobody is that old."""
    years_in = YEARS_IN.get(unit.strip().lower())
    return plausible_age(value * years_in) if value is not None and years_in else None
