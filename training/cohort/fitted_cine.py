"""Brings a cine into the shape of a cohort: 50 frames of one beat, 96 × 96 pixels, grey levels from 0 to 255."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.geometry import COHORT_PIXEL_MM

from .layout import CINE_SHAPE

DARKEST_PERCENT, BRIGHTEST_PERCENT = 1.0, 99.5

Frames = NDArray[np.float32]
"""(frames, height, width)."""


def fit_cine(frames: Frames) -> NDArray[np.uint8]:
    """Return frames (50, height, width) as a cohort keeps a cine: the middle square of the image, resized."""
    _, height, width = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    blur = _blur(side / CINE_SHAPE[1])
    smooth = ndimage.gaussian_filter(square, (0, blur, blur))
    small = ndimage.zoom(
        smooth, (1, *(length / side for length in CINE_SHAPE[1:])), order=1, grid_mode=True, mode="nearest"
    )
    return _stretch(small)


def fit_measured_cine(frames: Frames, pixel_mm: tuple[float, float]) -> NDArray[np.uint8]:
    """Return frames (50, height, width) as a cohort keeps a cine: the middle 226 mm of the image, dark around it.

    Args:
        frames: of one beat.
        pixel_mm: the distance between rows, and between columns.
    """
    steps = np.array([COHORT_PIXEL_MM / distance for distance in pixel_mm])
    smooth = ndimage.gaussian_filter(frames, (0, *(_blur(step) for step in steps)))
    middle = (np.array(frames.shape[1:]) - 1) / 2
    start = middle - steps * (np.array(CINE_SHAPE[1:]) - 1) / 2
    small = ndimage.affine_transform(
        smooth, (1, *steps), (0, *start), CINE_SHAPE, order=1, mode="constant", cval=float(frames.min())
    )
    return _stretch(small)


def fit_beat(frames: Frames) -> Frames:
    """Return the frames of one beat, however many, as 50; after the last one comes the first one again."""
    count, wanted = len(frames), CINE_SHAPE[0]
    if count == wanted:
        return frames
    moments = np.arange(wanted) * count / wanted
    before = moments.astype(int)
    share = (moments - before).astype(np.float32)[:, None, None]
    return np.asarray(frames[before] * (1 - share) + frames[(before + 1) % count] * share)


def _blur(step: float) -> float:
    """Return the deviation, in pixels, that keeps finer detail from folding into a grid coarser by `step`."""
    return max(0.0, (step - 1) / 2)


def _stretch(small: Frames) -> NDArray[np.uint8]:
    dark, bright = np.percentile(small, (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    levels = (small - dark) * (255 / max(float(bright - dark), 1e-6))
    return np.asarray(levels.round().clip(0, 255), np.uint8)
