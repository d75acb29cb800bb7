"""Training crops: random 9 s windows of a cohort's ECGs, preprocessed as in serving, a batch at a time.

Resampling does not depend on the window, so it is done once a cohort. Cropping, filtering and standardisation are those
of `inference.waveform`.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from inference import waveform
from inference.geometry import CROP_SAMPLES, MICROVOLTS_PER_STEP, RECORDED_RATE_HZ, SAMPLE_RATE_HZ
from inference.waveform import filter_operator, standardise
from schemas.errors import InvalidSettings
from training.cohort.layout import DESCRIPTION, ECGS, INDEX, Cohort
from training.cohort.whole_file import write_array

RESAMPLED = "ecgs_250hz.npy"
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
MILLIVOLTS_PER_STEP = MICROVOLTS_PER_STEP / 1e3
RESAMPLED_SAMPLES = 10 * SAMPLE_RATE_HZ
LAST_OFFSET = RESAMPLED_SAMPLES - CROP_SAMPLES
MIDDLE_OFFSET = LAST_OFFSET // 2
CHUNK_RECORDS = 64
CHUNK_CROPS = waveform.CHUNK_RECORDS
"""Crops that are filtered at a time. With more of them, OpenBLAS would divide each product among spinning threads. On
busy cores a batch would cost twenty times as much, and a step beside it would lose a third of its speed."""


def open_resampled(cohort: Cohort, cache: Path | None = None) -> NDArray[np.float16]:
    """Return the cohort's ECGs (n, 12, 2500) in mV at 250 Hz, mapped into memory.

    The resampled ECGs are computed once and kept beside the originals. Where the cohort's folder is read-only, as a
    mounted biobank is, they are kept in the user's cache. One copy there (60 kB an ECG) serves all stages; in the
    stages' folders every stage would need a copy of its own. Each lead is without its mean, which the filters remove
    anyway; half precision then keeps 0.5 µV of 1 mV.

    Args:
        cohort: that is learned from.
        cache: the folder for ECGs of read-only cohorts; None: a folder in the user's cache.

    Raises:
        InvalidSettings: the disk has no room for them, or neither folder can be written to.
    """
    beside = cohort.folder / RESAMPLED
    if beside.exists():
        return _map_resampled(beside)
    try:
        _write_resampled(cohort.ecgs, beside)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        return _map_resampled(_keep_in_cache(cohort, cache or user_cache_path("cardiacnets") / "resampled"))
    return _map_resampled(beside)


def _map_resampled(path: Path) -> NDArray[np.float16]:
    resampled: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return resampled


def _keep_in_cache(cohort: Cohort, cache: Path) -> Path:
    path = cache / f"{_identify_ecgs(cohort)}.npy"
    if path.exists():
        return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _write_resampled(cohort.ecgs, path)
    except OSError as error:
        raise InvalidSettings(
            f"the resampled ECGs can be kept neither in {cohort.folder}, which is read-only, nor in {cache} "
            f"({error.strerror}): set XDG_CACHE_HOME to a folder that can be written to"
        ) from error
    return path


def _identify_ecgs(cohort: Cohort) -> str:
    """Return a name that changes with the cohort's description, its index, or the file of its ECGs."""
    digest = hashlib.sha256()
    for name in (DESCRIPTION, INDEX):
        digest.update(hashlib.sha256((cohort.folder / name).read_bytes()).digest())
    ecgs = (cohort.folder / ECGS).stat()
    digest.update(f"{ecgs.st_size} {ecgs.st_mtime_ns}".encode())
    return digest.hexdigest()


def _write_resampled(ecgs: NDArray[np.int16], path: Path) -> None:
    from scipy.signal import resample

    with write_array(path, np.float16, (len(ecgs), ecgs.shape[1], RESAMPLED_SAMPLES)) as written:
        for start in range(0, len(ecgs), CHUNK_RECORDS):
            signals = np.asarray(ecgs[start : start + CHUNK_RECORDS], np.float32) * np.float32(MILLIVOLTS_PER_STEP)
            signals -= signals.mean(axis=-1, keepdims=True)
            written[start : start + CHUNK_RECORDS] = resample(signals, RESAMPLED_SAMPLES, axis=-1)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training crops are disturbed without changing the diagnosis: gains, lost leads, noise.

    Attributes:
        gain: standard deviation of the logarithm of the gain of each lead.
        dropout: share of the crops that lose one to three leads.
        noise_mv: largest deviation of the white noise; half of the crops get noise, with a deviation from 0 to this.
    """

    gain: float = 0.08
    dropout: float = 0.15
    noise_mv: float = 0.03


def draw_crops(
    signals_mv: NDArray[np.floating], rng: np.random.Generator, augmentation: Augmentation | None = None
) -> NDArray[np.float32]:
    """Return one standardised crop (row, 12, 2250) float32 at a random place of each ECG (row, 12, 2500)."""
    offsets = rng.integers(0, LAST_OFFSET + 1, len(signals_mv))
    crops = _cut(signals_mv, offsets)
    if augmentation is not None:
        _disturb(crops, rng, augmentation)
    return _finish(crops)


def middle_crops(signals_mv: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the standardised crop (row, 12, 2250) float32 in the middle of each ECG (row, 12, 2500)."""
    return _finish(_cut(signals_mv, [MIDDLE_OFFSET] * len(signals_mv)))


def _cut(signals_mv: NDArray[np.floating], offsets: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
    crops = np.empty((*signals_mv.shape[:2], CROP_SAMPLES), np.float32)
    for crop, signal, offset in zip(crops, signals_mv, offsets, strict=True):
        crop[...] = signal[:, offset : offset + CROP_SAMPLES]
    return crops


def _finish(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    operator = filter_operator()
    for start in range(0, len(crops), CHUNK_CROPS):
        chunk = crops[start : start + CHUNK_CROPS]
        chunk -= chunk.mean(axis=-1, keepdims=True)
        chunk[...] = standardise(operator.apply(chunk))
    return crops


def _disturb(crops: NDArray[np.float32], rng: np.random.Generator, augmentation: Augmentation) -> None:
    rows, leads = crops.shape[:2]
    crops *= np.exp(rng.normal(0, augmentation.gain, (rows, leads, 1))).astype(np.float32)
    noisy = np.flatnonzero(rng.random(rows) < 0.5)
    for row in noisy:
        crops[row] += rng.standard_normal(crops[row].shape, np.float32) * np.float32(
            rng.uniform(0, augmentation.noise_mv)
        )
    for row in np.flatnonzero(rng.random(rows) < augmentation.dropout):
        crops[row, rng.choice(leads, rng.integers(1, 4), replace=False)] = 0


def iterate_preprocessed(
    cohort: Cohort, rows: NDArray[np.int64], n_crops: int, batch: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the crops that screening would make (batch × n_crops, 12, 2250) of rows of the cohort, in order."""
    from inference.waveform import preprocess

    for start in range(0, len(rows), batch):
        signals = np.asarray(cohort.ecgs[rows[start : start + batch]], np.float32) * np.float32(MILLIVOLTS_PER_STEP)
        crops = preprocess(signals, RECORDED_RATE_HZ, n_crops)
        yield crops.reshape(-1, *crops.shape[2:])
