"""Which kernels OpenBLAS is told to use where it does not know the processor.

NumPy multiplies by OpenBLAS, which takes a Zen 5 for a Haswell (0.3.31): it multiplies by AVX2, at half the rate of
AVX-512. It is told once, before NumPy is imported. This file imports the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = "SkylakeX"
"""OpenBLAS's name for kernels by AVX-512."""
NEEDED = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
"""The instructions that those kernels are made of."""
ZEN_5 = 26
"""The first family of AMD's that OpenBLAS does not know."""
PROCESSORS = Path("/proc/cpuinfo")


def choose_blas_kernels(environment: MutableMapping[str, str], processors: Path = PROCESSORS) -> None:
    """Set the variable that OpenBLAS reads, unless somebody has set it, where OpenBLAS would choose badly."""
    try:
        is_unknown = _is_zen_5(processors.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # another system than Linux
        return
    if is_unknown:
        environment.setdefault(VARIABLE, KERNELS)


def _is_zen_5(processors: str) -> bool:
    """Return whether the first processor is a Zen 5 or later with all of AVX-512."""
    first, _, _ = processors.partition("\n\n")
    facts = dict(re.findall(r"^(vendor_id|cpu family|flags)\s*:\s*(.*)$", first, re.MULTILINE))
    is_amd = facts.get("vendor_id") == "AuthenticAMD"
    return is_amd and int(facts.get("cpu family", "0")) >= ZEN_5 and set(facts.get("flags", "").split()) >= NEEDED
