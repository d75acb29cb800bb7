"""The typical beat of each lead: what the beats of a recording have in common, as means over short spans of time.

It is found in the same way whichever limb electrodes, or whichever chest electrodes, were exchanged: an exchange of
electrodes exchanges leads and turns signs, and nothing here depends on the order of the limb leads, on the order of the
chest leads or on a sign.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from schemas.ecg_record import LEADS

Signals: TypeAlias = NDArray[np.float32]

SEEN = ("I", "II", "III", "V1", "V2", "V3", "V4", "V5", "V6")
"""Leads of a typical beat. The others are differences and halves of the first three."""
LIMB_LEADS, CHEST_LEADS = slice(0, 3), slice(3, 9)
_PLACES = np.array([LEADS.index(name) for name in SEEN])

EDGES_MS = np.array([*range(-400, -80, 16), *range(-80, 80, 8), *range(80, 481, 40)], np.float64)
"""Edges of the spans, since the middle of the QRS complex: 20 before it (P), 20 of it, 10 after it (ST and T)."""
SPANS = len(EDGES_MS) - 1
QRS = slice(20, 40)

SMOOTHED_MS = 40.0
"""A complex is where the leads change most in such a time, smoothed twice."""
APART_MS = 240.0
"""No two complexes are nearer to each other."""
BLOCK_S = 1.25
"""A block of this length has a complex, at 48 beats a minute or more."""
LEAST = 0.4
"""A complex changes the leads at least by this share of what the median block's largest one does."""
ALIKE = 0.85
"""Beats that correlate at least so well with the most central one count as beats of its kind."""
LEAST_BEATS = 3
TINY = np.float32(1e-6)


def typical_beats(signals: Signals, rate_hz: float) -> Signals:
    """Return the typical beat of each record, (records, 9, SPANS) in mV, without its mean and slope.

    It is 0 in a record with fewer than three alike beats.

    Args:
        signals: (records, 12, samples) finite, in the order of `LEADS`.
        rate_hz: of the signals.
    """
    leads = signals[:, _PLACES]
    before, spans = _spans(rate_hz)
    beats = np.zeros((len(leads), len(SEEN), SPANS), np.float32)
    if leads.shape[-1] <= len(spans):
        return beats
    records, middles = _complexes(leads, rate_hz)
    starts = middles - before
    inside = (starts >= 0) & (starts <= leads.shape[-1] - len(spans))
    records, starts = records[inside], starts[inside]
    windows = sliding_window_view(leads, len(spans), axis=-1)[records, :, starts]
    edges = np.searchsorted(records, np.arange(len(leads) + 1)).tolist()
    for index, (first, last) in enumerate(pairwise(edges)):
        if last - first >= LEAST_BEATS:
            beats[index] = _typical(_means(windows[first:last], spans))
    return beats


def _means(windows: Signals, spans: Signals) -> Signals:
    """Return the means of the spans of windows (n, 9, window): (n, 9, SPANS).

    Two windows at a time: fewer rows are slower, and of more OpenBLAS would share the product among its threads.
    """
    pairs = len(windows) // 2 * 2
    shapes = windows[:pairs].reshape(-1, 2 * len(SEEN), len(spans)) @ spans
    return np.concatenate([shapes.reshape(-1, len(SEEN), SPANS), windows[pairs:] @ spans])


@lru_cache(maxsize=32)
def _spans(rate_hz: float) -> tuple[int, Signals]:
    """Return how many samples a window has before its middle, and (window, SPANS): what makes means of its samples."""
    before = int(np.ceil(-EDGES_MS[0] / 1e3 * rate_hz))
    after = int(np.ceil(EDGES_MS[-1] / 1e3 * rate_hz))
    places = np.arange(-before, after + 1)
    edges = EDGES_MS / 1e3 * rate_hz
    shared = np.minimum(places[:, None] + 0.5, edges[1:]) - np.maximum(places[:, None] - 0.5, edges[:-1])
    means = np.maximum(shared, 0) / np.diff(edges)
    line = np.stack([np.ones(len(places)), places / before], axis=1)
    straight = line @ np.linalg.pinv(line)
    return before, np.asarray(means - straight @ means, np.float32)


def _complexes(leads: Signals, rate_hz: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the record and the middle of each QRS complex, in order."""
    speed = np.abs(leads[..., 1:] - leads[..., :-1]).sum(axis=1)
    width = max(1, round(SMOOTHED_MS / 1e3 * rate_hz))
    change = uniform_filter1d(uniform_filter1d(speed, width, axis=-1), width, axis=-1)
    block = round(BLOCK_S * rate_hz)
    blocks = change.shape[-1] // block
    largest = change[:, : blocks * block].reshape(len(change), blocks, block).max(axis=-1)
    least = LEAST * np.median(largest, axis=-1, keepdims=True)
    return highest_around(change, change > least, round(APART_MS / 1e3 * rate_hz))


def highest_around(values: Signals, wanted: NDArray[np.bool_], reach: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and place of the wanted values that no value within `reach` places exceeds, in order.

    Few values exceed both neighbours, and only these are compared with the rest.
    """
    rising = values[:, 1:] >= values[:, :-1]
    falling = values[:, :-1] >= values[:, 1:]
    wanted[:, 1:] &= rising
    wanted[:, :-1] &= falling
    rows, places = np.divmod(np.flatnonzero(wanted), values.shape[-1])
    padded = np.pad(values, ((0, 0), (reach, reach)), mode="edge")
    around = sliding_window_view(padded, 2 * reach + 1, axis=-1)[rows, places]
    highest = around.max(axis=-1) == values[rows, places]
    return rows[highest], places[highest]


def _typical(shapes: Signals) -> Signals:
    """Return the mean of the beats that are like the most central one, or 0 where too few are.

    What comes before the QRS complex counts as far as the beats agree on it: where the atria fibrillate or beat by
    themselves, the mean of a few beats looks like a P wave and is none.
    """
    flat = shapes.reshape(len(shapes), -1)
    products = flat @ flat.T
    sizes = np.sqrt(np.maximum(products.diagonal(), TINY))
    likeness = products / (sizes[:, None] * sizes)
    central = int(np.sort(likeness, axis=1)[:, len(likeness) // 2].argmax())
    alike = shapes[likeness[central] >= ALIKE]
    if len(alike) < LEAST_BEATS:
        return np.zeros_like(shapes[0])
    typical = _mean(alike)
    typical[:, : QRS.start] *= _agreement(alike[..., : QRS.start])
    return typical


def _agreement(beats: Signals) -> np.float32:
    """Return 0 to 1: how much of the power of the mean beat's changes is more than chance in so few beats."""
    changes = beats[..., 1:] - beats[..., :-1]
    common = _mean(changes)
    changes -= common
    chance = np.square(changes).sum(axis=0).sum() / (len(beats) * (len(beats) - 1))
    power = np.square(common).sum()
    return np.float32(np.maximum(1 - chance / np.maximum(power, TINY), 0))


def _mean(beats: Signals) -> Signals:
    """Return the mean beat, without the overhead of `np.mean`."""
    return np.asarray(np.add.reduce(beats) / np.float32(len(beats)))
