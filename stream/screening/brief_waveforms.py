"""Which ECGs are kept for some hours although nothing was flagged, or though they were rejected: a bounded few."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from inference.leads import standard_name
from inference.waveform import MAX_DURATION_S
from schemas.ecg_record import LEADS, EcgRecord
from schemas.record_limits import BYTES_PER_SAMPLE

UNIT_BYTES = 32 * 2**10
"""What such ECGs take of Redis is counted in units. The list that bounds them has an id once for each of its units."""
A_SECOND = 4.0
AT_ONCE = 32.0
"""How many a worker stores at most. More would only push each other out, and take time from screening."""


def units_of(size: int) -> int:
    """Return how many units a value of so many bytes takes."""
    return -(-size // UNIT_BYTES)


def is_drawable(record: EcgRecord, max_bytes: int) -> bool:
    """Return whether there is a lead to draw, and no more than so many bytes of samples."""
    drawn = MAX_DURATION_S * record.sample_rate_hz
    there = len({standard_name(name) for name in record.leads} & set(LEADS))
    return 0 < drawn < math.inf and 0 < there * min(drawn, record.n_samples) * BYTES_PER_SAMPLE <= max_bytes


class Allowance:
    """Lets `A_SECOND` through, and `AT_ONCE` after a quiet time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left, self._at = AT_ONCE, clock()

    def take(self) -> bool:
        """Return whether another one may pass now."""
        now = self._clock()
        self._left, self._at = min(AT_ONCE, self._left + A_SECOND * (now - self._at)), now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
