"""WFDB records: a header and its signal files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.leads import standard_name
from schemas.ecg_record import MAX_STEP, MISSING_SAMPLE, EcgRecord
from schemas.errors import UnreadableFile

from .assemble import in_steps
from .content import MAX_FILE_BYTES, refuse_huge
from .patient import plausible_age, sex_of
from .units import TO_MILLIVOLTS

if TYPE_CHECKING:
    from wfdb import Record

HEADER = ".hea"
SIGNAL_SUFFIXES = (".dat", ".mat")
"""WFDB's signal files. They are read through their headers."""

_SUBJECT = re.compile(r"<subject_id>:?\s*([A-Za-z0-9_-]+)")
_AGE = re.compile(r"\bage>?\s*[:=]?\s*(-?\d+(?:\.\d+)?)\b", re.IGNORECASE)
_SEX = re.compile(r"\b(?:sex|gender)>?\s*[:=]?\s*(female|male|f|m)\b", re.IGNORECASE)
_PACED = re.compile(r"\b(?:paced|pacing|pacemaker rhythm|10370003|251266004|251268003)\b", re.IGNORECASE)
"""Pacing in words, or as the SNOMED CT codes of pacing rhythm, ventricular and atrial pacing."""


def header_of(path: Path) -> Path | None:
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


def read_wfdb(header: Path) -> EcgRecord:
    """Return the ECG of a WFDB record.

    Raises:
        UnreadableFile: the record is too large, or describes no 12-lead ECG.
        Exception: whatever `wfdb` raises.
    """
    import wfdb

    name = str(header.with_suffix(""))
    refuse_huge(header)
    described = wfdb.rdheader(name)
    if not isinstance(described, wfdb.Record):
        raise UnreadableFile(f"{header} describes a record of several segments: not a 12-lead ECG at rest")
    if not described.n_sig or not described.sig_len:
        raise UnreadableFile(f"{header} describes no signal")
    refuse_huge(*(header.parent / file for file in described.file_name))
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
        leads=tuple(standard_name(name) or name for name in record.sig_name),
        sample_rate_hz=float(record.fs),
        microvolts_per_step=step_uv,
        samples=samples.tobytes(),
        age_years=plausible_age(float(age[1]) if (age := _AGE.search(text)) else None),
        sex=sex_of(sex[1] if (sex := _SEX.search(text)) else ""),
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
    return in_steps(np.where(missing, np.nan, (digital - baselines) / gains * scales))


def _bits(fmt: str) -> int:
    return {"80": 8, "212": 12, "310": 10, "311": 10, "24": 24, "32": 32}.get(fmt, 16)
