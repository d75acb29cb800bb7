"""Doubts about an ECG that its own measurements raise: what no heart does is noise, a spike, or a wrong sample rate."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.messages import EcgMeasurement

from .ecg_measurements import HEART_RATE, QRS
from .gate import Verdict

SLOWEST, FASTEST = 20.0, 230.0
"""Beats a minute. Of 487 real records, the slowest has 32 and the fastest 187."""
NARROWEST_MS = 50.0
"""A narrower QRS complex is a pacing spike or an artefact. Of 487 real records, the narrowest has 72 ms."""


def doubt_measurements(verdicts: Sequence[Verdict], measurements: Sequence[tuple[EcgMeasurement, ...]]) -> None:
    """Add the doubts that the measurements of records raise to the verdicts on these records."""
    for verdict, measured in zip(verdicts, measurements, strict=True):
        values = {one.name: one.value for one in measured}
        _doubt_rate(verdict, values[HEART_RATE])
        _doubt_qrs(verdict, values[QRS])


def _doubt_rate(verdict: Verdict, rate: float | None) -> None:
    if rate is None:
        verdict.doubt("no_like_beats", "fewer than three whole beats are alike: is this a heart, or noise?")
    elif not SLOWEST <= rate <= FASTEST:
        sentence = f"{rate:.0f} beats a minute are no heart's: noise, or a wrong sample rate"
        verdict.doubt("implausible_rate", sentence, heart_rate_per_min=rate)


def _doubt_qrs(verdict: Verdict, qrs_ms: float | None) -> None:
    if qrs_ms is not None and qrs_ms < NARROWEST_MS:
        sentence = f"a QRS complex of {qrs_ms:.0f} ms is too narrow for a heart: pacing spikes or artefacts"
        verdict.doubt("narrow_qrs", sentence, qrs_duration_ms=qrs_ms)
