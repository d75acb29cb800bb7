"""The segmenter for the evaluation: outlines left ventricles with weights that are shipped with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.whole_json import write_json
from inference.verified_folder import sha256
from schemas.errors import InvalidSettings
from training.networks.weights_files import WEIGHTS, load_weights

from .left_ventricle import LeftVentricles, measure_left_ventricles

if TYPE_CHECKING:
    from torch import Tensor

    from training.networks.segmenter import Segmenter

CARD = "segmenter.json"
BATCH_FRAMES, BATCH_CINES = 256, 16
PLACES = 3


class SegmenterCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The card of a segmenter, which lies beside its weights.

    Attributes:
        trained_on: in words.
        development: figures on the development fold; None where a figure could not be taken.
    """

    sha256: str
    trained_on: str
    development: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class CineSegmenter:
    """Outlines left ventricles; needs torch."""

    network: Segmenter
    card: SegmenterCard

    def outline(self, cines: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (n, frames, 2, 48, 48): the shares of each pixel that are cavity and wall.

        Args:
            cines: (n, frames, rows, columns), square; they are resized to 48 × 48 first.
        """
        import torch

        pictures = torch.from_numpy(cines.reshape(-1, *cines.shape[2:]))
        with torch.inference_mode():
            shares = [
                self._shares(pictures[start : start + BATCH_FRAMES]) for start in range(0, len(pictures), BATCH_FRAMES)
            ]
            answer: NDArray[np.float32] = torch.cat(shares).numpy()
        return answer.reshape(*cines.shape[:2], *answer.shape[1:])

    def measure(self, cines: NDArray[np.uint8], pixel_mm: float) -> LeftVentricles:
        """Return the left ventricles on cines (n, frames, rows, columns); `pixel_mm` is the edge of a pixel."""
        chunks = [cines[start : start + BATCH_CINES] for start in range(0, len(cines), BATCH_CINES)]
        outlines = (self.outline(chunk) for chunk in chunks)
        edge_mm = pixel_mm * cines.shape[-1]
        parts = [measure_left_ventricles(shares, edge_mm / shares.shape[-1]) for shares in outlines]
        return LeftVentricles(
            np.concatenate([part.volume_ml for part in parts]), np.concatenate([part.thickness_mm for part in parts])
        )

    def features(self, cines: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (n, 2016): mean and deviation over the beat of the network's three levels, in 3 × 3 places.

        The first level sees edges and noise, the last one the heart's parts.
        """
        import torch

        with torch.inference_mode():
            pooled = [self._features(torch.from_numpy(cine)) for cine in cines]
            answer: NDArray[np.float32] = torch.stack(pooled).numpy()
        return answer

    def _shares(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.network(_at_size(pictures))
        return logits.softmax(dim=1)[:, 1:]

    def _features(self, cine: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        levels = self.network.levels(_at_size(cine))
        pooled = torch.cat([adaptive_avg_pool2d(level, PLACES).flatten(1) for level in levels], dim=1)
        return torch.cat(torch.std_mean(pooled, dim=0))


def default_segmenter() -> Path:
    """Return the folder of the segmenter that is shipped with the package."""
    return Path(str(files("training") / "segmentation"))


def load_segmenter(folder: Path) -> CineSegmenter:
    """Return the segmenter of a folder.

    Raises:
        InvalidSettings: the folder holds no segmenter, or its card describes other weights.
    """
    from training.networks.segmenter import Segmenter

    try:
        card = msgspec.json.decode((folder / CARD).read_bytes(), type=SegmenterCard)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidSettings(
            f"{folder} is not a segmenter: `cardiacnets train segmenter` makes one ({error})"
        ) from error
    weights = load_weights(folder / WEIGHTS)
    if sha256(folder / WEIGHTS) != card.sha256:
        raise InvalidSettings(f"{folder / WEIGHTS} are not the weights that {CARD} describes: fetch them again")
    network = Segmenter()
    network.load_state_dict(weights)
    return CineSegmenter(network.eval(), card)


def write_card(folder: Path, trained_on: str, development: Mapping[str, float | None]) -> None:
    """Write the card beside the weights in a folder."""
    card = SegmenterCard(sha256=sha256(folder / WEIGHTS), trained_on=trained_on, development=dict(development))
    write_json(folder / CARD, card)


def _at_size(pictures: Tensor) -> Tensor:
    """Return pictures (row, rows, columns) as float32 (row, 48, 48)."""
    from torch.nn.functional import interpolate

    from training.networks.segmenter import PIXELS

    values = pictures.float()
    if values.shape[-1] == PIXELS:
        return values
    return interpolate(values[:, None], size=(PIXELS, PIXELS), mode="area")[:, 0]
