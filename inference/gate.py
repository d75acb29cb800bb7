"""The gate: which signals can be screened, and with what doubts; every verdict has a code and its numbers.

The thresholds were set on the 274 records of LUDB, PTB-XL, Chapman-Ningbo, Georgia, CPSC and PTB that the developers
have, none of which is refused but for flat leads, and on copies of PTB-XL whose headers' gain is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS
from schemas.errors import UnusableSignal
from schemas.messages import QualityWarning

from .waveform import MAX_DURATION_S

Signals: TypeAlias = NDArray[np.float32]

DECIMALS = 4
"""Of the numbers that a verdict carries."""
LOOK_RATE_HZ = 250
"""The signals are looked at about this finely; what the gate asks does not need more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate lets pass.

    Attributes:
        min_duration_s: the network's crop.
        min_rate_hz: below, the QRS complex is no longer there.
        max_rate_hz: above, nothing is recorded for 12 leads at rest.
        flat_mv: a lead that moves less than this within a second is flat there: the smallest real lead of the
            developers' records moves 0.17 mV a second.
        flat_share: of a lead's seconds, from which on the lead is refused.
        missing_run_s: samples missing in one go; shorter gaps are bridged, with a warning.
        missing_share: of all samples of a lead.
        rail_share: of a lead's samples that stand at its very highest or lowest value; 1.2 % at most in real records.
        rail_mv: how far from the lead's median that value lies at least; a quiet baseline is no rail.
        steepest_mv: the 98th percentile of the change in 4 ms, in the median lead: 0.47 mV at most in real records (a
            paced one), 0.53 mV at least in PTB-XL records made five times too large.
        smallest_mv: the spread of the median lead between its 0.5th and 99.5th percentile; 0.3 mV at least in real
            records.
        peak_mv: a peak that is an artefact; screened with a warning.
        einthoven: I + III - II, as the root mean square of its changes against those of I and II: 0 by law. LUDB,
            whose leads were filtered apart, has 0.5 and up to 0.75; two leads exchanged have 1.25 at the median.
        reversal: the correlation of the changes of I and V6, which look at the heart from the same side.
    """

    min_duration_s: float = 9.0
    min_rate_hz: float = 100.0
    max_rate_hz: float = 1000.0
    flat_mv: float = 0.02
    flat_share: float = 0.5
    missing_run_s: float = 0.2
    missing_share: float = 0.02
    rail_share: float = 0.02
    rail_mv: float = 0.3
    steepest_mv: float = 0.5
    smallest_mv: float = 0.1
    peak_mv: float = 10.0
    einthoven: float = 0.65
    reversal: float = -0.5


LIMITS = Limits()


@dataclass(slots=True)
class Verdict:
    """What the gate says of one record: a refusal, or its doubts."""

    refusal: UnusableSignal | None = None
    doubts: list[QualityWarning] = field(default_factory=list)

    def refuse(self, code: str, detail: str, **numbers: float | str) -> None:
        """Refuse the record, unless it was refused already."""
        if self.refusal is None:
            self.refusal = UnusableSignal(detail, code=code, record_id=None, **_rounded(numbers))

    def doubt(self, code: str, detail: str, **numbers: float | str) -> None:
        """Add a doubt."""
        self.doubts.append(QualityWarning(code=code, detail=detail, numbers=_rounded(numbers)))


def check_extent(samples: int, sample_rate_hz: float, limits: Limits = LIMITS) -> None:
    """Refuse what is too short or sampled at no rate that we know.

    Raises:
        UnusableSignal: `unsupported_rate` or `too_short`.
    """
    if not limits.min_rate_hz <= sample_rate_hz <= limits.max_rate_hz:
        raise UnusableSignal(
            f"a rate of {sample_rate_hz:g} Hz is outside {limits.min_rate_hz:g}-{limits.max_rate_hz:g} Hz",
            code="unsupported_rate",
            sample_rate_hz=sample_rate_hz,
        )
    duration_s = samples / sample_rate_hz
    if round(samples * LOOK_RATE_HZ / sample_rate_hz) < round(limits.min_duration_s * LOOK_RATE_HZ):
        raise UnusableSignal(
            f"{duration_s:.2f} s are too short: the network needs {limits.min_duration_s:g} s",
            code="too_short",
            duration_s=duration_s,
            needed_s=limits.min_duration_s,
        )


def examine(signals_mv: Signals, sample_rate_hz: float, limits: Limits = LIMITS) -> list[Verdict]:
    """Return a verdict for each record.

    Args:
        signals_mv: (records, 12, samples) float32 in the order of `LEADS`, NaN where a sample is missing; of an
            extent that `check_extent` lets pass. What lies beyond the 10 s that are screened is not looked at.
        sample_rate_hz: of the signals.
        limits: what to let pass.
    """
    used = signals_mv[..., : round(MAX_DURATION_S * sample_rate_hz)]
    verdicts = [Verdict() for _ in used]
    _judge_missing(verdicts, used, sample_rate_hz, limits)
    stride = max(1, round(sample_rate_hz / LOOK_RATE_HZ))
    # Missing samples are judged above; below, zeros stand for them (a lead may be missing throughout).
    look = np.nan_to_num(used[..., ::stride], nan=0.0)
    rate_hz = sample_rate_hz / stride
    with np.errstate(over="ignore", invalid="ignore"):  # absurd amplitudes are refused below
        _judge_flatness(verdicts, look, rate_hz, limits)
        _judge_rails(verdicts, look, limits)
        _judge_amplitude(verdicts, look, rate_hz, limits)
        _judge_limb_leads(verdicts, np.diff(look), limits)
    return verdicts


def _judge_missing(verdicts: Sequence[Verdict], signals: Signals, rate_hz: float, limits: Limits) -> None:
    missing = ~np.isfinite(signals)
    for index in np.flatnonzero(missing.any(axis=(1, 2))).tolist():
        verdict, gaps = verdicts[index], missing[index]
        share = gaps.mean(axis=1)
        run_s = np.array([longest_run(lead) for lead in gaps]) / rate_hz
        numbers = {"longest_run_s": float(run_s.max()), "largest_share": float(share.max())}
        leads = _named((run_s > limits.missing_run_s) | (share > limits.missing_share))
        if leads:
            verdict.refuse("nan_run", f"too many samples are missing in {leads}", leads=leads, **numbers)
        else:
            verdict.doubt("short_nan_run", "a few missing samples were bridged", **numbers)


def _judge_flatness(verdicts: Sequence[Verdict], look: Signals, rate_hz: float, limits: Limits) -> None:
    second = round(rate_hz)
    seconds = look.shape[-1] // second
    windows = look[..., : seconds * second].reshape(*look.shape[:2], seconds, second)
    share = (np.ptp(windows, axis=-1) < limits.flat_mv).mean(axis=-1)
    for index in np.flatnonzero((share > 0).any(axis=1)).tolist():
        flat = _named(share[index] >= limits.flat_share)
        if flat:
            count = int((share[index] >= limits.flat_share).sum())
            verdicts[index].refuse("flat_lead", f"flat: {flat}", leads=flat, flat_leads=count)
        else:
            worst, most = _named(share[index] > 0), float(share[index].max())
            verdicts[index].doubt("partly_flat_lead", f"flat for a part: {worst}", leads=worst, largest_share=most)


def _judge_rails(verdicts: Sequence[Verdict], look: Signals, limits: Limits) -> None:
    for rail in (look.max(axis=-1, keepdims=True), look.min(axis=-1, keepdims=True)):
        share = (look == rail).mean(axis=-1)
        for index in np.flatnonzero((share > limits.rail_share).any(axis=1)).tolist():
            far = np.abs(rail[index, :, 0] - np.median(look[index], axis=-1)) > limits.rail_mv
            if leads := _named((share[index] > limits.rail_share) & far):
                most = float(share[index][far].max())
                verdicts[index].refuse("saturated", f"cut off at a rail: {leads}", leads=leads, largest_share=most)


def _judge_amplitude(verdicts: Sequence[Verdict], look: Signals, rate_hz: float, limits: Limits) -> None:
    changes = np.abs(np.diff(look)) * np.float32(rate_hz / LOOK_RATE_HZ)
    steepest = np.median(_percentile(changes, 98), axis=1)
    spread = np.median(_percentile(look, 99.5) - _percentile(look, 0.5), axis=1)
    peak = np.abs(look).max(axis=(1, 2))
    for verdict, steep, wide, high in zip(verdicts, steepest.tolist(), spread.tolist(), peak.tolist(), strict=True):
        numbers = {"change_in_4ms_mv": steep, "spread_mv": wide, "peak_mv": high}
        if not steep <= limits.steepest_mv:
            verdict.refuse("implausible_gain", "the amplitudes are too large for a heart: check the gain", **numbers)
        elif not wide >= limits.smallest_mv:
            verdict.refuse("implausible_gain", "the amplitudes are too small for a heart: check the gain", **numbers)
        elif high > limits.peak_mv:
            verdict.doubt("high_peak", f"a peak of {high:.1f} mV is an artefact", peak_mv=high)


def _judge_limb_leads(verdicts: Sequence[Verdict], changes: Signals, limits: Limits) -> None:
    i, ii, iii, v6 = (changes[:, LEADS.index(name)] for name in ("I", "II", "III", "V6"))
    size = np.sqrt(_power(i) + _power(ii))
    gap = np.sqrt(_power(i + iii - ii)) / np.maximum(size, np.float32(1e-9))
    likeness = np.einsum("ij,ij->i", i, v6) / i.shape[1] / np.maximum(np.sqrt(_power(i) * _power(v6)), 1e-12)
    for verdict, broken, alike in zip(verdicts, gap.tolist(), likeness.tolist(), strict=True):
        if broken > limits.einthoven:
            sentence = "I + III is not II: limb leads exchanged?"
            verdict.doubt("einthoven", sentence, gap=broken)
        if alike < limits.reversal:
            sentence = "I and V6 oppose each other: arm electrodes exchanged?"
            verdict.doubt("limb_lead_reversal", sentence, correlation=alike)


def _rounded(numbers: Mapping[str, float | str]) -> dict[str, Any]:
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in numbers.items()}


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _percentile(signals: Signals, percent: float) -> Signals:
    """Return the percentile over time, as one of the samples: a partition, cheaper than interpolating."""
    place = round(percent / 100 * (signals.shape[-1] - 1))
    return np.asarray(np.partition(signals, place, axis=-1)[..., place])


def _power(changes: Signals) -> Signals:
    return np.asarray(np.square(changes).mean(axis=-1))


def _named(mask: NDArray[np.bool_]) -> str:
    return ", ".join(name for name, wanted in zip(LEADS, mask, strict=True) if wanted)
