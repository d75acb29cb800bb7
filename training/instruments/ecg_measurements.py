"""The measurements that an electrocardiograph prints: rate, intervals, axes and amplitudes of 12-lead ECGs.

Rate, intervals and axes are those of `inference/ecg_measurements.py`; the amplitudes are taken from the same average
beat. They are the features of the baseline that a network must beat, and they compare simulated ECGs with real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.average_beat import MS, average_beats
from inference.ecg_measurements import (
    CHUNK_RECORDS,
    HEART_RATE,
    P_AXIS,
    PR,
    QRS,
    QRS_AXIS,
    QT,
    QTC,
    T_AXIS,
    UNITS,
    classic_values,
)
from inference.wave_limits import WaveLimits, find_wave_limits
from schemas.ecg_record import LEADS
from training.arrays import Floats

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


def measure_ecgs(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> Floats:
    """Return the `CLASSIC_MEASUREMENTS` of ECGs; NaN where one cannot be taken, such as PR without P waves.

    Args:
        signals_mv: (n, 12, samples) in mV, leads in the order of `LEADS`, about 10 s; NaN counts as 0.
        sample_rate_hz: of the signals.

    Returns:
        (n, len(CLASSIC_MEASUREMENTS)).
    """
    chunks = (signals_mv[start : start + CHUNK_RECORDS] for start in range(0, len(signals_mv), CHUNK_RECORDS))
    rows = [row for chunk in chunks for row in _measure(chunk, sample_rate_hz)]
    return np.array(rows, np.float64).reshape(len(rows), len(CLASSIC_MEASUREMENTS))


def _measure(signals_mv: NDArray[np.float32], sample_rate_hz: float) -> Iterator[list[float]]:
    beats = average_beats(np.nan_to_num(np.asarray(signals_mv, np.float32), posinf=0, neginf=0), sample_rate_hz)
    limits = find_wave_limits(beats)
    for index, values in enumerate(classic_values(beats, limits)):
        if np.isnan(limits.qrs_onset[index]):
            yield [np.nan] * len(CLASSIC_MEASUREMENTS)
            continue
        measured = dict(zip(UNITS, values.tolist(), strict=True))
        mean, waves = _twelve(beats.mean_mv[index]), _Waves.of(limits, index)
        amplitudes = _amplitudes(mean, waves)
        yield [
            measured[HEART_RATE],
            float(np.std(beats.intervals_ms[index])),
            measured[PR],
            (waves.p[1] - waves.p[0]) * MS if waves.p else np.nan,
            *(measured[name] for name in (QRS, QT, QTC, P_AXIS, QRS_AXIS, T_AXIS)),
            *np.concatenate([amplitudes[wave] for wave in AMPLITUDES]),
            _p_terminal_force(mean[LEADS.index("V1")], waves),
            *_voltages(amplitudes),
        ]


@dataclass(frozen=True, slots=True)
class _Waves:
    """First and last samples of an average beat's waves; None where a wave was not found."""

    qrs: tuple[int, int]
    p: tuple[int, int] | None
    t: tuple[int, int] | None

    @classmethod
    def of(cls, limits: WaveLimits, index: int) -> _Waves:
        return cls(
            qrs=(int(limits.qrs_onset[index]), int(limits.qrs_end[index])),
            p=_places(limits.p_onset[index], limits.p_end[index]),
            t=_places(limits.t_onset[index], limits.t_end[index]),
        )


def _places(onset: float, end: float) -> tuple[int, int] | None:
    return None if np.isnan(onset) or np.isnan(end) else (int(onset), int(end))


def _twelve(independent: NDArray[np.float32]) -> Floats:
    """Return the twelve leads (12, samples) of I, II, V1-V6."""
    i, ii = independent[:2].astype(np.float64)
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *independent[2:]])


def _level(mean: Floats, onset: int) -> Floats:
    """Return the level (leads, 1) just before a wave."""
    return np.asarray(mean[:, max(onset - 8, 0) : onset + 1].mean(axis=1, keepdims=True))


def _amplitudes(mean: Floats, limits: _Waves) -> dict[str, Floats]:
    """Return (12,) by wave, in mV."""
    onset, end = limits.qrs
    ground = mean - _level(mean, onset)
    q, r, s = np.array([_q_r_s(lead) for lead in ground[:, onset : end + 1]]).T
    j60 = min(end + round(60 / MS), ground.shape[1] - 1)
    missing = np.full(12, np.nan)
    p, t = limits.p, limits.t
    return {
        "p": _largest(mean[:, p[0] : p[1] + 1] - _level(mean, p[0])) if p else missing,
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


def _p_terminal_force(v1: Floats, limits: _Waves) -> float:
    """Return depth times duration of the late part of the P wave below the line from its onset to its end."""
    if limits.p is None:
        return np.nan
    wave = v1[limits.p[0] : limits.p[1] + 1]
    wave = wave - np.linspace(wave[0], wave[-1], len(wave))
    terminal = wave[len(wave) // 3 :]
    depth = max(-float(terminal.min()), 0.0)
    return depth * float((terminal < -0.1 * depth).sum()) * MS if depth > 0 else 0.0


def _voltages(amplitudes: dict[str, Floats]) -> Iterator[float]:
    """Yield Sokolow-Lyon and Cornell."""
    r = dict(zip(LEADS, amplitudes["r"], strict=True))
    deepest = dict(zip(LEADS, np.maximum(amplitudes["s"], amplitudes["q"]), strict=True))  # a QS is an S to them
    yield deepest["V1"] + max(r["V5"], r["V6"])
    yield r["aVL"] + deepest["V3"]
