"""Frames of simulated four-chamber cines with their outlines, and how they are disturbed for learning."""

from __future__ import annotations

import numpy as np
import torch  # noqa: TID253 - batches are tensors
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from schemas.errors import InvalidSettings
from training.cohort.layout import Cohort
from training.networks.segmenter import PIXELS
from training.simulation.four_chamber import outline_four_chamber
from training.simulation.heart import PHASES, Heart, build_heart
from training.simulation.heart_measurements import measure_heart
from training.simulation.physiology import draw_patient

from .batches import Rows

Bytes = NDArray[np.uint8]

BLUR_PIXELS, KERNEL = 1.4, 9
COARSE = 0.3
"""Share of the pictures that lose half their resolution."""
NOISE = 12.0
SHIFT, TURN_DEG, SCALE = 0.1, 15.0, 0.12
"""Of a picture: shares of half an edge, degrees, share."""


class OutlinedFrames(Rows):
    """Frames (n, h, w) with the shares (n, 2, h, w) of their pixels that are cavity and wall, both uint8."""

    def __init__(self, frames: Bytes, shares: Bytes) -> None:
        super().__init__({"frames": frames, "shares": shares}, np.arange(len(frames)))


def outline_frames(cohort: Cohort, rows: NDArray[np.intp], frames: int) -> tuple[Bytes, Bytes]:
    """Return frames (n, 48, 48) of the rows' cines, evenly over the beat, and their shares (n, 2, 48, 48).

    Raises:
        InvalidSettings: the cohort was not simulated by this version, or has no cines: its outlines are not known.
    """
    seed = cohort.description.seed
    if cohort.cines is None or seed is None:
        raise InvalidSettings(f"{cohort.folder} has no outlines to learn from: the segmenter needs simulated cines")
    phases = np.linspace(0, PHASES, frames, endpoint=False).astype(int)
    pictures = np.empty((len(rows), frames, PIXELS, PIXELS), np.uint8)
    shares = np.empty((len(rows), frames, 2, PIXELS, PIXELS), np.uint8)
    for place, row in enumerate(rows):
        outlines = outline_four_chamber(_heart(cohort, row, seed))[phases]
        pictures[place] = np.round(shrink(cohort.cines[cohort.cine[row]][phases]))
        shares[place] = np.round(255 * shrink(outlines))
    return pictures.reshape(-1, PIXELS, PIXELS), shares.reshape(-1, 2, PIXELS, PIXELS)


def _heart(cohort: Cohort, row: np.intp, seed: int) -> Heart:
    heart = build_heart(draw_patient(seed, int(str(cohort.record_ids[row]).rsplit("-", 1)[1])))
    if not np.allclose(measure_heart(heart), cohort.phenotypes[row]):
        raise InvalidSettings(f"{cohort.folder} was simulated by another version: simulate it again")
    return heart


def shrink(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures (…, 96, 96) as (…, 48, 48): the mean of each two by two pixels."""
    times = pictures.shape[-1] // PIXELS
    blocks = pictures.reshape(*pictures.shape[:-2], PIXELS, times, PIXELS, times)
    return np.asarray(blocks.mean(axis=(-3, -1), dtype=np.float32))


def disturb(frames: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return frames (row, h, w) as worse scanners and generators show them, and the shares of the moved outlines.

    Frames and outlines are shifted, turned and scaled together. Then the frames get blur, lower resolution, another
    contrast and noise.
    """
    frames, shares = move(frames.float(), shares.float())
    frames = coarsen(blur(frames))
    return add_noise(recolour(frames)), shares


def move(frames: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return frames and shares, shifted, turned and scaled alike."""
    turn = torch.deg2rad(_between(-TURN_DEG, TURN_DEG, frames))
    scale = 1 + _between(-SCALE, SCALE, frames)
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    right, down = _between(-SHIFT, SHIFT, frames), _between(-SHIFT, SHIFT, frames)
    matrix = torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    both = torch.cat([frames[:, None], shares], dim=1)
    grid = functional.affine_grid(matrix, list(both.shape), align_corners=False)
    moved = functional.grid_sample(both, grid, padding_mode="border", align_corners=False)
    return moved[:, 0], moved[:, 1:]


def blur(frames: Tensor) -> Tensor:
    """Return frames, each blurred by a Gaussian of its own width."""
    width = _between(0.05, BLUR_PIXELS, frames)[:, None]
    place = torch.arange(KERNEL, device=frames.device) - KERNEL // 2
    kernel = torch.softmax(-(place**2) / (2 * width**2), dim=1)
    across = _convolve(frames, kernel[:, None, None, :])
    return _convolve(across, kernel[:, None, :, None])


def coarsen(frames: Tensor) -> Tensor:
    """Return frames, some of them at half their resolution."""
    half = functional.avg_pool2d(frames[:, None], 2)
    coarse = functional.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    return torch.where(torch.rand(len(frames), 1, 1, device=frames.device) < COARSE, coarse, frames)


def recolour(frames: Tensor) -> Tensor:
    """Return frames under another shading and another curve from dark to bright."""
    place = torch.linspace(-1, 1, frames.shape[-1], device=frames.device)
    across, down = _between(-0.2, 0.2, frames), _between(-0.2, 0.2, frames)
    shading = 1 + across[:, None, None] * place + down[:, None, None] * place[:, None]
    curve = torch.exp(_between(-0.35, 0.35, frames))[:, None, None]
    return 255 * (frames.clamp(min=0) / 255 * shading) ** curve


def add_noise(frames: Tensor) -> Tensor:
    """Return frames with noise, each with an amount of its own."""
    return frames + _between(0, NOISE, frames)[:, None, None] * torch.randn_like(frames)


def _convolve(frames: Tensor, kernels: Tensor) -> Tensor:
    rows, edge = len(frames), KERNEL // 2
    down, across = (edge if size > 1 else 0 for size in kernels.shape[-2:])
    padded = functional.pad(frames[None], (across, across, down, down), mode="replicate")
    return functional.conv2d(padded, kernels, groups=rows)[0]


def _between(low: float, high: float, frames: Tensor) -> Tensor:
    """Return one random number for each frame, on the device of the frames."""
    return low + (high - low) * torch.rand(len(frames), device=frames.device)
