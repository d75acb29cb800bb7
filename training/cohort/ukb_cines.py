"""Reads the four-chamber cine of a zip of DICOM files, as UK Biobank delivers field 20208; needs pydicom."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.regular_file import open_regular
from schemas.errors import UnreadableFile

from .cine_child import answered_cine, ask_for_cine
from .fitted_cine import fit_cine
from .layout import CINE_SHAPE

if TYPE_CHECKING:
    from pydicom import Dataset

FOUR_CHAMBER = "lax_4ch"
"""Part of the series' description; 'CINE_segmented_LAX_4Ch' in full."""
MAX_MEMBERS = 4000
MAX_MEMBER_BYTES = 8 * 2**20
MAX_UNFOLDED_BYTES = 512 * 2**20
"""Three long-axis cines of 50 frames unfold to about 30 MiB."""
SHOWN_SERIES = 20


def read_four_chamber(path: Path) -> NDArray[np.uint8]:
    """Return the four-chamber cine (50, 96, 96): the middle square of the image, resized; grey levels stretched.

    A library of others parses the scan, in the bounded child that reads ECGs as well.

    Raises:
        UnreadableFile: the zip is not there, is too large, or has no four-chamber series of 50 frames.
    """
    return ask_for_cine(f"{__name__}:answer_cine", path)


def answer_cine(question: bytes) -> bytes:
    """Return the cine of a zip, or why it has none, in the child."""
    return answered_cine(question, _read)


def _read(path: Path) -> NDArray[np.uint8]:
    from pydicom.errors import InvalidDicomError

    try:
        frames = np.stack([slice_.pixel_array for slice_ in _four_chamber_series(path)]).astype(np.float32)
        return fit_cine(frames)
    except UnreadableFile:
        raise
    except (
        OSError,
        EOFError,
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


class _Slice(NamedTuple):
    """Where a slice of a four-chamber series is in the zip, and in its series."""

    member: zipfile.ZipInfo
    series: int
    instance: int


def _four_chamber_series(path: Path) -> list[Dataset]:
    """Return the slices of the last complete four-chamber series, in order of time: an earlier one was repeated.

    All members are looked at, one at a time. Those of the wanted series alone are kept.
    """
    from pydicom import dcmread

    by_series: dict[int, list[_Slice]] = defaultdict(list)
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = [member for member in _within_bounds(archive, path) if member.filename.lower().endswith(".dcm")]
        for member in members:
            if slice_ := _slice_of_four_chambers(member, archive.read(member)):
                by_series[slice_.series].append(slice_)
        complete = [number for number, slices in by_series.items() if len(slices) == CINE_SHAPE[0]]
        if not complete:
            counts = [len(slices) for slices in by_series.values()][:SHOWN_SERIES]
            raise UnreadableFile(f"{path} has no four-chamber series of {CINE_SHAPE[0]} frames; found {counts}")
        wanted = sorted(by_series[max(complete)], key=lambda slice_: slice_.instance)
        return [dcmread(io.BytesIO(archive.read(slice_.member))) for slice_ in wanted]


def _within_bounds(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    sizes = [member.file_size for member in members]
    if len(members) > MAX_MEMBERS or max(sizes, default=0) > MAX_MEMBER_BYTES or sum(sizes) > MAX_UNFOLDED_BYTES:
        most = f"{MAX_MEMBERS} files, {MAX_MEMBER_BYTES >> 20} MiB a file, {MAX_UNFOLDED_BYTES >> 20} MiB in all"
        raise UnreadableFile(f"{path} unfolds to more than a scan: more than {most}")
    return members


def _slice_of_four_chambers(member: zipfile.ZipInfo, content: bytes) -> _Slice | None:
    from pydicom import dcmread

    wanted = ["SeriesDescription", "SeriesNumber", "InstanceNumber"]
    described = dcmread(io.BytesIO(content), specific_tags=wanted, stop_before_pixels=True)
    if FOUR_CHAMBER not in str(described.get("SeriesDescription", "")).lower():
        return None
    return _Slice(member, int(described.SeriesNumber), int(described.InstanceNumber))
