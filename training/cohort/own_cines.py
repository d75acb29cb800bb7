"""Reads the cine of one's own scan: DICOM as a folder, a zip or a file, NIfTI, or an array of NumPy.

A cine shows one plane over one beat. What is wanted is the four-chamber view, for the stages learn from no other.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.regular_file import open_regular
from inference.reading.content import GZIP
from schemas.errors import UnreadableFile
from schemas.messages import SYNTHETIC_NOTICE

from .cine_child import answered_cine, ask_for_cine
from .dicom_cine import read_dicom
from .fitted_cine import Frames, fit_beat, fit_cine, fit_measured_cine
from .scan import FEWEST_FRAMES, MOST_FRAMES, Scan, as_distances

MAX_CONTENT_BYTES = 512 * 2**20
ZIP, NUMPY = b"PK\x03\x04", b"\x93NUMPY"
DICOM, DICOM_OFFSET = b"DICM", 128
NIFTI_HEADERS = {(348).to_bytes(4, order): 1 for order in ("little", "big")} | {
    (540).to_bytes(4, order): 2 for order in ("little", "big")
}
"""How files of NIfTI-1 and NIfTI-2 begin."""
FEWEST_PIXELS = 32
TOWARDS = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
"""The axes of the body, that of the columns first."""
AWAY = ("R", "A", "S")
"""Where a radiologist's columns and rows come from."""
FRAMES, PIXEL_MM = "frames", "pixel_mm"
KINDS = "DICOM (a folder, a zip or a file of many frames), NIfTI (.nii, .nii.gz), .npy and .npz"


def read_cine(path: Path) -> NDArray[np.uint8]:
    """Return the cine (50, 96, 96) of a scan. See the documents for what is read.

    Raises:
        UnreadableFile: it is not there, or holds no cine of one plane. Says what was found.
    """
    return ask_for_cine(f"{__name__}:answer_cine", path)


def answer_cine(question: bytes) -> bytes:
    """Return the cine of a path, or why it has none, in the child."""
    return answered_cine(question, _read)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        scan = _scan(path)
    except UnreadableFile:
        raise
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read as a cine: {error.strerror or 'it is damaged'}") from error
    except Exception as error:  # whatever a library raises on what others wrote
        kind = type(error).__name__
        raise UnreadableFile(
            f"{path} cannot be read as a cine: it is damaged, or of a kind unknown ({kind})"
        ) from error
    frames = fit_beat(_checked(scan.frames, path))
    return fit_measured_cine(frames, scan.pixel_mm) if scan.pixel_mm else fit_cine(frames)


def _scan(path: Path) -> Scan:
    if path.is_dir():
        return read_dicom(_files_in(path), path)
    content = _content(path)
    if content.startswith(ZIP):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, path)
            if any(name.endswith(".npy") for name in members):
                return _of_arrays(content, path)
            return read_dicom((archive.read(name) for name in members), path)
    if content.startswith(NUMPY):
        return Scan(_as_frames(np.load(io.BytesIO(content), allow_pickle=False), path), None)
    if content[DICOM_OFFSET:].startswith(DICOM):
        return read_dicom([content], path)
    if content[:4] in NIFTI_HEADERS:
        return _of_nifti(content, path)
    raise UnreadableFile(f"{path} is no cine in a format that is read: {KINDS}")


def _content(path: Path) -> bytes:
    try:
        content = _bytes_of(path, MAX_CONTENT_BYTES)
        if content.startswith(GZIP):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_CONTENT_BYTES + 1)
    except FileNotFoundError as error:
        raise UnreadableFile(f"{path} is not there: check the path") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFile(f"{path} is a gzip that is damaged or cut short: copy it again") from error
    _bound(len(content), path)
    return content


def _bytes_of(path: Path, most: int) -> bytes:
    """Return a file's bytes, one more than `most` at most."""
    with open_regular(path) as file:
        return file.read(min(os.fstat(file.fileno()).st_size, most) + 1)


def _files_in(folder: Path) -> list[bytes]:
    contents, size = [], 0
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        contents.append(_bytes_of(path, MAX_CONTENT_BYTES - size))
        size += len(contents[-1])
        _bound(size, folder)
    return contents


def _members(archive: zipfile.ZipFile, path: Path) -> list[str]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    _bound(sum(member.file_size for member in members), path)
    return [member.filename for member in members]


def _bound(size: int, path: Path) -> None:
    if size > MAX_CONTENT_BYTES:
        raise UnreadableFile(
            f"{path} holds more than {MAX_CONTENT_BYTES >> 20} MiB: name the folder or the file of one series"
        )


def _of_arrays(content: bytes, path: Path) -> Scan:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if FRAMES not in arrays:
            raise UnreadableFile(f"{path} has no array {FRAMES!r}: save it by np.savez(file, frames=…, pixel_mm=…)")
        frames = _as_frames(arrays[FRAMES], path)
        if PIXEL_MM not in arrays:
            return Scan(frames, None)
        rows, columns = np.broadcast_to(np.asarray(arrays[PIXEL_MM], np.float64), 2).tolist()
    return Scan(frames, as_distances(rows, columns, path))


def _as_frames(array: NDArray[np.generic], path: Path) -> Frames:
    if array.ndim != 3 or array.dtype.kind not in "uif":
        raise UnreadableFile(
            f"{path} holds {array.dtype} {array.shape}, and not numbers of the shape (frames, rows, columns)"
        )
    return np.asarray(array, np.float32)


def _of_nifti(content: bytes, path: Path) -> Scan:
    import nibabel

    kind: Any = nibabel.Nifti1Image if NIFTI_HEADERS[content[:4]] == 1 else nibabel.Nifti2Image
    image = kind.from_stream(io.BytesIO(content))
    if bytes(image.header["descrip"].item()).startswith(SYNTHETIC_NOTICE.encode()):
        raise UnreadableFile(f"{path} was drawn by a generator: it says so itself, and is no scan of a patient")
    shape = image.shape
    if len(shape) < 4 or any(length != 1 for length in shape[4:]):
        raise UnreadableFile(f"{path} has the shape {shape}, and a cine has columns, rows, 1 plane and frames")
    if shape[2] != 1:
        raise UnreadableFile(f"{path} is a stack of {shape[2]} planes: name a cine of one plane, the four-chamber view")
    voxels = np.asarray(image.dataobj, np.float32).reshape(*shape[:2], shape[3])
    to_mm = {"meter": 1e3, "micron": 1e-3}.get(image.header.get_xyzt_units()[0], 1.0)
    across, down = (float(zoom) * to_mm for zoom in image.header.get_zooms()[:2])
    frames, turned = _upright(voxels.transpose(2, 1, 0), image)
    return Scan(frames, as_distances(across, down, path) if turned else as_distances(down, across, path))


def _upright(frames: Frames, image: Any) -> tuple[Frames, bool]:
    """Return frames (time, second axis, first axis) as a radiologist looks at them, and whether axes were exchanged.

    Columns run to the patient's left, or to the back where the plane has no left and right. Rows run to the back, or to
    the feet.
    """
    from nibabel import orientations

    if not (image.header["sform_code"] or image.header["qform_code"]):
        return frames, False  # where in the body the plane lies, the file does not say
    directions: Any = orientations  # partly typed, which mypy takes for untyped
    columns, rows, _ = directions.aff2axcodes(image.affine)
    exchanged = TOWARDS[columns] > TOWARDS[rows]
    if exchanged:
        frames, columns, rows = frames.transpose(0, 2, 1), rows, columns
    down = -1 if rows in AWAY else 1
    across = -1 if columns in AWAY else 1
    return frames[:, ::down, ::across], exchanged


def _checked(frames: Frames, path: Path) -> Frames:
    """Return the frames if they can be one beat of a heart.

    Raises:
        UnreadableFile: they cannot.
    """
    if not FEWEST_FRAMES <= len(frames) <= MOST_FRAMES:
        raise UnreadableFile(
            f"{path} has {len(frames)} frames: one beat in {FEWEST_FRAMES} to {MOST_FRAMES} frames is wanted"
        )
    if min(frames.shape[1:]) < FEWEST_PIXELS:
        raise UnreadableFile(f"{path} has frames of {frames.shape[1]} × {frames.shape[2]} pixels: too few for a heart")
    if not np.isfinite(frames).all():
        raise UnreadableFile(f"{path} has pixels without a number")
    if not np.ptp(frames, axis=0).any():
        raise UnreadableFile(f"{path} has {len(frames)} frames that are all alike: nothing moves")
    return frames
