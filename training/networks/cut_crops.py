"""Crops of many ECGs at once, cut, filtered and standardised on the device where their tensors lie.

The arithmetic is that of `inference.waveform`: a circular convolution by FFT, and a correction of rank 20 for the edges
of a crop. There it is NumPy, which serving has; here it is torch, so that a GPU prepares its own batches. The two agree
to 2e-5 of a crop's deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch  # noqa: TID253 - on tensors
from torch import Tensor  # noqa: TID253

from inference.geometry import CROP_SAMPLES, MICROVOLTS_PER_STEP, SAMPLE_RATE_HZ
from inference.waveform import SPAN, STILL_MV, crop_offsets, filter_operator

MILLIVOLTS_PER_STEP = MICROVOLTS_PER_STEP / 1e3
RESAMPLED_SAMPLES = 10 * SAMPLE_RATE_HZ
LAST_OFFSET = RESAMPLED_SAMPLES - CROP_SAMPLES
MIDDLE_OFFSET = LAST_OFFSET // 2


@dataclass(frozen=True, slots=True)
class Filters:
    """`inference.waveform.FilterOperator` for a crop at the start of the circle, on a device.

    Attributes:
        response: (1251,), of the circular convolution.
        edges: (2250, rank), how much of each edge pattern a crop has.
        patterns: (rank, 2250), what each edge pattern adds to a crop.
    """

    response: Tensor
    edges: Tensor
    patterns: Tensor


@cache
def filters_on(device: torch.device) -> Filters:
    """Return the filters. They are made once in a process and a device."""
    operator = filter_operator()
    blocks, rank, _ = operator.patterns.shape
    patterns = operator.patterns.swapaxes(0, 1).reshape(rank, blocks * operator.patterns.shape[2])
    parts = operator.response, operator.edges[:CROP_SAMPLES], patterns
    return Filters(*(torch.tensor(np.ascontiguousarray(part, np.float32), device=device) for part in parts))


def cut_crops(signals_mv: Tensor, offsets: Tensor | None) -> Tensor:
    """Return a crop (row, 12, 2250) float32 of each ECG (row, 12, 2500), not yet filtered.

    Args:
        signals_mv: of any floating type.
        offsets: (row,) int64, where each crop begins; None: all in the middle.
    """
    if offsets is None:
        return signals_mv[..., MIDDLE_OFFSET : MIDDLE_OFFSET + CROP_SAMPLES].float()
    windows = signals_mv.unfold(-1, CROP_SAMPLES, 1)  # a view, (row, 12, 251, 2250)
    return windows[torch.arange(len(offsets), device=offsets.device), :, offsets].float()


def finish_crops(crops: Tensor) -> Tensor:
    """Return crops (…, 12, 2250) in millivolts, filtered and standardised."""
    filters = filters_on(crops.device)
    level = crops - crops.mean(dim=-1, keepdim=True)
    spectrum = torch.fft.rfft(level, SPAN)
    spectrum *= filters.response
    filtered = (level @ filters.edges) @ filters.patterns
    filtered += torch.fft.irfft(spectrum, SPAN)[..., :CROP_SAMPLES]
    return standardise(filtered)


def standardise(crops: Tensor) -> Tensor:
    """Return each crop (…, leads, samples) with mean 0 and deviation 1; zeros where it does not vary."""
    centred, _, inverse = torch.native_layer_norm(crops, crops.shape[-2:], None, None, 0.0)
    standardised: Tensor = centred.masked_fill_(inverse >= 1 / STILL_MV, 0.0)
    return standardised


def screened_crops(ecgs: Tensor, n_crops: int) -> Tensor:
    """Return the crops that screening would make, (row × crop, 12, 2250), of ECGs (row, 12, 5000) as cohorts have them.

    Args:
        ecgs: int16 at 500 Hz, in the steps of a cohort.
        n_crops: of each ECG.
    """
    signals = resample(ecgs.float() * MILLIVOLTS_PER_STEP)
    offsets = crop_offsets(RESAMPLED_SAMPLES, n_crops)
    cut = torch.stack([signals[..., offset : offset + CROP_SAMPLES] for offset in offsets], dim=1)
    return finish_crops(cut).flatten(0, 1)


def resample(signals: Tensor) -> Tensor:
    """Return signals (…, 5000) at 250 Hz, (…, 2500), as `scipy.signal.resample` does; each without its mean."""
    spectrum = torch.fft.rfft(signals - signals.mean(dim=-1, keepdim=True), norm="forward")
    kept = spectrum[..., : RESAMPLED_SAMPLES // 2 + 1].clone()
    kept[..., -1] *= 2  # it stands for both signs of its frequency before, and for half of it after
    resampled: Tensor = torch.fft.irfft(kept, RESAMPLED_SAMPLES, norm="forward")
    return resampled
