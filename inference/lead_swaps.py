"""Doubts that electrodes were exchanged: by how much better a typical beat would look if an exchange were undone.

A small network scores how much nine leads look like what they are called. It scores the beat as it was recorded, and
with each exchange undone. So what an exchange does to the leads is exact, and only how hearts look is learned: from
simulated ECGs (`training/stages/lead_swaps.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .electrode_exchanges import Matrices
from .typical_beat import CHEST_LEADS, LIMB_LEADS, QRS, SEEN, SPANS, Signals

P_GAIN, QRS_GAIN, T_GAIN = 8.0, 1.5, 4.0
"""How much the waves are enlarged before large values are drawn in."""
GAINS = np.array([P_GAIN] * QRS.start + [QRS_GAIN] * (QRS.stop - QRS.start) + [T_GAIN] * (SPANS - QRS.stop), np.float32)
LEAST_MV = np.float32(1e-4)
"""Added to the size of the QRS complex, so that nothing is divided by 0."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """An exchange that would explain how the leads look.

    Attributes:
        exchange: the electrodes, as in "RA-LA".
        ahead: by how much the score would be higher if it were undone.
        probability: of this exchange, with the odds before looking that the scorer has.
    """

    exchange: str
    ahead: float
    probability: float


@dataclass(frozen=True, slots=True)
class Scorer:
    """A network that scores how much the leads of a beat look like what they are called. Only differences count.

    Attributes:
        exchanges: by name, what undoes each of them; the first is none.
        moved: the leads that they move.
        first: (9, SPANS, hidden), and `bias` (hidden,).
        second: (hidden, more), and `second_bias` (more,).
        last: (more,).
        log_odds: (exchanges,) before looking, of each against none.
        threshold: an exchange is doubted where its score exceeds that of the beat as recorded by at least this.
    """

    exchanges: Mapping[str, Matrices]
    moved: slice
    first: Signals
    bias: Signals
    second: Signals
    second_bias: Signals
    last: Signals
    log_odds: Signals
    threshold: float

    def scores(self, shapes: Signals) -> Signals:
        """Return (records, exchanges) from the shapes (records, 9, SPANS) of beats.

        The first layer is linear in the leads, so each lead goes through the weights of each place once, and an
        exchange only says which of the products are added. Each record is multiplied alone: in one product of all
        records the last digit would depend on how many there are.
        """
        records, hidden = len(shapes), len(self.bias)
        leads, places = shapes[:, self.moved], self.first[self.moved]
        count = leads.shape[1]
        weights = places.transpose(1, 0, 2).reshape(SPANS, -1)
        products = (leads @ weights).reshape(records, count, count, hidden)
        undone = np.stack(list(self.exchanges.values())).reshape(len(self.exchanges), -1)  # exchange, (place, lead)
        moved = undone @ products.transpose(0, 2, 1, 3).reshape(records, count * count, hidden)
        kept = [lead for lead in range(len(SEEN)) if not self.moved.start <= lead < self.moved.stop]
        still = shapes[:, kept].reshape(records, 1, -1) @ self.first[kept].reshape(-1, hidden)
        layer = np.tanh(moved + (still + self.bias))
        return np.asarray(np.tanh(layer @ self.second + self.second_bias) @ self.last + self.log_odds)

    def suspicions(self, shapes: Signals) -> list[Suspicion]:
        """Return for each record the exchange that its leads speak for most, whether or not that is enough."""
        scores = self.scores(shapes)
        names, rows = list(self.exchanges), np.arange(len(scores))
        best = scores[:, 1:].argmax(axis=1) + 1
        ahead = scores[rows, best] - scores[:, 0]
        probability = 1 / np.exp(scores - scores[rows, best, None]).sum(axis=1)
        return [
            Suspicion(names[place], *numbers)
            for place, *numbers in zip(best.tolist(), ahead.tolist(), probability.tolist(), strict=True)
        ]

    def doubts(self, shapes: Signals) -> list[Suspicion | None]:
        """Return for each record the suspicion, or None where its leads do not speak enough for it."""
        return [found if found.ahead >= self.threshold else None for found in self.suspicions(shapes)]


def shapes_of(beats: Signals) -> Signals:
    """Return what a scorer sees of typical beats (records, 9, SPANS): relative to the QRS complex, P and T enlarged."""
    limbs, chest = beats[:, LIMB_LEADS], beats[:, CHEST_LEADS]
    relative = np.concatenate([limbs / _size(limbs), chest / _size(chest)], axis=1)
    return np.asarray(np.arcsinh(relative * GAINS), np.float32)


def _size(leads: Signals) -> Signals:
    return np.asarray(np.sqrt(np.square(leads[..., QRS]).mean(axis=(1, 2), keepdims=True)) + LEAST_MV)
