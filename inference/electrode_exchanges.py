"""Exchanges of electrodes: what each of them does to the leads, exactly.

A limb lead is the difference of two electrodes, so an exchange of limb electrodes exchanges limb leads and turns signs.
The chest leads are measured against the mean of the three limb electrodes, which such an exchange does not change.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrices: TypeAlias = NDArray[np.float32]

NONE = "none"
"""The name of no exchange. It is the first of either kind."""

LIMB_EXCHANGES: dict[str, Matrices] = {
    name: np.array(rows, np.float32)
    for name, rows in {
        NONE: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        "RA-LA": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
        "RA-LL": ((0, 0, -1), (0, -1, 0), (-1, 0, 0)),
        "LA-LL": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
        "RA-LA-LL": ((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
        "RA-LL-LA": ((0, -1, 0), (0, 0, -1), (1, 0, 0)),
    }.items()
}
"""(3, 3): I, II and III as they should be, from those that were recorded. In the last two, all three moved round."""

CHEST_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")


def _chest_exchange(one: int, other: int) -> Matrices:
    order = list(range(len(CHEST_LEADS)))
    order[one], order[other] = other, one
    return np.eye(len(CHEST_LEADS), dtype=np.float32)[order]


CHEST_EXCHANGES: dict[str, Matrices] = {NONE: np.eye(len(CHEST_LEADS), dtype=np.float32)} | {
    f"{CHEST_LEADS[one]}-{CHEST_LEADS[other]}": _chest_exchange(one, other)
    for one, other in itertools.combinations(range(len(CHEST_LEADS)), 2)
}
"""(6, 6): V1 to V6 as they should be, from those that were recorded; every exchange of two."""
