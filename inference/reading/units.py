"""Units of voltage as files write them."""

from __future__ import annotations

TO_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}


def millivolts_per(unit: str) -> float | None:
    """Return how many millivolts a unit is; None if it is no unit of voltage that is known."""
    return TO_MILLIVOLTS.get(unit.strip().lower())
