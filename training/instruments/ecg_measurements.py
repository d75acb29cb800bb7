"""The measurements that an electrocardiograph prints: rate, intervals, axes and amplitudes of 12-lead ECGs.

They are taken from the median beat (`median_beat.py`) between limits common to all leads (`wave_limits.py`), as the
common standards for electrocardiography ask for (CSE Working Party, Eur Heart J 1985). They are the features of the
baseline that a network must beat, and they compare simulated ECGs with real ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS
from training.arrays import Floats

from .median_beat import RATE_HZ, AlignedBeats, find_beats
from .wave_limits import WaveLimits, find_wave_limits

AMPLITUDES = ("p", "q", "r", "s", "st", "t")
CLASSIC_MEASUREMENTS: tuple[str, ...] = (
    "heart_rate_bpm",
    "rr_sd_ms",
    "pr_ms",
    "p_ms",
    "qrs_ms",
    "qt_ms",
    "qtc_ms",
    "p_axis_deg",
    "qrs_axis_deg",
    "t_axis_deg",
    *(f"{wave}_{lead}_mv" for wave in AMPLITUDES for lead in LEADS),
    "p_terminal_force_v1_mv_ms",
    "sokolow_lyon_mv",
    "cornell_mv",
)
"""What `measure_ecgs` returns, in order.

`qtc_ms` is corrected by Fridericia's formula. `q_*` and `s_*` are depths, `p_terminal_force_v1_mv_ms` is depth times
duration, all at least 0; `st_*` is 60 ms after the J point; `p_*` and `t_*` are the largest deflection with its sign.
Sokolow-Lyon: S in V1 + the larger R of V5 and V6. Cornell: R in aVL + S in V3.
"""

_MS = 1e3 / RATE_HZ
_I, _AVF = LEADS.index("I"), LEADS.index("aVF")
_LEAST_AREA_MV_MS = 0.5


def measure_ecgs(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> Floats:
    """Return the `CLASSIC_MEASUREMENTS` of ECGs; NaN where one cannot be taken, such as PR without P waves.

    Args:
        signals_mv: (n, 12, samples) in mV, leads in the order of `LEADS`, about 10 s; NaN counts as 0.
        sample_rate_hz: of the signals.

    Returns:
        (n, len(CLASSIC_MEASUREMENTS)).
    """
    rows = [_measure(ecg, sample_rate_hz) for ecg in signals_mv]
    return np.array(rows, np.float64).reshape(len(rows), len(CLASSIC_MEASUREMENTS))


def _measure(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> list[float]:
    beats = find_beats(signals_mv, sample_rate_hz)
    limits = find_wave_limits(beats) if beats else None
    if beats is None or limits is None:
        return [np.nan] * len(CLASSIC_MEASUREMENTS)
    amplitudes = _amplitudes(beats, limits)
    return [
        *_intervals(beats.rr_ms, limits),
        *_axes(beats.median_mv, limits),
        *np.concatenate([amplitudes[wave] for wave in AMPLITUDES]),
        _p_terminal_force(beats.median_mv[LEADS.index("V1")], limits),
        *_voltages(amplitudes),
    ]


def _intervals(rr_ms: Floats, limits: WaveLimits) -> Iterator[float]:
    """Yield rate, variability, PR, P, QRS, QT and QTc."""
    rr, onset = float(np.median(rr_ms)), limits.qrs[0]
    qt = (limits.t[1] - onset) * _MS if limits.t else np.nan
    yield 60e3 / rr
    yield float(np.std(rr_ms))
    yield (onset - limits.p[0]) * _MS if limits.p else np.nan
    yield (limits.p[1] - limits.p[0]) * _MS if limits.p else np.nan
    yield (limits.qrs[1] - onset) * _MS
    yield qt
    yield qt / float(np.cbrt(rr / 1e3))


def _axes(median: Floats, limits: WaveLimits) -> Iterator[float]:
    """Yield the frontal axes of P, QRS and T, by the areas of I and aVF; 0 points left, 90 down."""
    for wave, level_from in ((limits.p, limits.p), (limits.qrs, limits.qrs), (limits.t, limits.qrs)):
        if wave is None or level_from is None:
            yield np.nan
            continue
        area = (median[:, wave[0] : wave[1]] - _level(median, level_from[0])).sum(axis=1) * _MS
        across, down = area[_I], area[_AVF] * 2 / np.sqrt(3)  # the augmented leads are shorter by this factor
        long_enough = np.hypot(across, down) > _LEAST_AREA_MV_MS
        yield float(np.degrees(np.arctan2(down, across))) if long_enough else np.nan


def _level(median: Floats, onset: int) -> Floats:
    """Return the level (leads, 1) just before a wave."""
    return np.asarray(median[:, max(onset - 8, 0) : onset + 1].mean(axis=1, keepdims=True))


def _amplitudes(beats: AlignedBeats, limits: WaveLimits) -> dict[str, Floats]:
    """Return (12,) by wave, in mV."""
    onset, end = limits.qrs
    ground = beats.median_mv - _level(beats.median_mv, onset)
    q, r, s = np.array([_q_r_s(lead) for lead in ground[:, onset : end + 1]]).T
    j60 = min(end + round(60 / _MS), ground.shape[1] - 1)
    missing = np.full(12, np.nan)
    p, t = limits.p, limits.t
    return {
        "p": _largest(beats.median_mv[:, p[0] : p[1] + 1] - _level(beats.median_mv, p[0])) if p else missing,
        "q": q,
        "r": r,
        "s": s,
        "st": ground[:, j60 - 2 : j60 + 3].mean(axis=1),
        "t": _largest(ground[:, t[0] : t[1] + 1]) if t else missing,
    }


def _q_r_s(qrs: Floats) -> tuple[float, float, float]:
    """Return depth, height and depth of one lead's QRS complex; one without R wave is all Q."""
    summit = int(np.argmax(qrs))
    height = float(qrs[summit])
    if height < 0.02:
        return max(-float(qrs.min()), 0.0), 0.0, 0.0
    return max(-float(qrs[: summit + 1].min()), 0.0), height, max(-float(qrs[summit:].min()), 0.0)


def _largest(wave: Floats) -> Floats:
    """Return (leads,): the largest deflection of (leads, samples), with its sign."""
    return np.asarray(wave[np.arange(len(wave)), np.abs(wave).argmax(axis=1)])


def _p_terminal_force(v1: Floats, limits: WaveLimits) -> float:
    """Return depth times duration of the late part of the P wave below the line from its onset to its end."""
    if limits.p is None:
        return np.nan
    wave = v1[limits.p[0] : limits.p[1] + 1]
    wave = wave - np.linspace(wave[0], wave[-1], len(wave))
    terminal = wave[len(wave) // 3 :]
    depth = max(-float(terminal.min()), 0.0)
    return depth * float((terminal < -0.1 * depth).sum()) * _MS if depth > 0 else 0.0


def _voltages(amplitudes: dict[str, Floats]) -> Iterator[float]:
    """Yield Sokolow-Lyon and Cornell."""
    r = dict(zip(LEADS, amplitudes["r"], strict=True))
    deepest = dict(zip(LEADS, np.maximum(amplitudes["s"], amplitudes["q"]), strict=True))  # a QS is an S to them
    yield deepest["V1"] + max(r["V5"], r["V6"])
    yield r["aVL"] + deepest["V3"]
