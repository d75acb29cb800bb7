"""What an ECG record may hold, checked on its header before any sample is touched."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypedDict

from .ecg_record import MAX_REMARK_CHARACTERS, MAX_REMARK_CODE_CHARACTERS, MAX_REMARKS
from .errors import MalformedRecord, OversizedRecord

MAX_VALUE_BYTES = 4 * 2**20
"""Of a whole message."""
MAX_HEADER_BYTES = 8 * 2**10
"""Of all fields before the samples; of another schema's, of all fields that follow each other without a foreign one."""
MAX_REMARKS_BYTES = 24 * 2**10
"""Of all remarks: the most and longest ones take 17 KiB, where each character of a sentence takes 4 bytes."""
MAX_SAMPLE_BYTES = 4_000_000
"""Of all samples of all leads, decompressed: 2 min 46 s of 12 leads at 1000 Hz."""
MAX_LEADS = 32
MAX_LEAD_NAME_CHARACTERS = 32
MAX_ID_CHARACTERS = 256
MAX_AGE_YEARS = 150.0
BYTES_PER_SAMPLE = 2
IDENTIFIERS: tuple[Literal["record_id", "patient_id", "device_id", "site"], ...] = (
    "record_id",
    "patient_id",
    "device_id",
    "site",
)


_REMARK_CODE = re.compile(r"[a-z][a-z0-9_]*")


class WrittenRemark(TypedDict):
    """A remark of an Avro record."""

    code: str
    detail: str


class Header(TypedDict):
    """The fields of an Avro record, but for its samples."""

    record_id: str
    patient_id: str | None
    device_id: str | None
    recorded_at: datetime | None
    age_years: float | None
    sex: Literal["female", "male"] | None
    paced: bool | None
    leads: Sequence[str]
    sample_rate_hz: float
    microvolts_per_step: float
    n_samples: int
    encoding: Literal["RAW", "DELTA_ZSTD"]
    site: str | None
    remarks: Sequence[WrittenRemark]


def check_header(header: Header) -> None:
    """Check everything that can be known without the samples.

    Raises:
        MalformedRecord: a field's value is impossible.
        OversizedRecord: a field is, or announces what is, over a bound.
    """
    _check_ids(header)
    _check_patient(header)
    _check_leads(header["leads"])
    _check_positive("sample_rate_hz", header["sample_rate_hz"])
    _check_positive("microvolts_per_step", header["microvolts_per_step"])
    _check_size(header)
    if header["remarks"]:
        _check_remarks(header["remarks"])


def sample_bytes(header: Header) -> int:
    """Return how many bytes the samples take once decoded."""
    return len(header["leads"]) * header["n_samples"] * BYTES_PER_SAMPLE


def is_identifier(text: str) -> bool:
    """Return whether `text` may name a record, a patient, a device or a site."""
    return 1 <= len(text) <= MAX_ID_CHARACTERS


def _check_ids(header: Header) -> None:
    for name in IDENTIFIERS:
        text = header[name]
        if text is None or is_identifier(text):
            continue
        if not text:
            raise MalformedRecord(f"{name} is empty")
        raise OversizedRecord(f"{name} is longer than {MAX_ID_CHARACTERS} characters", characters=len(text))


def _check_patient(header: Header) -> None:
    recorded_at, age_years = header["recorded_at"], header["age_years"]
    if recorded_at is not None and recorded_at.utcoffset() is None:
        raise MalformedRecord("recorded_at has no time zone")
    if age_years is not None and not 0 <= age_years <= MAX_AGE_YEARS:
        raise MalformedRecord(f"age_years is not within 0 to {MAX_AGE_YEARS:g}", age_years=age_years)


def _check_leads(leads: Sequence[str]) -> None:
    if not leads:
        raise MalformedRecord("the record has no leads")
    if len(leads) > MAX_LEADS:
        raise OversizedRecord(f"more than {MAX_LEADS} leads", leads=len(leads))
    if not all(leads):
        raise MalformedRecord("a lead has no name")
    if max(map(len, leads)) > MAX_LEAD_NAME_CHARACTERS:
        raise OversizedRecord(f"a lead's name is longer than {MAX_LEAD_NAME_CHARACTERS} characters")
    if len(set(leads)) < len(leads):
        twice = next(name for name in leads if leads.count(name) > 1)
        raise MalformedRecord(f"two leads have the same name: {twice!r}", leads=twice)


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise MalformedRecord(f"{name} is not a finite number above 0", field=name, value=value)


def _check_size(header: Header) -> None:
    n_samples = header["n_samples"]
    if n_samples < 1:
        raise MalformedRecord("n_samples is below 1", n_samples=n_samples)
    if (size := sample_bytes(header)) > MAX_SAMPLE_BYTES:
        raise OversizedRecord(f"the samples take more than {MAX_SAMPLE_BYTES:,} bytes", sample_bytes=size)


def _check_remarks(remarks: Sequence[WrittenRemark]) -> None:
    if len(remarks) > MAX_REMARKS:
        raise OversizedRecord(f"more than {MAX_REMARKS} remarks", remarks=len(remarks))
    for remark in remarks:
        code, detail = remark["code"], remark["detail"]
        if len(code) > MAX_REMARK_CODE_CHARACTERS:
            raise OversizedRecord(f"a remark's code is longer than {MAX_REMARK_CODE_CHARACTERS} characters")
        if not _REMARK_CODE.fullmatch(code):
            raise MalformedRecord(f"a remark's code is {code!r}: write lower-case letters, digits and underscores")
        if len(detail) > MAX_REMARK_CHARACTERS:
            raise OversizedRecord(f"a remark's sentence is longer than {MAX_REMARK_CHARACTERS} characters")
