"""ECG files as the records that a device would publish: WFDB, and every format that `ecgdatakit` reads."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import MAX_STEP, MISSING_SAMPLE, EcgRecord
from schemas.errors import UnreadableFile

from .geometry import MICROVOLTS_PER_STEP
from .leads import standard_name

if TYPE_CHECKING:
    from ecgdatakit import ECGRecord
    from wfdb import Record

HEADER = ".hea"
SIGNAL_SUFFIXES = (".dat", ".mat")
"""WFDB's signal files. They are read through their headers."""
ECG_SUFFIXES = (HEADER, ".xml", ".dcm", ".dicom", ".scp", ".ecg", ".mwf", ".edf", ".bdf", ".ishne")
"""In a folder, files with these endings are taken for ECGs."""

MAX_FILE_BYTES = 64 * 2**20
TO_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}
OLDEST_YEARS = 120

_SUBJECT = re.compile(r"<subject_id>:?\s*([A-Za-z0-9_-]+)")
_AGE = re.compile(r"\bage>?\s*[:=]?\s*(-?\d+(?:\.\d+)?)\b", re.IGNORECASE)
_SEX = re.compile(r"\b(?:sex|gender)>?\s*[:=]?\s*(female|male|f|m)\b", re.IGNORECASE)
_PACED = re.compile(r"\b(?:paced|pacing|pacemaker rhythm|10370003|251266004|251268003)\b", re.IGNORECASE)
"""Pacing in words, or as the SNOMED CT codes of pacing rhythm, ventricular and atrial pacing."""


def read_ecg(path: Path) -> EcgRecord:
    """Return the ECG of a file. The record is named after the file. A patient's name or birth date is never read.

    Args:
        path: a WFDB header, signal file or record name without ending, or any file that `ecgdatakit` reads.

    Raises:
        UnreadableFile: the file is missing, too large, or holds no ECG that a reader understands. Says what to do.
    """
    if not _is_text(path):
        raise UnreadableFile(f"{printable(path)}: a name that is not UTF-8 cannot be a record's id: rename the file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the readers warn of odd files; we raise errors or add quality warnings
        try:
            return _read(path)
        except UnreadableFile:
            raise
        except Exception as error:
            raise UnreadableFile(f"{path} cannot be read as an ECG: {_first_line(error)}") from error


def read_or_refuse(path: Path) -> EcgRecord | UnreadableFile:
    """Return the ECG of a file, or the refusal, for a caller that continues with the next file."""
    try:
        return read_ecg(path)
    except UnreadableFile as refusal:
        return refusal


def find_ecgs(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files as they are named. In folders, yield the files that look like ECGs, folder by folder, sorted."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders.sort()
            for name in sorted(names):
                if name.lower().endswith(ECG_SUFFIXES):
                    yield Path(folder, name)


def printable(path: Path) -> str:
    """Return the path as text that can be printed, even if its bytes are no text."""
    return os.fsencode(path).decode(errors="replace")


def _is_text(path: Path) -> bool:
    return printable(path) == str(path)


def _read(path: Path) -> EcgRecord:
    if path.is_dir():
        raise UnreadableFile(f"{path} is a folder: name its files, or use `cardiacnets publish` to walk it")
    if header := _header_of(path):
        return _read_wfdb(header)
    if not path.exists():
        raise UnreadableFile(f"{path} is not there")
    _refuse_huge(path)
    return _read_other(path)


def _header_of(path: Path) -> Path | None:
    """Return the WFDB header that a path means, or None if it means another kind of file."""
    if path.suffix == HEADER:
        header = path
    elif path.suffix in SIGNAL_SUFFIXES:
        header = path.with_suffix(HEADER)
    elif not path.suffix or not path.exists():
        header = Path(f"{path}{HEADER}")
    else:
        return None
    return header if header.exists() else None


def _refuse_huge(*files: Path) -> None:
    for file in files:
        if file.exists() and file.stat().st_size > MAX_FILE_BYTES:
            raise UnreadableFile(f"{file} is larger than {MAX_FILE_BYTES >> 20} MiB: not a 12-lead ECG at rest")


def _read_wfdb(header: Path) -> EcgRecord:
    import wfdb

    name = str(header.with_suffix(""))
    _refuse_huge(header)
    described = wfdb.rdheader(name)
    if not isinstance(described, wfdb.Record):
        raise UnreadableFile(f"{header} describes a record of several segments: not a 12-lead ECG at rest")
    if not described.n_sig or not described.sig_len:
        raise UnreadableFile(f"{header} describes no signal")
    _refuse_huge(*(header.parent / file for file in described.file_name))
    if described.n_sig * described.sig_len > MAX_FILE_BYTES // 2:
        raise UnreadableFile(f"{header} describes more samples than a 12-lead ECG at rest has")
    channels = [place for place, lead in enumerate(described.sig_name) if standard_name(lead)]
    if not channels:
        raise UnreadableFile(f"{header} describes none of the 12 standard leads")
    record = wfdb.rdrecord(name, physical=False, channels=channels)
    samples, step_uv = _wfdb_steps(record)
    text = "\n".join(record.comments)
    subject = _SUBJECT.search(text)
    return EcgRecord(
        record_id=header.stem,
        patient_id=subject[1] if subject else None,
        leads=_lead_names(record.sig_name),
        sample_rate_hz=float(record.fs),
        microvolts_per_step=step_uv,
        samples=samples.tobytes(),
        age_years=_age(float(age[1]) if (age := _AGE.search(text)) else None),
        sex=_sex(sex[1] if (sex := _SEX.search(text)) else ""),
        paced=True if _PACED.search(text) else None,
    )


def _wfdb_steps(record: Record) -> tuple[NDArray[np.int16], float]:
    """Return the digital samples (leads, samples) and their step, rescaled if the leads have different steps."""
    steps_mv = {
        TO_MILLIVOLTS.get(unit.lower(), 1.0) / gain for unit, gain in zip(record.units, record.adc_gain, strict=True)
    }
    digital = np.asarray(record.d_signal.T, np.int64)
    invalid = [-(2 ** (_bits(fmt) - 1)) for fmt in record.fmt]
    missing = digital == np.array(invalid)[:, None]
    if len(steps_mv) == 1 and not any(record.baseline) and np.abs(np.where(missing, 0, digital)).max() <= MAX_STEP:
        return np.where(missing, MISSING_SAMPLE, digital).astype("<i2"), steps_mv.pop() * 1e3
    gains, baselines = np.array(record.adc_gain)[:, None], np.array(record.baseline)[:, None]
    scales = np.array([TO_MILLIVOLTS.get(unit.lower(), 1.0) for unit in record.units])[:, None]
    return _in_steps(np.where(missing, np.nan, (digital - baselines) / gains * scales))


def _bits(fmt: str) -> int:
    return {"80": 8, "212": 12, "310": 10, "311": 10, "24": 24, "32": 32}.get(fmt, 16)


def _read_other(path: Path) -> EcgRecord:
    from ecgdatakit import FileParser

    parsed: ECGRecord = FileParser().parse(path)
    leads = [lead for lead in parsed.leads if standard_name(lead.label)]
    if not leads:
        raise UnreadableFile(f"{path} holds none of the 12 standard leads")
    rates, lengths = {float(lead.sampling_rate) for lead in leads}, {len(lead.samples) for lead in leads}
    if len(rates) > 1 or len(lengths) > 1:
        raise UnreadableFile(f"{path} holds leads of different rates or lengths, not a simultaneous 12-lead ECG")
    millivolts = np.stack([lead.samples * TO_MILLIVOLTS.get(str(lead.units).lower(), 1.0) for lead in leads])
    samples, step_uv = _in_steps(millivolts)
    patient = parsed.patient
    return EcgRecord(
        record_id=path.stem,
        leads=_lead_names(lead.label for lead in leads),
        sample_rate_hz=rates.pop(),
        microvolts_per_step=step_uv,
        samples=samples.tobytes(),
        age_years=_age(patient.age),
        sex=_sex(str(patient.sex)),
        paced=patient.has_pacemaker,
    )


def _in_steps(millivolts: NDArray[Any]) -> tuple[NDArray[np.int16], float]:
    """Return int16 steps (leads, samples) and the smallest step in µV that fits. NaN becomes `MISSING_SAMPLE`."""
    finite = np.isfinite(millivolts)
    highest_uv = float(np.abs(millivolts[finite]).max(initial=0.0)) * 1e3
    step_uv = max(MICROVOLTS_PER_STEP if highest_uv > MAX_STEP else 1.0, highest_uv / MAX_STEP)
    steps = np.round(np.where(finite, millivolts, 0.0) * (1e3 / step_uv)).clip(-MAX_STEP, MAX_STEP)
    return np.where(finite, steps, MISSING_SAMPLE).astype("<i2"), step_uv


def _lead_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(standard_name(name) or name for name in names)


def _age(years: float | None) -> float | None:
    return float(years) if years is not None and 0 <= years <= OLDEST_YEARS else None


def _sex(text: str) -> Literal["female", "male"] | None:
    initial = text.strip().lower()[:1]
    return "female" if initial == "f" else "male" if initial == "m" else None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
