"""Pairs of one's own, written by the tests: ECGs and cines of simulated patients, and tables of them."""

import csv
import io
from functools import cache

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from training.simulation.simulate_cohort import simulate_patient, write_wfdb

SEED = 3


@cache
def patient(number):
    return simulate_patient(SEED, number)


def write_ecgs(root, count):
    """Write as many ECGs, `simulated-3-0.hea` and so on."""
    write_wfdb(root, count, SEED, processes=1)
    return root


def ecg_name(number):
    return f"simulated-{SEED}-{number}.hea"


def beating(frames=25, size=(120, 140), wide=0.5):
    """Return frames (n, rows, columns) of a bright ellipse, left of the middle and above it, that beats."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    phase = np.arange(frames) / frames
    radius = wide * min(size) / 2 * (1 - 0.3 * np.sin(np.pi * phase))[:, None, None]
    distance = np.hypot(rows - 0.45 * size[0], (columns - 0.4 * size[1]) / 1.3)
    return np.where(distance < radius, 900, 100).astype(np.uint16)


def dicom_frame(pixels, *, series="1.2.3", view="CINE_LAX_4Ch", number=1, place=(0, 0, 0), **elements):
    """Return the bytes of one DICOM image, as a scanner writes it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    made.Modality, made.SeriesDescription, made.SeriesInstanceUID = "MR", view, series
    made.SeriesNumber, made.InstanceNumber, made.ImagePositionPatient = 5, number, list(place)
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelSpacing = [2.0, 2.0]
    if pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.PixelData = pixels.astype("<u2").tobytes()
    for name, value in elements.items():
        setattr(made, name, value)
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_series(folder, frames, **options):
    """Write a folder with a file a frame, whose names are not in order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, pixels in enumerate(frames):
        content = dicom_frame(pixels, number=place + 1, TriggerTime=40.0 * place, **options)
        (folder / f"{options.get('series', 'a')}-{(place * 7) % len(frames):03}.dcm").write_bytes(content)
    return folder


def write_table(path, rows, *, separator=",", encoding="utf-8", end="\n"):
    """Write rows, each a dict, as a table; the first row's keys are the columns."""
    file = io.StringIO()
    table = csv.DictWriter(file, rows[0], restval="", delimiter=separator, lineterminator=end)
    table.writeheader()
    table.writerows(rows)
    path.write_bytes(file.getvalue().encode(encoding))
    return path
