"""The gate: which signals can be screened, and with what doubts; every verdict has a code and its numbers.

The thresholds were set on the 274 records of LUDB, PTB-XL, Chapman-Ningbo, Georgia, CPSC and PTB that the developers
have, none of which is refused but for flat leads, and on copies of PTB-XL whose headers' gain is wrong.
"""

from __future__ import annotations

import itertools
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
CHUNK_RECORDS = 8
"""Records looked at in one go, so that the temporaries stay in the cache."""

STEEP_PERCENT = 98
"""Of a lead's changes: the percentile that tells how steep it is."""
TINY_MV2 = 1e-9
"""Power of changes that stands for none, so that nothing is divided by 0."""

LIMB_LEADS = LEADS[:6]


def _power_weights(combinations: Sequence[Sequence[Sequence[float]]]) -> Signals:
    """Return (36, n): how the products of the six limb leads add up to the power of each of n sets of combinations."""
    weights = [np.sum([np.outer(one, one) for one in combination], axis=0).ravel() for combination in combinations]
    return np.array(weights, np.float32).T


EINTHOVEN = _power_weights([[(1, -1, 1, 0, 0, 0)]])
"""The combination of the limb leads that is 0 by Einthoven's law."""
_AUGMENTED = {"aVR": (0.5, 0.5), "aVL": (-1, 0.5), "aVF": (0.5, -1)}
GOLDBERGER = _power_weights(
    [
        [(*_AUGMENTED[name], 0, *(float(name == place) for place in places)) for name in _AUGMENTED]
        for places in itertools.permutations(_AUGMENTED)
    ]
)
"""The three combinations that are 0 by Goldberger's laws, first as named and then for each exchange of the names."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate lets pass.

    Attributes:
        min_duration_s: the network's crop.
        min_rate_hz: below, the QRS complex is no longer there.
        max_rate_hz: above, nothing is recorded for 12 leads at rest.
        flat_mv: a lead that moves less than this within a second is flat there: the smallest real lead of the
            developers' records moves 0.17 mV a second.
        flat_of_largest: and less than this share of what the largest lead moves.
        flat_share: of a lead's seconds, from which on the lead is refused.
        missing_run_s: samples missing in one go; shorter gaps are bridged, with a warning.
        missing_share: of all samples of a lead.
        rail_share: of a lead's samples that stand at its very highest or lowest value; 1.2 % at most in real records.
        rail_mv: how far from the lead's median that value lies at least; a quiet baseline is no rail.
        steepest_mv: the 98th percentile of the change in 4 ms, in the median lead: 0.47 mV at most in real records (a
            paced one), 0.53 mV at least in PTB-XL records made five times too large.
        smallest_mv: how far a lead moves within a second, the median of all leads and seconds; 0.3 mV at least in real
            records.
        small_mv: the same, from which on it is no doubt. Between the two lies low voltage, a sign of the very diseases
            that are screened for, and 85 % of records whose gain is five times too small.
        peak_mv: a peak that is an artefact; screened with a warning.
        einthoven: I + III - II, as the root mean square of its changes against those of I and II: 0 by law. LUDB,
            whose leads were filtered apart, has up to 0.75 (0.37 at the median); I and II exchanged have 1.25.
        lead_order: the same deviation of aVR, aVL and aVF from Goldberger's laws, against the least one under other
            names; 0.74 at most in real records, 1.35 at least once two of them exchange their names.
        reversal: the correlation of the changes of I and V6, which look at the heart from the same side: below it are
            81 % of records with the arm electrodes exchanged, and two real ones of 274, both paced.
    """

    min_duration_s: float = 9.0
    min_rate_hz: float = 100.0
    max_rate_hz: float = 1000.0
    flat_mv: float = 0.02
    flat_of_largest: float = 0.05
    flat_share: float = 0.5
    missing_run_s: float = 0.2
    missing_share: float = 0.02
    rail_share: float = 0.02
    rail_mv: float = 0.3
    steepest_mv: float = 0.5
    smallest_mv: float = 0.1
    small_mv: float = 0.25
    peak_mv: float = 10.0
    einthoven: float = 0.8
    lead_order: float = 1.2
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
    chunks = (used[start : start + CHUNK_RECORDS] for start in range(0, len(used), CHUNK_RECORDS))
    return [verdict for chunk in chunks for verdict in _examine_chunk(chunk, sample_rate_hz, limits)]


def _examine_chunk(signals: Signals, sample_rate_hz: float, limits: Limits) -> list[Verdict]:
    verdicts = [Verdict() for _ in signals]
    stride = max(1, round(sample_rate_hz / LOOK_RATE_HZ))
    look = signals[..., ::stride].copy()
    if not np.isfinite(signals).all():
        _judge_missing(verdicts, signals, sample_rate_hz, limits)
        look = _filled(look)
    rate_hz = sample_rate_hz / stride
    with np.errstate(over="ignore", invalid="ignore"):  # absurd amplitudes are refused below
        changes = look[..., 1:] - look[..., :-1]
        movements = _movements(look, rate_hz)
        highest, lowest = look.max(axis=-1), look.min(axis=-1)
        _judge_flatness(verdicts, movements, limits)
        _judge_rails(verdicts, look, (highest, lowest), limits)
        _judge_amplitude(verdicts, changes, rate_hz, movements, limits)
        _judge_peaks(verdicts, look, (highest, lowest), limits)
        _judge_limb_leads(verdicts, changes, limits)
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


def _filled(look: Signals) -> Signals:
    """Return signals in which each lead's median stands for what is missing, and zeros for a whole lead."""
    missing = ~np.isfinite(look)
    known = np.where(missing, np.float32(np.nan), look)
    known[missing.all(axis=-1)] = 0
    return np.where(missing, np.nanmedian(known, axis=-1, keepdims=True), look)


def _movements(look: Signals, rate_hz: float) -> Signals:
    """Return how far each lead moves within each second, (records, 12, seconds), in mV."""
    second = round(rate_hz)
    seconds = look.shape[-1] // second
    by_second = look[..., : seconds * second].reshape(*look.shape[:2], seconds, second)
    return np.asarray(by_second.max(axis=-1) - by_second.min(axis=-1))


def _judge_flatness(verdicts: Sequence[Verdict], movements: Signals, limits: Limits) -> None:
    # Against the largest lead as well: an ECG that is small in all leads is a matter of gain.
    largest = _medians(movements).max(axis=1)
    still = np.minimum(limits.flat_of_largest * largest, limits.flat_mv)
    share = ((movements < still[:, None, None]) | (movements == 0)).mean(axis=-1)
    for index in np.flatnonzero((share > 0).any(axis=1)).tolist():
        flat = share[index] >= limits.flat_share
        if flat.any():
            leads = _named(flat)
            verdicts[index].refuse("flat_lead", f"flat: {leads}", leads=leads, flat_leads=int(flat.sum()))
        else:
            leads, most = _named(share[index] > 0), float(share[index].max())
            verdicts[index].doubt("partly_flat_lead", f"flat for a part: {leads}", leads=leads, largest_share=most)


def _judge_rails(verdicts: Sequence[Verdict], look: Signals, rails: Sequence[Signals], limits: Limits) -> None:
    for rail in rails:
        share = _counts(look == rail[..., None]) / look.shape[-1]
        for index in np.flatnonzero((share > limits.rail_share).any(axis=1)).tolist():
            far = np.abs(rail[index] - np.median(look[index], axis=-1)) > limits.rail_mv
            if leads := _named((share[index] > limits.rail_share) & far):
                most = float(share[index][far].max())
                verdicts[index].refuse("saturated", f"cut off at a rail: {leads}", leads=leads, largest_share=most)


def _judge_amplitude(
    verdicts: Sequence[Verdict], changes: Signals, rate_hz: float, movements: Signals, limits: Limits
) -> None:
    sizes = _medians(movements.reshape(len(movements), -1))
    calm = _surely_calm(changes, limits.steepest_mv * LOOK_RATE_HZ / rate_hz)
    for index in np.flatnonzero(~calm | ~(sizes >= limits.small_mv)).tolist():
        steepness = _percentile(np.abs(changes[index]), STEEP_PERCENT) * (rate_hz / LOOK_RATE_HZ)
        steep, size = float(np.median(steepness)), float(sizes[index])
        numbers = {"change_in_4ms_mv": steep, "movement_in_1s_mv": size}
        if not steep <= limits.steepest_mv:
            sentence = "the amplitudes are too large for a heart: check the gain"
            verdicts[index].refuse("implausible_gain", sentence, **numbers)
        elif not size >= limits.smallest_mv:
            sentence = "the amplitudes are too small for a heart: check the gain"
            verdicts[index].refuse("implausible_gain", sentence, **numbers)
        elif size < limits.small_mv:
            verdicts[index].doubt("low_amplitude", "small amplitudes: low voltage, or a gain too small", **numbers)


def _surely_calm(changes: Signals, limit: float) -> NDArray[np.bool_]:
    """Tell of each record whether the percentile of most leads, and so their median, is within the limit.

    Counting is four times as quick as finding a percentile, and most records need no more.
    """
    within = _counts(np.abs(changes) <= np.float32(limit))
    calm_leads = (within > _place(STEEP_PERCENT, changes.shape[-1])).sum(axis=1)
    return np.asarray(calm_leads > changes.shape[1] // 2)


def _judge_peaks(verdicts: Sequence[Verdict], look: Signals, ends: tuple[Signals, Signals], limits: Limits) -> None:
    highest, lowest = ends
    # From the lead's own level: electrodes have an offset. Few leads reach so far that it must be found.
    for index in np.flatnonzero((highest - lowest).max(axis=1) > limits.peak_mv).tolist():
        level = np.median(look[index], axis=-1)
        high = float(np.maximum(highest[index] - level, level - lowest[index]).max())
        if high > limits.peak_mv:
            verdicts[index].doubt("high_peak", f"a peak of {high:.1f} mV is an artefact", peak_mv=high)


def _judge_limb_leads(verdicts: Sequence[Verdict], changes: Signals, limits: Limits) -> None:
    limbs, v6 = changes[:, : len(LIMB_LEADS)], changes[:, LEADS.index("V6"), None]
    products = limbs @ limbs.swapaxes(1, 2)
    size = np.maximum(products[:, 0, 0] + products[:, 1, 1], np.float32(TINY_MV2))
    gap = np.sqrt(_power(products, EINTHOVEN)[:, 0] / size)
    misfits = np.sqrt(_power(products, GOLDBERGER) / size[:, None])
    order = misfits[:, 0] / np.maximum(misfits[:, 1:].min(axis=1), np.float32(1e-6))
    with_v6, of_v6 = ((leads @ v6.swapaxes(1, 2))[:, 0, 0] for leads in (limbs[:, :1], v6))
    likeness = with_v6 / np.sqrt(np.maximum(products[:, 0, 0] * of_v6, np.float32(TINY_MV2**2)))
    for verdict, broken, misfit, alike in zip(verdicts, gap.tolist(), order.tolist(), likeness.tolist(), strict=True):
        if broken > limits.einthoven:
            verdict.doubt("einthoven", "I + III is not II: limb leads exchanged?", gap=broken)
        if misfit > limits.lead_order:
            verdict.doubt("lead_order", "aVR, aVL and aVF fit better under each other's names", misfit=misfit)
        if alike < limits.reversal:
            sentence = "I and V6 oppose each other: arm electrodes exchanged?"
            verdict.doubt("limb_lead_reversal", sentence, correlation=alike)


def _rounded(numbers: Mapping[str, float | str]) -> dict[str, Any]:
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in numbers.items()}


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _counts(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return how many are true along the last axis: NumPy counts bits quicker than it sums flags."""
    return np.asarray(np.bitwise_count(np.packbits(flags, axis=-1)).sum(axis=-1, dtype=np.int32))


def _medians(values: Signals) -> Signals:
    """Return the medians along a short last axis: sorted, without the overhead of `np.median`."""
    ordered, middle = np.sort(values, axis=-1), values.shape[-1] // 2
    return np.asarray((ordered[..., middle] + ordered[..., -middle - 1]) / 2)


def _percentile(signals: Signals, percent: float) -> Signals:
    """Return the percentile over time, as one of the samples: a partition, cheaper than interpolating."""
    place = _place(percent, signals.shape[-1])
    return np.asarray(np.partition(signals, place, axis=-1)[..., place])


def _place(percent: float, samples: int) -> int:
    """Return where among so many samples, from the least, the percentile stands."""
    return round(percent / 100 * (samples - 1))


def _power(products: Signals, weights: Signals) -> Signals:
    """Return the power of sets of combinations, (records, n), from the products of the limb leads (records, 6, 6)."""
    powers = products.reshape(len(products), -1) @ weights
    return np.asarray(np.maximum(powers, 0))  # rounding may go below 0


def _named(mask: NDArray[np.bool_]) -> str:
    return ", ".join(name for name, wanted in zip(LEADS, mask, strict=True) if wanted)
