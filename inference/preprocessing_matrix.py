"""The preprocessing of 10 s at 500 Hz as one matrix, for devices that multiply faster than they do anything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .geometry import CROP_SAMPLES, RECORDED_SAMPLES
from .waveform import SPAN, filter_operator

ROWS_AT_ONCE = 500
"""Rows of the matrix that are computed together: a tenth of the memory, and no slower."""


def preprocessing_matrix(offsets: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matrix of a lead, and the edge patterns of a crop.

    Args:
        offsets: where the crops start, at 250 Hz.

    Returns:
        (5000, 2500 + crops × rank): the lead resampled and filtered in a circle, and then how much of each edge pattern
        each crop has; and the patterns, (rank, 2250). `waveform.py` explains them.
    """
    from scipy.signal import resample

    operator = filter_operator()
    edges = np.concatenate([np.roll(operator.edges, offset, axis=0) for offset in offsets], axis=1)
    matrix = np.empty((RECORDED_SAMPLES, SPAN + edges.shape[1]), np.float32)
    for start in range(0, RECORDED_SAMPLES, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        resampled = resample(np.eye(ROWS_AT_ONCE, RECORDED_SAMPLES, start), SPAN, axis=-1)
        matrix[rows, :SPAN] = fft.irfft(fft.rfft(resampled) * operator.response, SPAN)
        matrix[rows, SPAN:] = resampled @ edges
    patterns = operator.patterns.swapaxes(0, 1).reshape(-1, CROP_SAMPLES)
    return matrix, np.ascontiguousarray(patterns)
