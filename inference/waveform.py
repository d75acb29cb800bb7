"""The published preprocessing: from 12 leads in millivolts to standardised crops for the network.

1. Fourier resampling to 250 Hz
2. crops of 2250 samples (9 s), spread evenly over the record
3. Butterworth filters of order 5, high-pass 0.67 Hz and then low-pass 40 Hz, each forwards and backwards
4. one mean and one standard deviation over all leads and times of a crop

Step 3 is linear and always the same at 250 Hz: a matrix of 2250 × 2250. Away from the edges, each row of the matrix is
the same impulse response, shifted. A filtered crop is therefore nearly a piece of C x: of the whole record x, filtered
in a circle, where C is the circular convolution with that response. The edges of a crop add a difference: the padding
and the initial states of `sosfiltfilt`, and the samples beyond the crop that C uses. This difference has a rank of only
20, because the filters have few states. A record is therefore resampled and filtered by one FFT and its inverse for any
number of crops, and two thin matrix products correct each crop. The first product works on the spectrum. A record of
12 × 5000 with three crops takes one core 0.4 ms, and 6 ms with SciPy. `preprocess_reference` does the same by SciPy in
float64. On 274 real records the two agree to 7e-6 of a standard deviation.

Source: Ding et al., arXiv 2411.13602, and the authors' released preprocessing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .geometry import CROP_SAMPLES, SAMPLE_RATE_HZ

Real = TypeVar("Real", np.float32, np.float64)

MAX_DURATION_S = 10.0

FILTER_ORDER = 5
HIGH_PASS_HZ = 0.67
LOW_PASS_HZ = 40.0

SPAN = 2500
"""The length of the circle that a record is filtered in, in samples at 250 Hz. Zeros follow a shorter record."""
IMPULSE_TURNS = 15
"""The impulse response is this many circles long. The slowest pole of the high-pass decays by e every 0.8 s."""
SKETCH_RANK = 64
EDGE_TOLERANCE = 1e-9
LEVEL_STRIDE = 16
STILL_MV = 1e-5
"""A crop with a smaller deviation does not vary: the deviation comes from rounding."""
CHUNK_RECORDS = 2
"""Records that are processed together. With this number, temporary arrays stay in the processor's cache."""
BLOCKS = 9
"""Parts of a spectrum and of a crop in a matrix product. In one piece, OpenBLAS would share it among its threads, which
then spin beside the engine: twice the CPU time, no faster. Products of up to 2^18 multiplications it leaves to the
caller's thread."""


def preprocess(
    signals_mv: NDArray[np.float32], sample_rate_hz: float, n_crops: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return standardised crops.

    Args:
        signals_mv: (records, 12, samples) float32, finite. Only the first 10 s are used.
        sample_rate_hz: of the signals, 100 to 1000.
        n_crops: spread evenly between the first and the last place where 9 s fit; of 10 s, three start at
            samples 0, 125 and 250.
        out: to write to; a new array where it is None.

    Returns:
        (records, n_crops, 12, 2250) float32 of mean 0 and deviation 1; all zeros where a crop does not vary.
    """
    used = _first_seconds(signals_mv, sample_rate_hz)
    records, leads, samples = used.shape
    offsets = crop_offsets(resampled_length(samples, sample_rate_hz), n_crops)
    crops = np.empty((records, n_crops, leads, CROP_SAMPLES), np.float32) if out is None else out
    for start in range(0, records, CHUNK_RECORDS):
        chunk = slice(start, start + CHUNK_RECORDS)
        filter_operator().filter_crops(_spectrum_at_250_hz(used[chunk], sample_rate_hz), offsets, out=crops[chunk])
        standardise(crops[chunk], out=crops[chunk])
    return crops


def preprocess_reference(signals_mv: NDArray[np.float64], sample_rate_hz: float, n_crops: int) -> NDArray[np.float64]:
    """Return what `preprocess` returns, by SciPy's own functions in float64. Tests use it as the reference."""
    from scipy.signal import resample

    signals = _first_seconds(np.asarray(signals_mv, np.float64), sample_rate_hz)
    resampled = resample(signals, resampled_length(signals.shape[-1], sample_rate_hz), axis=-1)
    offsets = crop_offsets(resampled.shape[-1], n_crops)
    filtered = [_filter_by_scipy(resampled[..., offset : offset + CROP_SAMPLES]) for offset in offsets]
    return np.stack([standardise(crop) for crop in filtered], axis=1)


def resampled_length(samples: int, sample_rate_hz: float) -> int:
    """Return the number of samples at 250 Hz."""
    return round(samples * SAMPLE_RATE_HZ / sample_rate_hz)


def crop_offsets(samples: int, n_crops: int) -> list[int]:
    """Return the places at which the crops start in this many samples at 250 Hz."""
    last = samples - CROP_SAMPLES
    if last < 0:
        raise ValueError(f"{samples} samples at {SAMPLE_RATE_HZ} Hz are less than a crop of {CROP_SAMPLES}")
    return [round(offset) for offset in np.linspace(0, last, n_crops)]


@dataclass(frozen=True, slots=True, eq=False)
class FilterOperator:
    """The two zero-phase filters as one linear operator on the crops of a record.

    Attributes:
        response: the transform of the circular impulse response, (1251,) float32: it is symmetric.
        edges: V, (2500, rank) float64: how much of each edge pattern the crop at the start of the circle has.
        patterns: U in blocks, (9, rank, 250): what each edge pattern adds to a crop.
    """

    response: NDArray[np.float32]
    edges: NDArray[np.float64]
    patterns: NDArray[np.float32]

    def apply(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return crops (rows, leads, 2250) filtered, float32."""
        return self.filter_crops(fft.rfft(crops, SPAN, norm="forward"), (0,), out=np.empty_like(crops)[:, None])[:, 0]

    def filter_crops(
        self, spectrum: NDArray[np.complex64], offsets: Sequence[int], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the filtered crops at these offsets in the circle: `out`, (records, offsets, leads, 2250) float32.

        Args:
            spectrum: of the records, (records, leads, 1251), by `rfft(…, 2500, norm="forward")`; it is overwritten.
            offsets: of the crops.
            out: to write to.
        """
        strengths = (_in_blocks(spectrum.view(np.float32)) @ _edge_weights(self, tuple(offsets))).sum(axis=1)
        spectrum *= self.response
        filtered = fft.irfft(spectrum, SPAN, norm="forward", overwrite_x=True)
        correction = np.empty((strengths.shape[1], CROP_SAMPLES), np.float32)
        for place, offset in enumerate(offsets):
            np.matmul(strengths[place], self.patterns, out=_in_blocks(correction))
            piece = filtered[..., offset : offset + CROP_SAMPLES]
            np.add(piece, correction.reshape(piece.shape), out=out[:, place])
        return out


def _in_blocks(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a view of (…, n) as (9, rows, n / 9)."""
    return rows.reshape(-1, BLOCKS, rows.shape[-1] // BLOCKS).swapaxes(0, 1)


@lru_cache(maxsize=64)
def _edge_weights(operator: FilterOperator, offsets: tuple[int, ...]) -> NDArray[np.float32]:
    """Return V for a crop at each offset, for spectra instead of samples: (offsets, 9, 278, rank)."""
    moved = np.stack([np.roll(operator.edges, offset, axis=0) for offset in offsets])
    transformed = fft.rfft(moved, axis=1) * 2  # a real signal's spectrum holds one of each pair of frequencies
    transformed[:, [0, -1]] /= 2  # but for those two, which are their own
    parts = np.stack([transformed.real, transformed.imag], axis=2)
    return parts.reshape(len(offsets), BLOCKS, -1, parts.shape[-1]).astype(np.float32)


@cache
def filter_operator() -> FilterOperator:
    """Return the operator. It is made once in a process, which takes about a second."""
    response = _circular_response()
    matrix = -_circulant(response)[:CROP_SAMPLES]
    matrix[:, :CROP_SAMPLES] += _filter_by_scipy(np.eye(CROP_SAMPLES)).T
    edges, patterns = _low_rank(matrix)
    return FilterOperator(
        response=fft.rfft(response).real.astype(np.float32),
        edges=edges,
        patterns=np.ascontiguousarray(_in_blocks(patterns.astype(np.float32))),
    )


def _circular_response() -> NDArray[np.float64]:
    """Return the two-sided impulse response, wrapped round the circle: the first column of C."""
    turns = IMPULSE_TURNS
    impulse = np.zeros(turns * SPAN)
    middle = turns // 2 * SPAN
    impulse[middle] = 1.0
    return np.asarray(_filter_by_scipy(impulse).reshape(turns, SPAN).sum(axis=0))


def _circulant(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix with `column[i - j]` in row i, column j, indices wrapping round."""
    twice = np.concatenate([column[::-1], column[::-1]])
    rows = np.lib.stride_tricks.sliding_window_view(twice, SPAN)
    return rows[SPAN - 1 :: -1]


def _low_rank(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return V (2500, rank) and U (rank, 2250) with x V U = edges x.

    By a randomised range finder (Halko et al., 2011).
    """
    sketch = edges @ np.random.default_rng(0).standard_normal((SPAN, SKETCH_RANK))
    basis, _ = np.linalg.qr(sketch)
    inner, strengths, patterns = np.linalg.svd(basis.T @ edges, full_matrices=False)
    kept = strengths > EDGE_TOLERANCE * strengths[0]
    return (patterns[kept] * strengths[kept, None]).T, (basis @ inner[:, kept]).T


def _filter_by_scipy(crops: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.signal import butter, sosfiltfilt  # half a second to import, and needed once

    high = butter(FILTER_ORDER, HIGH_PASS_HZ, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    low = butter(FILTER_ORDER, LOW_PASS_HZ, "lowpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(low, sosfiltfilt(high, crops, axis=-1), axis=-1))


def _first_seconds(signals: NDArray[Real], sample_rate_hz: float) -> NDArray[Real]:
    return signals[..., : math.floor(MAX_DURATION_S * sample_rate_hz)]


def _spectrum_at_250_hz(signals: NDArray[np.float32], sample_rate_hz: float) -> NDArray[np.complex64]:
    """Return the spectrum, (…, 1251), of what `scipy.signal.resample` makes of the signals, in the circle."""
    samples = signals.shape[-1]
    wanted = resampled_length(samples, sample_rate_hz)
    # A constant does not pass the filters. Without (about) the mean, float32 keeps its digits for the ECG.
    level = signals[..., ::LEVEL_STRIDE].mean(axis=-1, keepdims=True)
    spectrum = fft.rfft(signals - level, axis=-1, norm="forward", overwrite_x=True)
    shared = min(samples, wanted)
    kept = np.ascontiguousarray(spectrum[..., : shared // 2 + 1])
    if shared % 2 == 0 and samples != wanted:
        # The last bin stands for both signs of one frequency on one side, and for half of it on the other.
        kept[..., -1] *= 2.0 if wanted < samples else 0.5
    if wanted == SPAN and shared == SPAN:
        return kept
    return np.asarray(fft.rfft(fft.irfft(kept, wanted, norm="forward"), SPAN, norm="forward"))


def standardise(crops: NDArray[Real], out: NDArray[Real] | None = None) -> NDArray[Real]:
    """Return each crop (…, leads, samples) with mean 0 and deviation 1 over all its leads and times.

    Zeros where it does not vary. Sums are products of a lead with ones or itself: BLAS adds many at a time, so that
    it is quick and float32 loses no digits, and a lead is too short to be shared among its threads.
    """
    leads, samples = crops.shape[-2:]
    rows = crops[..., None, :]
    mean = (rows @ np.ones((samples, 1), crops.dtype)).sum(axis=(-1, -2, -3)) / (leads * samples)
    centred: NDArray[Real] = np.subtract(crops, mean[..., None, None], out=out)
    rows = centred[..., None, :]
    deviation = np.sqrt((rows @ rows.swapaxes(-1, -2)).sum(axis=(-1, -2, -3)) / (leads * samples))
    centred *= np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > STILL_MV)[..., None, None]
    return centred
