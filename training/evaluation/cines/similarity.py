"""How alike two cines of the same patient are, picture by picture: SSIM and PSNR, by scikit-image.

SSIM is that of Wang et al., IEEE Transactions on Image Processing 2004, in windows of 7 × 7 pixels, of each frame, and
the mean of a cine's frames. PSNR is that of all frames together, white being 255.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.evaluation.bootstrap import Estimate, bootstrap, estimate

Cines = NDArray[np.uint8]
"""(n, frames, rows, columns)."""

WHITE = 255
MOST_DB = 58.9
"""The PSNR of rounding to a grey level: equal cines would be infinitely alike, and have no mean."""


def measure_ssim(true: Cines, drawn: Cines) -> Floats:
    """Return (n,) the structural similarity of each cine to the true one, 1 if they are the same."""
    from skimage.metrics import structural_similarity

    def compare(one: Cines, other: Cines) -> float:
        return float(structural_similarity(one, other, channel_axis=0, data_range=WHITE))  # type: ignore[no-untyped-call]  # scikit-image has no types

    return _each(true, drawn, compare)


def measure_psnr(true: Cines, drawn: Cines) -> Floats:
    """Return (n,) the peak signal-to-noise ratio (dB) of each cine; at most 58.9, which equal ones have."""
    from skimage.metrics import peak_signal_noise_ratio

    def compare(one: Cines, other: Cines) -> float:
        return float(peak_signal_noise_ratio(one, other, data_range=WHITE))  # type: ignore[no-untyped-call]  # as above

    with np.errstate(divide="ignore"):
        return np.minimum(_each(true, drawn, compare), MOST_DB)


def estimate_mean(values: Floats, weights: NDArray[np.uint16]) -> Estimate:
    """Return the mean over patients with its interval, given (n,) values and (draws, n) weights."""
    return estimate(values.mean(), bootstrap(lambda drawn: drawn @ values / drawn.sum(axis=1), weights))


def _each(true: Cines, drawn: Cines, metric: Callable[[Cines, Cines], float]) -> Floats:
    return np.array([metric(one, other) for one, other in zip(true, drawn, strict=True)])
