"""What an engine is opened with: as much of the machine as it may use, and what it computes in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

Precision: TypeAlias = Literal["float32", "tf32", "float16", "bfloat16"]
"""What an engine multiplies in. TF32 is float32 whose products have 10 bits, on NVIDIA's tensor cores."""

CGROUP_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = CGROUP_CPU_QUOTA) -> int:
    """Return how many cores this process may use: a container's quota counts, threads beyond it only get in the way."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        allowance, period = quota.read_text().split()
        return max(1, min(cores, round(int(allowance) / int(period))))
    except (OSError, ValueError):  # no cgroup, or the allowance is "max"
        return cores


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is opened with. An engine ignores what it has no use for."""

    threads: int = msgspec.field(default_factory=usable_cores)
    """CPU threads."""
    rows: int = 48
    """The biggest batch to come. A bigger one is answered as well, but in parts or with new memory."""
    smallest: int = 3
    """A GPU pads smaller batches to this one. A lone ECG has three crops."""
    device: int = 0
    """Which of the GPUs that this process sees."""
    precision: Precision = "float32"
    """The catalog sets it: an engine of another precision has another name."""
    cache_folder: Path | None = None
    """Where compiled networks and choices are kept. The user's cache where not set."""
