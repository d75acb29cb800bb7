"""Simulated pacing spikes: a rectangular pulse between two places of the body, behind the filter of the recorder."""

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt

from schemas.ecg_record import LEADS
from training.simulation.ecg import generate_ecgs

FINE_HZ = 40_000
MILLIVOLTS = 0.005


def simulated(records, seed, rate_hz=500):
    """Return simulated ECGs that are not paced, (records, 12, samples) in mV."""
    signals = np.stack(
        [np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * MILLIVOLTS for ecg in generate_ecgs(records, seed)]
    )
    return resample_poly(signals, rate_hz, 500, axis=-1).astype(np.float32) if rate_hz != 500 else signals.astype("f4")


def pulse(width_ms, filter_hz, rate_hz, phase, tail=0.0, tail_ms=8.0):
    """Return what the samples show of a pulse of height 1, from 10 ms before to 50 ms after it.

    Args:
        phase: of the samples, 0 to 1.
        tail: what remains at the end of the pulse, as a charged electrode, and decays.
        tail_ms: how quickly it decays.
    """
    fine = np.zeros(round(0.06 * FINE_HZ))
    start = round(0.01 * FINE_HZ)
    stop = start + max(1, round(width_ms / 1e3 * FINE_HZ))
    fine[start:stop] = 1
    fine[stop:] = tail * np.exp(-np.arange(len(fine) - stop) / (tail_ms / 1e3 * FINE_HZ))
    smooth = sosfilt(butter(4, filter_hz, fs=FINE_HZ, output="sos"), fine)
    step = FINE_HZ / rate_hz
    return smooth[np.arange(phase * step, len(smooth) - 1, step).astype(int)]


def share_of_leads(rng):
    """Return how a pulse divides among the leads: potentials of nine electrodes, the largest lead at 1."""
    right, left, foot, *chest = rng.normal(0, 1, 9)
    limbs = {
        "I": left - right,
        "II": foot - right,
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }
    central = (right + left + foot) / 3
    leads = np.array([limbs[name] if name in limbs else chest[int(name[1]) - 1] - central for name in LEADS])
    return leads / np.abs(leads).max()


def qrs_times(signals, rate_hz):
    """Return when each QRS complex is steepest."""
    width = round(0.02 * rate_hz)
    steep = np.abs(signals[:, width:] - signals[:, :-width]).sum(axis=0)
    times, floor = [], 0.5 * np.quantile(steep, 0.99)
    for place in np.argsort(steep)[::-1]:
        if steep[place] < floor:
            break
        if all(abs(place - other) > 0.3 * rate_hz for other in times):
            times.append(place)
    return np.sort(times) / rate_hz


def pace(signals, rate_hz, rng, *, amplitude_mv, width_ms, filter_hz, before_s=0.06, sensed=0.0, **shape):
    """Return one ECG (12, samples) with a pulse before each QRS complex; a share of them is sensed and has none."""
    paced, leads = signals.copy(), share_of_leads(rng) * amplitude_mv
    for time in qrs_times(signals, rate_hz):
        start = (time - before_s - 0.01) * rate_hz
        seen = pulse(width_ms, filter_hz, rate_hz, start % 1, **shape)
        place = int(start)
        if rng.random() >= sensed and place >= 0 and place + len(seen) < paced.shape[1]:
            paced[:, place : place + len(seen)] += (leads[:, None] * seen).astype(np.float32)
    return paced
