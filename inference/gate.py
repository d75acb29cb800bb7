"""The gate: which signals can be screened, and with which warnings. Every verdict has a code and its numbers.

The thresholds were set on 274 records of LUDB, PTB-XL, Chapman-Ningbo, Georgia, CPSC and PTB, and on copies of PTB-XL
whose headers have a wrong gain. Of the 274 records, the gate refuses only those with flat leads.
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

from .pacing import MIN_RATE_HZ, find_spikes
from .swap_detector import default_swap_detector
from .waveform import MAX_DURATION_S

Signals: TypeAlias = NDArray[np.float32]

DECIMALS = 4
"""The numbers of a verdict are rounded to these places."""
LOOK_RATE_HZ = 250
"""The gate examines signals at about this rate. It does not need a higher one."""
CHUNK_RECORDS = 16
"""Records that are examined together. With this number, temporary arrays stay in the processor's cache."""

TOO_MUCH_MISSING = "nan_run"
"""The code of a record that misses too many samples. Another stretch of it may be whole."""

STEEP_PERCENT = 98
"""A lead is as steep as this percentile of its changes."""
TINY_MV2 = 1e-9
"""The smallest power of changes that is used as a divisor, so that nothing is divided by 0."""

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
"""The three combinations that are 0 by Goldberger's laws: first as the leads are named, then for each exchange."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds of the gate.

    Attributes:
        min_duration_s: the length of the network's crop. A shorter record is refused.
        min_rate_hz: below this rate, a record no longer shows the QRS complex.
        max_rate_hz: no device records 12 leads at rest at a higher rate.
        flat_mv: a lead that moves less than this within a second may be flat. The smallest real lead of the 274
            records moves 0.17 mV in a second.
        flat_of_largest: a lead is only flat if it also moves less than this share of the largest lead's movement.
        flat_share: a lead is refused if it is flat in at least this share of its seconds.
        missing_run_s: a longer gap is refused. Shorter gaps are bridged, with a warning.
        missing_share: a lead that misses more than this share of its samples is refused.
        rail_share: the share of a lead's samples at exactly its highest or lowest value. In real records at most 1.2 %.
        rail_mv: the least distance of that value from the lead's median. A quiet baseline is no rail.
        steepest_mv: the 98th percentile of the change in 4 ms, in the median lead. It is at most 0.47 mV in real
            records (a paced one) and at least 0.53 mV in PTB-XL records that were made five times too large.
        smallest_mv: how far a lead moves within a second, as the median of all leads and seconds. A record below it is
            refused. In real records it is at least 0.3 mV.
        small_mv: at or above this, amplitude raises no warning. Between `smallest_mv` and `small_mv` are records of low
            voltage, a sign of the diseases that are screened for, and 85 % of records whose gain is five times too
            small.
        peak_mv: a higher peak is an artefact. The record is screened with a warning.
        einthoven: the root mean square of the changes of I + III - II, relative to that of I and II. By Einthoven's
            law it is 0. In LUDB, whose leads were filtered separately, it is up to 0.75 (median 0.37). If I and II are
            exchanged, it is 1.25.
        lead_order: the same for aVR, aVL and aVF and Goldberger's laws, relative to the least deviation under exchanged
            names. It is at most 0.74 in real records and at least 1.35 if two of the leads are exchanged.
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


LIMITS = Limits()


@dataclass(slots=True)
class Verdict:
    """The gate's verdict on one record: a refusal, or warnings."""

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
    """Refuse a record that is too short or has an unsupported sample rate.

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
        signals_mv: (records, 12, samples) float32 in the order of `LEADS`, NaN where a sample is missing.
            `check_extent` must accept their extent. Only the 10 s that are screened are examined.
        sample_rate_hz: of the signals.
        limits: the thresholds.
    """
    used = signals_mv[..., : round(MAX_DURATION_S * sample_rate_hz)]
    chunks = (used[start : start + CHUNK_RECORDS] for start in range(0, len(used), CHUNK_RECORDS))
    return [verdict for chunk in chunks for verdict in _examine_chunk(chunk, sample_rate_hz, limits)]


def _examine_chunk(signals: Signals, sample_rate_hz: float, limits: Limits) -> list[Verdict]:
    verdicts = [Verdict() for _ in signals]
    stride = max(1, round(sample_rate_hz / LOOK_RATE_HZ))
    look = signals[..., ::stride].copy()
    rate_hz = sample_rate_hz / stride
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # absurd amplitudes are refused below
        if not np.isfinite(signals).all():
            _judge_missing(verdicts, signals, sample_rate_hz, limits)
            look = _filled(look)
        changes = look[..., 1:] - look[..., :-1]
        movements = _movements(look, rate_hz)
        highest, lowest = look.max(axis=-1), look.min(axis=-1)
        _judge_flatness(verdicts, movements, limits)
        _judge_rails(verdicts, look, (highest, lowest), limits)
        _judge_amplitude(verdicts, changes, rate_hz, movements, limits)
        _judge_peaks(verdicts, look, (highest, lowest), limits)
        _judge_limb_leads(verdicts, changes, limits)
        _judge_pacing(verdicts, signals, sample_rate_hz)
        _judge_electrodes(verdicts, look, rate_hz)
    return verdicts


def _judge_pacing(verdicts: Sequence[Verdict], signals: Signals, rate_hz: float) -> None:
    if rate_hz < MIN_RATE_HZ:
        return
    for index, spikes in find_spikes(signals, rate_hz):
        sentence = f"pacing spikes, {spikes.per_minute:.0f} a minute: the network has seen few paced rhythms"
        numbers = {"spikes_per_minute": spikes.per_minute, "amplitude_mv": spikes.amplitude_mv}
        verdicts[index].doubt("pacing_spikes", sentence, **numbers)


def miss_too_much(missing: NDArray[np.bool_], rate_hz: float, limits: Limits = LIMITS) -> NDArray[np.bool_]:
    """Return for each lead whether it has a gap too long to be bridged, or misses too large a share of its samples."""
    run_s = np.array([longest_run(lead) for lead in missing]) / rate_hz
    return np.asarray((run_s > limits.missing_run_s) | (missing.mean(axis=1) > limits.missing_share))


def _judge_missing(verdicts: Sequence[Verdict], signals: Signals, rate_hz: float, limits: Limits) -> None:
    missing = ~np.isfinite(signals)
    for index in np.flatnonzero(missing.any(axis=(1, 2))).tolist():
        verdict, gaps = verdicts[index], missing[index]
        share = float(gaps.mean(axis=1).max())
        start, stop = max((longest_gap(lead) for lead in gaps), key=lambda gap: gap[1] - gap[0])
        numbers = {"longest_run_s": (stop - start) / rate_hz, "largest_share": share}
        if not (too_much := miss_too_much(gaps, rate_hz, limits)).any():
            verdict.doubt("short_nan_run", "a few missing samples were bridged", **numbers)
            continue
        leads, where = _named(too_much), "all leads" if too_much.all() else _named(too_much)
        from_s, to_s = start / rate_hz, stop / rate_hz
        if to_s - from_s > limits.missing_run_s:
            sentence = f"samples are missing from {from_s:.2f} s to {to_s:.2f} s in {where}"
        else:
            sentence = f"up to {share:.1%} of the samples are missing in {where}"
        verdict.refuse("nan_run", sentence, leads=leads, gap_from_s=from_s, gap_to_s=to_s, **numbers)


def _filled(look: Signals) -> Signals:
    """Return the signals with a lead's median in place of its missing samples. A lead without samples is 0."""
    missing = ~np.isfinite(look)
    known = np.where(missing, np.float32(np.nan), look)
    known[missing.all(axis=-1)] = 0
    return np.where(missing, np.nanmedian(known, axis=-1, keepdims=True), look)


def _movements(look: Signals, rate_hz: float) -> Signals:
    """Return how far each lead moves within each second, (records, 12, seconds), in mV."""
    second = round(rate_hz)
    seconds = look.shape[-1] // second
    whole, starts = look[..., : seconds * second], range(0, seconds * second, second)
    return np.asarray(np.maximum.reduceat(whole, starts, axis=-1) - np.minimum.reduceat(whole, starts, axis=-1))


def _judge_flatness(verdicts: Sequence[Verdict], movements: Signals, limits: Limits) -> None:
    # The largest lead counts too: if all leads are small, the gain is wrong and no lead is flat.
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
            far = np.abs(rail[index] - middle(look[index])) > limits.rail_mv
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
    """Return for each record whether the percentile of most leads, and so their median, is within the limit.

    In most leads no change at all is beyond the limit. Of the others the changes are counted, which is four times as
    quick as finding a percentile.
    """
    bound = np.float32(limit)
    calm = (changes.max(axis=-1) <= bound) & (changes.min(axis=-1) >= -bound)
    steep = np.nonzero(~calm)
    calm[steep] = _counts(np.abs(changes[steep]) <= bound) > _place(STEEP_PERCENT, changes.shape[-1])
    return np.asarray(calm.sum(axis=1) > changes.shape[1] // 2)


def _judge_peaks(verdicts: Sequence[Verdict], look: Signals, ends: tuple[Signals, Signals], limits: Limits) -> None:
    highest, lowest = ends
    # Electrodes have an offset, so a peak counts from the lead's own level. Few leads need this.
    for index in np.flatnonzero((highest - lowest).max(axis=1) > limits.peak_mv).tolist():
        level = middle(look[index])
        high = float(np.maximum(highest[index] - level, level - lowest[index]).max())
        if high > limits.peak_mv:
            verdicts[index].doubt("high_peak", f"a peak of {high:.1f} mV is an artefact", peak_mv=high)


def _judge_limb_leads(verdicts: Sequence[Verdict], changes: Signals, limits: Limits) -> None:
    limbs = changes[:, : len(LIMB_LEADS)]
    products = np.vecdot(limbs[:, :, None], limbs[:, None])
    size = np.maximum(products[:, 0, 0] + products[:, 1, 1], np.float32(TINY_MV2))
    gap = np.sqrt(_power(products, EINTHOVEN)[:, 0] / size)
    misfits = np.sqrt(_power(products, GOLDBERGER) / size[:, None])
    order = misfits[:, 0] / np.maximum(misfits[:, 1:].min(axis=1), np.float32(1e-6))
    for verdict, broken, misfit in zip(verdicts, gap.tolist(), order.tolist(), strict=True):
        if broken > limits.einthoven:
            verdict.doubt("einthoven", "I + III is not II: limb leads exchanged?", gap=broken)
        if misfit > limits.lead_order:
            verdict.doubt("lead_order", "aVR, aVL and aVF fit better under each other's names", misfit=misfit)


def _judge_electrodes(verdicts: Sequence[Verdict], look: Signals, rate_hz: float) -> None:
    for verdict, (limb, chest) in zip(verdicts, default_swap_detector().doubts(look, rate_hz), strict=True):
        if limb is not None:
            sentence = f"the limb leads look as if the electrodes {limb.exchange} had been exchanged"
            verdict.doubt("limb_lead_reversal", sentence, exchange=limb.exchange, probability=limb.probability)
        if chest is not None:
            sentence = f"the chest leads look as if the electrodes {chest.exchange} had been exchanged"
            verdict.doubt("chest_lead_reversal", sentence, exchange=chest.exchange, probability=chest.probability)


def _rounded(numbers: Mapping[str, float | str]) -> dict[str, Any]:
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in numbers.items()}


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    start, stop = longest_gap(flags)
    return stop - start


def longest_gap(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where the longest run of True starts and stops: (0, 0) if there is none."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    if not edges.size:
        return 0, 0
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return int(edges[2 * longest]), int(edges[2 * longest + 1])


def _counts(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the number of true values along the last axis. NumPy counts bits more quickly than it sums flags."""
    return np.asarray(np.bitwise_count(np.packbits(flags, axis=-1)).sum(axis=-1, dtype=np.int32))


def _medians(values: Signals) -> Signals:
    """Return the medians along a short last axis: sorted, without the overhead of `np.median`."""
    ordered, middle = np.sort(values, axis=-1), values.shape[-1] // 2
    return np.asarray((ordered[..., middle] + ordered[..., -middle - 1]) / 2)


def middle(signals: Signals) -> Signals:
    """Return the medians over time of signals without NaN. `np.median` looks for NaN, and takes seven times as long."""
    half = signals.shape[-1] // 2
    ordered = np.partition(signals, half, axis=-1)
    if signals.shape[-1] % 2:
        return np.asarray(ordered[..., half])
    return np.asarray((ordered[..., :half].max(axis=-1) + ordered[..., half]) / 2)


def _percentile(signals: Signals, percent: float) -> Signals:
    """Return the percentile over time as one of the samples. A partition is cheaper than interpolation."""
    place = _place(percent, signals.shape[-1])
    return np.asarray(np.partition(signals, place, axis=-1)[..., place])


def _place(percent: float, samples: int) -> int:
    """Return the percentile's place among so many samples in rising order."""
    return round(percent / 100 * (samples - 1))


def _power(products: Signals, weights: Signals) -> Signals:
    """Return the power of sets of combinations, (records, n), from the products of the limb leads (records, 6, 6).

    Each record is multiplied alone: in one product of all records the last digit would depend on how many there are.
    """
    powers = (products.reshape(len(products), 1, -1) @ weights)[:, 0]
    return np.asarray(np.maximum(powers, 0))  # rounding may go below 0


def _named(mask: NDArray[np.bool_]) -> str:
    return ", ".join(name for name, wanted in zip(LEADS, mask, strict=True) if wanted)
