"""Warnings about a record that do not come from its signal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.ecg_record import MAX_REMARK_CHARACTERS, EcgRecord, bounded_remarks
from schemas.errors import UnusableSignal
from schemas.messages import QualityWarning

from .stretch import Stretch
from .waveform import MAX_DURATION_S

MAX_SENTENCE_BYTES = 3 * MAX_REMARK_CHARACTERS
"""The longest sentence whose characters take up to three bytes each: all of living scripts."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a record is screened in place of its first 10 s, and why those are refused."""

    stretch: Stretch
    reason: UnusableSignal


def remarks_on(record: EcgRecord, derived: tuple[str, ...], elsewhere: Elsewhere | None) -> list[QualityWarning]:
    """Return what the record, its length and its leads give reason to remark.

    Args:
        record: that is screened.
        derived: the leads that were computed.
        elsewhere: the seconds that are screened, unless they are the first.
    """
    remarks = []
    if record.paced:
        remarks.append(QualityWarning(code="paced", detail="a paced rhythm: the network has seen few of them"))
    if elsewhere is not None:
        remarks.append(_gap_left_out(record, elsewhere))
    if record.n_samples / record.sample_rate_hz > MAX_DURATION_S:
        remarks.append(_longer(record, elsewhere))
    if derived:
        listed = ", ".join(derived)
        remarks.append(
            QualityWarning(code="derived_leads", detail=f"computed from I and II: {listed}", numbers={"leads": listed})
        )
    own = [QualityWarning(code=one.code, detail=_sentence(one.detail)) for one in bounded_remarks(record.remarks)]
    return remarks + own


def _sentence(text: str) -> str:
    """Return a device's sentence as a report takes it: on one line, and short enough for 16 of them in a message."""
    return _CONTROL.sub(" ", text).encode(errors="replace")[:MAX_SENTENCE_BYTES].decode(errors="ignore")


def _gap_left_out(record: EcgRecord, elsewhere: Elsewhere) -> QualityWarning:
    from_s, to_s = _seconds(record, elsewhere.stretch)
    sentence = f"{elsewhere.reason.detail}: the seconds from {from_s:.1f} to {to_s:.1f} were screened"
    numbers = {**elsewhere.reason.numbers, "screened_from_s": from_s, "screened_to_s": to_s}
    return QualityWarning(code="gap_left_out", detail=sentence, numbers=numbers)


def _longer(record: EcgRecord, elsewhere: Elsewhere | None) -> QualityWarning:
    duration_s = record.n_samples / record.sample_rate_hz
    from_s, to_s = _seconds(record, elsewhere.stretch) if elsewhere else (0.0, MAX_DURATION_S)
    part = f"the seconds from {from_s:.1f} to {to_s:.1f}" if elsewhere else f"the first {MAX_DURATION_S:g} s"
    return QualityWarning(
        code="longer_than_10s",
        detail=f"only {part} of {duration_s:.1f} s were screened",
        numbers={"duration_s": duration_s, "screened_from_s": from_s, "screened_to_s": to_s},
    )


def _seconds(record: EcgRecord, stretch: Stretch) -> tuple[float, float]:
    """Return when the stretch starts and stops in the record."""
    from_s, to_s = (round(place / record.sample_rate_hz, 3) for place in stretch)
    return from_s, to_s
