"""A generated cine: its frames, their geometry, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.messages import SYNTHETIC_NOTICE, ModelReference

View: TypeAlias = Literal["four_chamber", "short_axis"]


@dataclass(frozen=True, slots=True)
class CineGeometry:
    """The meaning of the frames' axes.

    Attributes:
        frames, rows, columns: their numbers. The frames cover one beat evenly, from end diastole.
        pixel_mm: a pixel's edge, the same in both directions.
        seconds_per_beat: how long the beat lasts, or None if that is not known.
    """

    frames: int
    rows: int
    columns: int
    pixel_mm: float
    view: View = "four_chamber"
    seconds_per_beat: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The frames' array's."""
        return self.frames, self.rows, self.columns


@dataclass(frozen=True, slots=True)
class CineProvenance:
    """The origin of a cine. The same record, report, generator and seed give the same frames.

    Attributes:
        model: the report's model, which gave the embedding.
        generator: the model that drew it.
        embedding: the digest of the embedding that it was drawn from; None in cines of before 0.2.
        notice: must be shown with the cine.
    """

    record_id: str
    report_id: str
    model: ModelReference
    generator: ModelReference
    seed: int
    created_at: datetime
    embedding: str | None = None
    notice: str = SYNTHETIC_NOTICE


@dataclass(frozen=True, slots=True, eq=False)
class Cine:
    """One beat of a heart as the generator imagines it: (frames, rows, columns) uint8."""

    frames: NDArray[np.uint8]
    geometry: CineGeometry
    provenance: CineProvenance

    def __post_init__(self) -> None:
        """Hold the frames to their geometry.

        Raises:
            ValueError: they contradict it.
        """
        if self.frames.dtype != np.uint8 or self.frames.shape != self.geometry.shape:
            found = f"{self.frames.dtype} {self.frames.shape}"
            raise ValueError(f"the frames are {found}, not uint8 {self.geometry.shape} as their geometry says")
