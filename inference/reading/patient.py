"""What files say of a patient, in words: age, sex and pacing."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
MAX_STATEMENTS = 500
MAX_STATEMENT = 500

_NEARBY = (
    r"(?:(?:a|an|any|been|being|longer|evidence|signs?|of|atrial(?:ly)?|ventricular(?:ly)?|dual|chamber|electronic"
    r"|artificial|active|visible|obvious|clear|current(?:ly)?|cardiac|implanted|permanent)[\s-]+){0,4}"
)
_PACING = r"(?:paced|pacing|pacemakers?)\b"
_DENIED = re.compile(
    rf"\b(?:not|no|non|without|never|nor|denies|absence\s+of)[\s-]+{_NEARBY}{_PACING}"
    rf"|\b{_PACING}(?:\s+(?:rhythm|spikes?|status|art[ei]facts?|beats?|complexes))?\s*"
    r"(?:[:=]\s*|\b(?:is|was|are|were)\s+)?\b(?:no|none|not\s+(?:seen|present|detected|found|identified|visible|active)"
    r"|false|absent|negative|0|n)\b"
)
_UNKNOWN = re.compile(rf"\b{_PACING}(?:\s+status)?\s*[:=]?\s*\b(?:unknown|undetermined|unlikely)\b")
_PACED = re.compile(
    r"\b(?:paced|pacing)\b|\b(?:electronic|artificial|demand|implanted|permanent|dual[\s-]chamber|sequential)\b"
    r"[^.;]{0,40}\bpacemakers?\b|\bpacemakers?\s+(?:rhythm|spikes?|art[ei]facts?|failure|malfunction|implanted|present)\b"
    r"|\bpacemakers?\s*[:=]\s*(?:yes|true|y|1|present)\b"
)
_NATURAL = re.compile(
    r"\b(?:wandering|ectopic|shifting|junctional|multifocal)\b[^.;]{0,30}\bpacemakers?(?:\s+rhythm)?\b"
)
"""A natural pacemaker of the heart at another place than the sinus node: no device."""


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


def paced_in_words(statements: Iterable[str]) -> bool | None:
    """Return whether statements say that a device paces the heart; False if they only deny it, None if they are silent.

    "Not paced" and "pacemaker: no" deny it. A wandering or an ectopic pacemaker is no device.
    """
    denied = False
    for _, statement in zip(range(MAX_STATEMENTS), statements, strict=False):
        plain = _NATURAL.sub(" ", " ".join(statement[:MAX_STATEMENT].lower().split()))
        plain, denials = _DENIED.subn(" ", _UNKNOWN.sub(" ", plain))
        if _PACED.search(plain):
            return True
        denied = denied or denials > 0
    return False if denied else None
