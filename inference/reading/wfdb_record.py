"""WFDB records: a header and its signal files.

The Python package `wfdb` reads them too, but takes 40 ms of processor a record, for it parses each header with tables
of pandas. It stays the reference in the tests.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from schemas.ecg_record import Remark

from .recording import Part, Recording
from .wfdb_channels import Stretch, read_stretch
from .wfdb_comments import read_comments
from .wfdb_folder import COMPRESSED, HEADER_SUFFIX, SIGNAL_SUFFIXES, is_header
from .wfdb_header import Header, misread
from .wfdb_segments import read_header, read_segments

FORMAT_NAME = "WFDB"


def header_of(path: Path) -> Path | None:
    """Return the WFDB header that a path means, or None if it means another kind of file."""
    if is_header(path.name):
        return path if path.exists() else None
    if path.suffix.lower() in SIGNAL_SUFFIXES:
        record = path.with_suffix("")
    elif not path.suffix or not path.exists():
        record = path
    else:
        return None
    endings = HEADER_SUFFIX, HEADER_SUFFIX.upper(), HEADER_SUFFIX + COMPRESSED
    return next((header for ending in endings if (header := Path(f"{record}{ending}")).exists()), None)


def record_of(header: Path) -> Path:
    """Return the header's path without a compression, by which the record is called."""
    return header.with_suffix("") if header.suffix.lower() == COMPRESSED else header


def read_wfdb(path: Path) -> Recording:
    """Return the ECG of a WFDB record.

    Args:
        path: of the header.

    Raises:
        UnreadableFile: the header or a signal file cannot be understood, or the record describes no lead.
    """
    header = read_header(path)
    if header.segments is not None:
        parts, remarks, first = read_segments(header, path)
        return _recording(header, parts, remarks, first, parts[0].channels[0].start_s)
    _check_signals(header, path)
    stretch = read_stretch(header, path)
    return _recording(header, (Part("the record", stretch.channels),), _remarks(stretch, header), header, 0.0)


def _recording(
    header: Header, parts: tuple[Part, ...], remarks: tuple[Remark, ...], first: Header, first_s: float
) -> Recording:
    """Return the recording. What the record's header leaves open, the one of its first segment may say."""
    patient = read_comments([*header.comments, *(first.comments if first is not header else ())])
    began = first.recorded_at and first.recorded_at - timedelta(seconds=first_s)
    return Recording(
        format_name=FORMAT_NAME,
        parts=parts,
        patient_id=patient.patient_id,
        recorded_at=header.recorded_at or began,
        age_years=patient.age_years,
        sex=patient.sex,
        paced=patient.paced,
        remarks=remarks,
    )


def _check_signals(header: Header, path: Path) -> None:
    """Refuse a header without signals, and one that names none: by no norm have nameless signals an order."""
    if not header.signals:
        raise misread(path, "it describes no signal, as the header of annotations does: name the header of the ECG")
    if not any(signal.name for signal in header.signals):
        sentence = f"names none of its {len(header.signals)} signals: write the lead at the end of each signal's line"
        raise misread(path, f"{sentence}, such as '{_example(header)}'")


def _example(header: Header) -> str:
    first = header.signals[0]
    return f"{first.file} {first.format} {first.gain:g} 16 0 0 0 0 II"


def _remarks(stretch: Stretch, header: Header) -> tuple[Remark, ...]:
    if stretch.frames == stretch.of_frames:
        return stretch.remarks
    read_s, whole_s = stretch.frames / header.rate_hz, stretch.of_frames / header.rate_hz
    cut = Remark("cut_to_fit", f"only the first {read_s:.4g} s of {whole_s:.4g} s fit a record")
    return (*stretch.remarks, cut)
