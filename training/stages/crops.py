"""Training crops: random 9 s windows of a cohort's ECGs, preprocessed as in serving, a batch at a time.

Resampling does not depend on the window, so it is done once a cohort. Where a crop begins and how it is disturbed is
drawn beside the device; cutting, disturbing and filtering are done on it (`training.networks.cut_crops`).
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - crops are tensors
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor  # noqa: TID253

from schemas.ecg_record import LEADS
from schemas.errors import InvalidSettings
from training.cohort.layout import DESCRIPTION, ECGS, INDEX, Cohort
from training.cohort.whole_file import write_array
from training.networks.cut_crops import (
    LAST_OFFSET,
    MILLIVOLTS_PER_STEP,
    RESAMPLED_SAMPLES,
    cut_crops,
    finish_crops,
    screened_crops,
)

from .devices import rows_at_once

RESAMPLED = "ecgs_250hz.npy"
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
CHUNK_RECORDS = 64
CACHED_CROPS = 16
"""Crops that a processor makes at a time: their tensors stay in its cache. A GPU makes all of a batch at once."""
MOST_LOST = 3
"""Leads that a crop loses at most."""
NOISY = 0.5
"""Share of the crops that get noise."""


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


OFFSETS, GAINS, NOISE = "offsets", "gains", "noise_mv"


def draw_disturbances(
    rows: int, rng: np.random.Generator, augmentation: Augmentation | None = None
) -> dict[str, NDArray[Any]]:
    """Return where the crop of each row begins, and how it is disturbed.

    They are few numbers, and the same ones for every device. What they do to a crop is `disturb_crops`.

    Returns:
        offsets (row,) int64; with an augmentation also gains (row, 12) float32, 0 where a lead is lost, and the
        deviation of the noise, (row,) float32.
    """
    drawn: dict[str, NDArray[Any]] = {OFFSETS: rng.integers(0, LAST_OFFSET + 1, rows)}
    if augmentation is None:
        return drawn
    gains = np.exp(rng.normal(0, augmentation.gain, (rows, len(LEADS))))
    lost = rng.integers(1, MOST_LOST + 1, rows) * (rng.random(rows) < augmentation.dropout)
    gains[rng.random(gains.shape).argsort(axis=1) < lost[:, None]] = 0
    noise = rng.uniform(0, augmentation.noise_mv, rows) * (rng.random(rows) < NOISY)
    return drawn | {GAINS: gains.astype(np.float32), NOISE: noise.astype(np.float32)}


def make_crops(signals_mv: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
    """Return a standardised crop (row, 12, 2250) of each ECG (row, 12, 2500), on the device of the ECGs.

    Args:
        signals_mv: of any floating type.
        drawn: of `draw_disturbances`; nothing: the crop in the middle, undisturbed.
    """
    if signals_mv.device.type == "cpu" and len(signals_mv) > CACHED_CROPS:
        starts = range(0, len(signals_mv), CACHED_CROPS)
        parts = [slice(start, start + CACHED_CROPS) for start in starts]
        return torch.cat([make_crops(signals_mv[part], {n: v[part] for n, v in drawn.items()}) for part in parts])
    crops = cut_crops(signals_mv, drawn.get(OFFSETS))
    if GAINS in drawn:
        crops = disturb_crops(crops, drawn[GAINS], drawn[NOISE])
    return finish_crops(crops)


def disturb_crops(crops: Tensor, gains: Tensor, noise_mv: Tensor) -> Tensor:
    """Return crops (row, 12, samples) with gains (row, 12) and white noise of a deviation (row,); a lost lead is 0.

    The noise comes from torch's random numbers, of the device: those of a GPU are not those of a processor.
    """
    gains, noise_mv = gains[..., None], noise_mv[:, None, None]
    return torch.addcmul(crops * gains, torch.randn_like(crops), noise_mv * (gains > 0))


def iterate_screened(
    cohort: Cohort, rows: NDArray[np.integer], n_crops: int, device: torch.device, at_once: int | None = None
) -> Iterator[Tensor]:
    """Yield the crops that screening would make (k × n_crops, 12, 2250) of rows of the cohort, in order, on a device.

    They differ from those of `inference.waveform.preprocess` by rounding. `at_once` is what suits the device.
    """
    size = at_once or rows_at_once(device)
    for start in range(0, len(rows), size):
        ecgs = torch.from_numpy(np.ascontiguousarray(cohort.ecgs[rows[start : start + size]]))
        yield screened_crops(ecgs.to(device), n_crops)
