"""What a file of a scan holds, before it is brought into a cohort's shape."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from schemas.errors import UnreadableFile

from .fitted_cine import Frames

FEWEST_FRAMES, MOST_FRAMES = 8, 200
"""Of one beat."""
LEAST_PIXEL_MM, LARGEST_PIXEL_MM = 0.2, 10.0


class Scan(NamedTuple):
    """A cine of one plane.

    Attributes:
        frames: of one beat, in order of time.
        pixel_mm: the distance between rows, and between columns; None where the file does not say.
    """

    frames: Frames
    pixel_mm: tuple[float, float] | None


def as_distances(rows: float, columns: float, path: Path) -> tuple[float, float]:
    """Return the distances between rows and between columns, in mm, if they can be a scan's.

    Raises:
        UnreadableFile: they cannot.
    """
    if not all(LEAST_PIXEL_MM <= distance <= LARGEST_PIXEL_MM for distance in (rows, columns)):
        raise UnreadableFile(
            f"{path} says that a pixel is {rows:g} × {columns:g} mm: a scan's is {LEAST_PIXEL_MM:g} to "
            f"{LARGEST_PIXEL_MM:g} mm"
        )
    return rows, columns
