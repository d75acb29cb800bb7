"""What an electrocardiograph prints beside an ECG: rate, intervals, and axes; or why one cannot be measured.

The intervals are taken from the average beat (`average_beat.py`) between limits common to all leads (`wave_limits.py`).
QT is corrected by Fridericia's formula, QT / ∛RR. Bazett's, QT / √RR, finds long intervals in fast hearts and short
ones in slow hearts that are neither (AHA/ACCF/HRS, Circulation 2009; ICH E14). Both start from the mean interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from schemas.messages import EcgMeasurement

from .average_beat import AverageBeats, Floats, Signals, average_beats
from .wave_limits import PER_MS, WaveLimits, find_wave_limits

HEART_RATE, PR, QRS, QT, QTC = "heart_rate", "pr_interval", "qrs_duration", "qt_interval", "qtc_fridericia"
P_AXIS, QRS_AXIS, T_AXIS = "p_axis", "qrs_axis", "t_axis"
UNITS = {
    HEART_RATE: "/min",
    PR: "ms",
    QRS: "ms",
    QT: "ms",
    QTC: "ms",
    P_AXIS: "°",
    QRS_AXIS: "°",
    T_AXIS: "°",
}
"""The measurements, in order, and their units. Axes are in the frontal plane: 0° points left, 90° down."""

PACED, TOO_FEW_BEATS, UNCLEAR_QRS = "paced", "too_few_beats", "unclear_qrs"
NO_P_WAVE, P_MEETS_T, NO_T_WAVE = "no_p_wave", "p_meets_t", "no_t_wave"
IRREGULAR, NO_NET_AREA = "irregular_rhythm", "no_net_area"
NOT_MEASURABLE = {
    PACED: "the rhythm is paced",
    TOO_FEW_BEATS: "fewer than three whole beats are alike",
    UNCLEAR_QRS: "it is not clear where the QRS complex begins or ends",
    NO_P_WAVE: "no P wave is before each QRS complex",
    P_MEETS_T: "the P wave begins before the T wave before it has ended",
    NO_T_WAVE: "no T wave stands out",
    IRREGULAR: "the intervals between the beats vary too much for a correction",
    NO_NET_AREA: "what is above and below the baseline is about equal in the limb leads",
}
"""Why a measurement has no value."""
OF_WAVES = tuple(name for name in UNITS if name != HEART_RATE)
OF_P, OF_T = (PR, P_AXIS), (QT, QTC, T_AXIS)

MOST_IRREGULAR = 0.15
"""Of a rhythm whose QT is corrected, see `AverageBeats`. Atrial fibrillation is above it."""
LEAST_AREA_MV_MS = 0.5
"""Of a wave that has an axis."""
CHUNK_RECORDS = 16
"""Records that are measured together. With this number, temporary arrays stay in the processor's cache."""
LEVEL_SAMPLES = 8
"""The level before a wave is the mean of so many samples."""


def measure_ecgs(signals_mv: Signals, sample_rate_hz: float, paced: Sequence[bool]) -> list[tuple[EcgMeasurement, ...]]:
    """Return the measurements of each record, in the order of `UNITS`.

    Args:
        signals_mv: (records, 12, samples) finite, in the order of `schemas.ecg_record.LEADS`, about 10 s.
        sample_rate_hz: of the signals.
        paced: of which records it is known that they are paced. Only their rate is measured.
    """
    measured = []
    for start in range(0, len(signals_mv), CHUNK_RECORDS):
        beats = average_beats(signals_mv[start : start + CHUNK_RECORDS], sample_rate_hz)
        limits = find_wave_limits(beats)
        values = classic_values(beats, limits)
        for index, row in enumerate(values.tolist()):
            reasons = _reasons(beats, limits, index, paced[start + index])
            measured.append(tuple(_measurements(row, reasons)))
    return measured


def classic_values(beats: AverageBeats, limits: WaveLimits) -> Floats:
    """Return the measurements of average beats, (records, 8) in the order of `UNITS`; NaN where one cannot be taken."""
    intervals_ms = np.where(beats.counts > 0, beats.usual_ms, np.nan)
    qt = (limits.t_end - limits.qrs_onset) / PER_MS
    columns = [
        60e3 / intervals_ms,
        (limits.qrs_onset - limits.p_onset) / PER_MS,
        (limits.qrs_end - limits.qrs_onset) / PER_MS,
        qt,
        qt / np.cbrt(intervals_ms / 1e3),
        *_axes(beats.mean_mv, limits),
    ]
    return np.stack(columns, axis=1)


def _axes(mean: Signals, limits: WaveLimits) -> Iterator[Floats]:
    """Yield the frontal axes of P, QRS and T, by the areas of I and aVF."""
    lead_i, lead_avf = mean[:, 0], mean[:, 1] - mean[:, 0] / np.float32(2)
    totals = np.stack([lead_i, lead_avf], axis=1).cumsum(axis=-1, dtype=np.float64)
    waves = (
        (limits.p_onset, limits.p_end, limits.p_onset),
        (limits.qrs_onset, limits.qrs_end, limits.qrs_onset),
        (limits.t_onset, limits.t_end, limits.qrs_onset),
    )
    for first, last, level_before in waves:
        level_at = np.maximum(level_before, LEVEL_SAMPLES + 1)
        level = _total(totals, level_at - LEVEL_SAMPLES, level_at) / LEVEL_SAMPLES
        across, down = (_total(totals, first, last) - level * (last - first)) / PER_MS
        down *= 2 / np.sqrt(3)  # the augmented leads are shorter by this factor
        axis = np.degrees(np.arctan2(down, across))
        yield np.where(np.hypot(across, down) > LEAST_AREA_MV_MS, axis, np.nan)


def _total(totals: Floats, first: Floats, last: Floats) -> Floats:
    """Return the sums of two leads from `first` until `last`, (2, records), of cumulative sums (records, 2, samples).

    NaN where the places are.
    """
    rows, known = np.arange(len(totals)), np.isfinite(first)
    start, stop = (np.where(known, place, 1).astype(np.intp) - 1 for place in (first, last))
    sums = totals[rows, :, stop] - totals[rows, :, start]
    return np.where(known, sums.T, np.nan)


def _reasons(beats: AverageBeats, limits: WaveLimits, index: int, paced: bool) -> Mapping[str, str]:
    """Return why measurements of a record have no value, by name."""
    if beats.counts[index] == 0:
        return dict.fromkeys(UNITS, TOO_FEW_BEATS)
    if paced or limits.unclear[index]:
        return dict.fromkeys(OF_WAVES, PACED if paced else UNCLEAR_QRS)
    reasons: dict[str, str] = {}
    if beats.irregularity[index] > MOST_IRREGULAR:
        reasons[QTC] = IRREGULAR
    if np.isnan(limits.p_onset[index]):
        reasons |= dict.fromkeys(OF_P, P_MEETS_T if limits.p_meets_t[index] else NO_P_WAVE)
    if np.isnan(limits.t_end[index]):
        reasons |= dict.fromkeys(OF_T, NO_T_WAVE)
    return reasons


def _measurements(values: Sequence[float], reasons: Mapping[str, str]) -> Iterator[EcgMeasurement]:
    for (name, unit), value in zip(UNITS.items(), values, strict=True):
        why = reasons.get(name) or (NO_NET_AREA if math.isnan(value) else None)
        yield EcgMeasurement(name=name, value=None if why else float(round(value)), unit=unit, not_measurable=why)
