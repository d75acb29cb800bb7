"""Typical beats of many simulated ECGs as devices record them: what finds exchanged electrodes learns from them."""

from __future__ import annotations

from functools import partial

import numpy as np

from inference.gate import LOOK_RATE_HZ
from inference.typical_beat import SEEN, SPANS, Signals, typical_beats
from training.cohort.process_pool import in_order

from .devices import record_with_some_device
from .varied_ecgs import simulate_varied_ecg
from .vector_ecgs import simulate_vector_ecg

CHUNK = 100


def simulate_beats(seed: int, records: int, processes: int | None = None) -> Signals:
    """Return (records, 9, SPANS) in mV: by turns from a varied patient's regions and from a heart of a few vectors.

    Each depends on the seed and its number alone.

    Args:
        seed: of the patients and devices.
        records: how many.
        processes: that simulate; one a core by default.
    """
    chunks = [range(start, min(start + CHUNK, records)) for start in range(0, records, CHUNK)]
    parts = in_order(partial(_simulate, seed), chunks, processes)
    return np.concatenate([np.empty((0, len(SEEN), SPANS), np.float32), *parts])


def _simulate(seed: int, numbers: range) -> Signals:
    return np.stack([_simulate_one(seed, number) for number in numbers])


def _simulate_one(seed: int, number: int) -> Signals:
    simulate = simulate_vector_ecg if number % 2 else simulate_varied_ecg
    rng = np.random.default_rng([seed, number, 3])
    signals, rate_hz = record_with_some_device(rng, simulate(seed, number))
    stride = max(1, round(rate_hz / LOOK_RATE_HZ))
    return np.asarray(typical_beats(signals[None, :, ::stride], rate_hz / stride)[0])
