"""Units of voltage as files write them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

PREFIXES = {"": 1e3, "m": 1.0, "u": 1e-3, "\u03bc": 1e-3, "n": 1e-6}
NAMED_PREFIXES = {"": 1e3, "milli": 1.0, "micro": 1e-3, "nano": 1e-6}
MAX_UNIT = 32
"""A longer text is not a unit."""

TO_MILLIVOLTS: Mapping[str, float] = MappingProxyType(
    {
        **{f"{prefix}{word}": factor for prefix, factor in PREFIXES.items() for word in ("v", "volt", "volts")},
        **{f"{prefix}{word}": factor for prefix, factor in NAMED_PREFIXES.items() for word in ("volt", "volts")},
        **{f"mdc_dim_{prefix}_volt": factor for prefix, factor in NAMED_PREFIXES.items() if prefix},
        "mdc_dim_volt": 1e3,
        "\xb5v": 1e-3,
    }
)
"""How many millivolts a unit is, by its name in lower case. `MV` is upper-case software's mV: no ECG has megavolts."""

_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d{1,3})?)\s*[*.\u00d7]?\s*(\D+)")


def millivolts_per(unit: str) -> float | None:
    """Return how many millivolts a unit is (`uV`, `1e-6 V`, `MILLIVOLTS`); None if it is no unit of voltage."""
    return _millivolts_per(unit) if len(unit) <= MAX_UNIT else None


@lru_cache(maxsize=1024)
def _millivolts_per(unit: str) -> float | None:
    plain = unicodedata.normalize("NFKC", unit).strip().lower()
    if (factor := TO_MILLIVOLTS.get(plain)) is not None:
        return factor
    numbered = _NUMBER_AND_UNIT.fullmatch(plain)
    if numbered is None or (factor := TO_MILLIVOLTS.get(numbered[2])) is None:
        return None
    millivolts = float(numbered[1]) * factor
    return millivolts if math.isfinite(millivolts) and millivolts > 0 else None
