"""NVIDIA GPUs of this machine, as the driver tells them in files: no library is loaded, no process started."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

DRIVER = Path("/proc/driver/nvidia")
"""Also there in containers that were given a GPU, and for these GPUs alone."""
DRIVER_VERSION = re.compile(r"\b\d{3,}\.\d+(?:\.\d+)?\b")
MODEL = re.compile(r"^Model:\s*(.+?)\s*$", re.MULTILINE)


class Gpu(msgspec.Struct, frozen=True):
    """A GPU and the driver that it runs by."""

    model: str
    driver: str


def find_gpus(folder: Path = DRIVER) -> tuple[Gpu, ...]:
    """Return the GPUs, in the order of their addresses; none where there is no driver."""
    places = sorted(folder.glob("gpus/*/information"))
    driver = _first(DRIVER_VERSION, folder / "version")
    return tuple(Gpu(_first(MODEL, place, 1), driver) for place in places)


def _first(pattern: re.Pattern[str], path: Path, group: int = 0) -> str:
    try:
        found = pattern.search(path.read_text(errors="replace"))
    except OSError:
        return "unknown"
    return found[group] if found else "unknown"
