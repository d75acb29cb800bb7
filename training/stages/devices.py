"""On which device a stage learns, and what suits the device: rows at a time, loader processes, what it can hold."""

from __future__ import annotations

import os

import torch  # noqa: TID253 - devices are torch's

from schemas.errors import InvalidSettings

from .settings import AS_SUITS, Hardware

ROWS_AT_ONCE = {"cpu": 32}
ROWS_AT_ONCE_ELSEWHERE = 256
"""Of a network that only answers. On a processor more of them are no faster."""
MOST_WORKERS = 8
HELD_SHARE = 0.25
"""Of a GPU's free memory that the rows of a stage may take: several stages run at once, and networks need room."""


def choose_device(hardware: Hardware) -> torch.device:
    """Return the device that batches are made on: the first of those that learn.

    Raises:
        InvalidSettings: a GPU is asked for, and torch has none.
    """
    if hardware.device == "cuda":
        require_gpu()
    if hardware.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    first = hardware.devices.split(",")[0].strip()
    return torch.device("cuda", int(first) if "," in hardware.devices and first.isdigit() else 0)


def require_gpu() -> None:
    """Refuse to go on where torch has no GPU.

    Raises:
        InvalidSettings: torch was built for the processor, or finds no GPU.
    """
    if not torch.cuda.is_available():
        raise InvalidSettings(
            f"--device cuda needs an NVIDIA GPU, and torch {torch.__version__} {_why_no_gpu()}: "
            "take --device cpu, or auto, which takes a GPU where there is one"
        )


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "was built for processors alone"
    return "finds none, or no driver for it"


def rows_at_once(device: torch.device) -> int:
    """Return how many rows a network that only answers gets at a time."""
    return ROWS_AT_ONCE.get(device.type, ROWS_AT_ONCE_ELSEWHERE)


def choose_workers(hardware: Hardware, device: torch.device) -> int:
    """Return how many processes prepare batches: as many as were asked for, else none for a processor."""
    if hardware.workers != AS_SUITS:
        return hardware.workers
    cores = len(os.sched_getaffinity(0))
    return 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, cores - 1))


def has_room(hardware: Hardware, device: torch.device, size: int) -> bool:
    """Return whether rows of so many bytes shall lie on the device: on one GPU, where they leave room.

    A number of workers says that rows shall come from the processor.
    """
    if device.type != "cuda" or hardware.devices != "1" or hardware.workers != AS_SUITS:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size <= HELD_SHARE * free
