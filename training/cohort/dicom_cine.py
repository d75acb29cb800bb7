"""Takes the cine of one plane out of the DICOM files of a series, or of a study; needs pydicom."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import UnreadableFile

from .fitted_cine import Frames
from .scan import FEWEST_FRAMES, Scan, as_distances

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 4000
FOUR_CHAMBER = re.compile(r"4[ _-]?ch|(four|4)[ _-]?(chamber|kammer)|\bhla\b", re.IGNORECASE)
OTHER_VIEW = re.compile(
    r"[23][ _-]?ch|(two|three|[23])[ _-]?(chamber|kammer)|\bvla\b|sax|short[ _-]?ax|[rl]vot", re.IGNORECASE
)


def read_dicom(contents: Iterable[bytes], path: Path) -> Scan:
    """Return the four-chamber cine of DICOM files; files of another kind among them are passed over.

    One series is taken, whatever its description does not say. Of several, the last one that is described as the
    four-chamber view is taken: an earlier one was repeated.

    Raises:
        UnreadableFile: there is no such series, or its files are no cine of one plane.
    """
    series: dict[str, list[Dataset]] = defaultdict(list)
    for count, content in enumerate(contents, start=1):
        if count > MAX_FILES:
            raise UnreadableFile(f"{path} holds more than {MAX_FILES} files: name the folder of one series")
        if (image := _image(content)) is not None:
            series[str(image.get("SeriesInstanceUID") or image.get("SeriesNumber"))].append(image)
    chosen = _choose(list(series.values()), path)
    return Scan(_frames(chosen, path), _pixel_mm(chosen[0], path))


def _image(content: bytes) -> Dataset | None:
    from pydicom import dcmread

    if content[128:132] != b"DICM":
        return None
    read = dcmread(io.BytesIO(content))
    return read if "PixelData" in read else None


def _choose(series: Sequence[list[Dataset]], path: Path) -> list[Dataset]:
    if not series:
        raise UnreadableFile(f"{path} holds no image of DICOM")
    named = [images for images in series if FOUR_CHAMBER.search(_described(images))]
    if named:
        moving = [images for images in named if _count(images) >= FEWEST_FRAMES]  # others are localisers and the like
        return max(moving or named, key=lambda images: int(images[0].get("SeriesNumber") or 0))
    if len(series) > 1:
        raise UnreadableFile(
            f"{path} holds {len(series)} series, and none is described as the four-chamber view: name the folder of one"
        )
    if other := OTHER_VIEW.search(_described(series[0])):
        raise UnreadableFile(f"{path} is described as another view than the four-chamber one ({other[0]})")
    return series[0]


def _count(images: Sequence[Dataset]) -> int:
    return sum(int(image.get("NumberOfFrames") or 1) for image in images)


def _described(images: Sequence[Dataset]) -> str:
    return str(images[0].get("SeriesDescription", ""))


def _frames(images: Sequence[Dataset], path: Path) -> Frames:
    if len(images) == 1:
        return _pixels(images[0], path)
    planes = {tuple(np.round(np.asarray(image.get("ImagePositionPatient") or (), float))) for image in images}
    if len(planes) > 1:
        raise UnreadableFile(f"{path} holds {len(planes)} planes: name a cine of one plane, the four-chamber view")
    frames = [_pixels(image, path) for image in _in_time(images, path)]
    return np.concatenate(frames)


def _in_time(images: Sequence[Dataset], path: Path) -> list[Dataset]:
    for name in ("TriggerTime", "InstanceNumber"):
        moments = [image.get(name) for image in images]
        if None not in moments and len({float(moment) for moment in moments}) == len(images):
            return sorted(images, key=lambda image: float(image[name].value))
    raise UnreadableFile(f"{path} holds {len(images)} frames whose order neither trigger times nor numbers tell")


def _pixels(image: Dataset, path: Path) -> Frames:
    """Return (frames, height, width)."""
    if int(image.get("SamplesPerPixel", 1)) != 1:
        raise UnreadableFile(f"{path} holds pictures in colour, and no scan")
    try:
        pixels = image.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise UnreadableFile(
            f"{path} is compressed in a way that is not read: decompress it, for instance by dcmdjpeg or gdcmconv"
        ) from error
    frames = np.asarray(pixels, np.float32)
    return frames if frames.ndim == 3 else frames[None]


def _pixel_mm(image: Dataset, path: Path) -> tuple[float, float] | None:
    found: Any = image.get("PixelSpacing")
    if not found and (shared := image.get("SharedFunctionalGroupsSequence")):
        measures = shared[0].get("PixelMeasuresSequence")
        found = measures[0].get("PixelSpacing") if measures else None
    if not found:
        return None
    rows, columns = map(float, found)
    return as_distances(rows, columns, path)
