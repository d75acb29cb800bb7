"""Shares with their intervals, for the tables that tests' tools print."""

import math

Z = 1.96


def wilson_interval(found, total):
    """Return the ends of the interval of 95 % of a share, from 0 to 1."""
    share = found / total
    middle, half = share + Z * Z / total / 2, Z * math.sqrt(share * (1 - share) / total + (Z / total / 2) ** 2)
    low, high = ((middle + sign * half) / (1 + Z * Z / total) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)
