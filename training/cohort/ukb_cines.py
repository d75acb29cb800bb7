"""Reads the four-chamber cine of a zip of DICOM files, as UK Biobank delivers field 20208; needs pydicom."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from schemas.errors import UnreadableFile

from .layout import CINE_SHAPE

if TYPE_CHECKING:
    from pydicom import Dataset

FOUR_CHAMBER = "lax_4ch"
"""Part of the series' description; 'CINE_segmented_LAX_4Ch' in full."""
MAX_MEMBERS = 4000
MAX_MEMBER_BYTES = 8 * 2**20
DARKEST_PERCENT, BRIGHTEST_PERCENT = 1.0, 99.5


def read_four_chamber(path: Path) -> NDArray[np.uint8]:
    """Return the four-chamber cine (50, 96, 96): the middle square of the image, resized; grey levels stretched.

    Raises:
        UnreadableFile: the zip is not there, is too large, or has no four-chamber series of 50 frames.
    """
    from pydicom.errors import InvalidDicomError

    try:
        series = _four_chamber_series(path)
        frames = np.stack([slice_.pixel_array for slice_ in series]).astype(np.float32)
        return fit_cine(frames)
    except UnreadableFile:
        raise
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        InvalidDicomError,
        AttributeError,
        TypeError,  # of a number that is there and empty
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise UnreadableFile(f"{path} holds no readable cine: {error}") from error


def fit_cine(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return frames (50, height, width) as a cohort keeps a cine: (50, 96, 96) of 0 to 255."""
    _, height, width = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    blur = max(0.0, (side / CINE_SHAPE[1] - 1) / 2)  # so that finer detail does not fold into the coarser grid
    smooth = ndimage.gaussian_filter(square, (0, blur, blur))
    small = ndimage.zoom(
        smooth, (1, *(length / side for length in CINE_SHAPE[1:])), order=1, grid_mode=True, mode="nearest"
    )
    dark, bright = np.percentile(small, (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    levels = (small - dark) * (255 / max(float(bright - dark), 1e-6))
    return np.asarray(levels.round().clip(0, 255), np.uint8)


def _four_chamber_series(path: Path) -> list[Dataset]:
    """Return the slices of the last complete four-chamber series, in order of time: an earlier one was repeated."""
    by_series: dict[int, list[Dataset]] = defaultdict(list)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS or any(member.file_size > MAX_MEMBER_BYTES for member in members):
            raise UnreadableFile(f"{path} is larger than a scan")
        for member in members:
            if member.filename.lower().endswith(".dcm"):
                slice_ = _slice_of_four_chambers(archive.read(member))
                if slice_ is not None:
                    by_series[int(slice_.SeriesNumber)].append(slice_)
    complete = [number for number, slices in by_series.items() if len(slices) == CINE_SHAPE[0]]
    if not complete:
        counts = [len(slices) for slices in by_series.values()]
        raise UnreadableFile(f"{path} has no four-chamber series of {CINE_SHAPE[0]} frames; found {counts}")
    return sorted(by_series[max(complete)], key=lambda slice_: int(slice_.InstanceNumber))


def _slice_of_four_chambers(content: bytes) -> Dataset | None:
    from pydicom import dcmread

    described = dcmread(io.BytesIO(content), specific_tags=["SeriesDescription"], stop_before_pixels=True)
    if FOUR_CHAMBER not in str(described.get("SeriesDescription", "")).lower():
        return None
    return dcmread(io.BytesIO(content))
