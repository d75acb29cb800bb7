"""ECGs that are drawn from bells, so that every interval and every axis is known."""

import numpy as np

RATE_HZ, SECONDS = 500, 10
P_AT_S, P_WIDTH_S = -0.16, 0.018
T_WIDTH_S = 0.040
QRS = ((-0.12, -0.024, 0.007), (1.2, 0.0, 0.010), (-0.25, 0.026, 0.008))
"""Height, time from the R peak and width of Q, R and S."""
VISIBLE = 2.5
"""A bell is visible so many widths from its centre."""
PR_MS = 1e3 * (-0.024 - VISIBLE * 0.007 - (P_AT_S - VISIBLE * P_WIDTH_S))
QRS_MS = 1e3 * (0.026 + VISIBLE * 0.008 + 0.024 + VISIBLE * 0.007)
CHEST = (-0.4, 0.3, 0.6, 0.9, 1.0, 0.8)


def t_at_s(rate_per_min):
    """Return when the T wave is highest: earlier in a quick heart."""
    return 0.27 * (60 / rate_per_min / 0.8) ** 0.5


def qt_ms(rate_per_min):
    return 1e3 * (t_at_s(rate_per_min) + VISIBLE * T_WIDTH_S + 0.024 + VISIBLE * 0.007)


def bells(times_s, beats_s, waves):
    """Return the sum of bells (height, time from the beat, width) at each beat."""
    return sum(
        height * np.exp(-0.5 * ((times_s - beat - at) / width) ** 2) for beat in beats_s for height, at, width in waves
    )


def drawn_ecg(rate_per_min=75, *, axes=(47, 47, 47), beats_s=None, p_mv=0.15, rate_hz=RATE_HZ, start_s=0.0, t_mv=0.35):
    """Return an ECG (12, samples) in mV whose waves have these frontal axes, of P, QRS and T, in degrees."""
    times = np.arange(round(SECONDS * rate_hz)) / rate_hz
    beats = np.arange(0.5 - start_s, SECONDS + 2, 60 / rate_per_min) if beats_s is None else beats_s
    waves = (
        ((p_mv, P_AT_S, P_WIDTH_S),),
        QRS,
        ((t_mv, t_at_s(rate_per_min), T_WIDTH_S),),
    )
    leads = np.zeros((12, len(times)))
    for axis_deg, drawn in zip(axes, waves, strict=True):
        course, axis = bells(times, beats, drawn), np.radians(axis_deg)
        i, ii = np.cos(axis), np.cos(axis - np.radians(60))
        leads += np.outer([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *CHEST], course)
    return leads.astype(np.float32)


def irregular_beats(seed, mean_s=0.75):
    """Return the beats of a fibrillating heart."""
    rng = np.random.default_rng(seed)
    return np.cumsum(np.maximum(rng.gamma(20, mean_s / 20, 40), 0.36))


def f_waves(seed, amplitude_mv=0.06, rate_hz=RATE_HZ):
    """Return fibrillation waves (12, samples): about six a second, in changing phase."""
    rng = np.random.default_rng(seed)
    samples = round(SECONDS * rate_hz)
    phase = np.cumsum(2 * np.pi * (6 + rng.normal(0, 20, samples)) / rate_hz)
    gains = rng.uniform(0.3, 1, 12)
    return (amplitude_mv * gains[:, None] * np.sin(phase)).astype(np.float32)
