"""The ECG record as Avro on the wire: encoded for a device, decoded within bounds for the engine."""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from io import BytesIO
from typing import Any, cast

import zstandard
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from .differences import from_differences, to_differences
from .ecg_record import EcgRecord
from .errors import MalformedRecord, OversizedRecord, RecordError
from .record_limits import (
    BYTES_PER_SAMPLE,
    MAX_HEADER_BYTES,
    MAX_SAMPLE_BYTES,
    MAX_VALUE_BYTES,
    MAX_WINDOW_BYTES,
    Header,
    check_header,
    is_identifier,
    sample_bytes,
)

AVRO_SCHEMA: dict[str, Any] = json.loads((files(__package__) / "ecg_record.avsc").read_text(encoding="utf-8"))
"""The published schema; register this one where a schema registry is used."""

CONFLUENT_MAGIC = 0
CONFLUENT_PREFIX_BYTES = 5
ZSTD_LEVEL = 3

# The record is read in two steps, header and samples: a record's fields follow each other without separators, so the
# header alone is a record as well, and can be bounded and checked before the samples are looked at.
_header_schema = parse_schema(AVRO_SCHEMA | {"name": "EcgHeader", "fields": AVRO_SCHEMA["fields"][:-1]})
_samples_schema = parse_schema("bytes")
_read_header = partial(schemaless_reader, writer_schema=_header_schema, reader_schema=None)
_read_samples = partial(schemaless_reader, writer_schema=_samples_schema, reader_schema=None)

_AVRO_ERRORS = (EOFError, LookupError, ValueError, OverflowError, TypeError, AttributeError)
"""What fastavro raises on bytes or values that do not fit the schema (UnicodeError is a ValueError)."""


def encode_ecg(record: EcgRecord, *, compress: bool = True) -> bytes:
    """Return the record as Avro, its samples as first differences under zstd unless `compress` is off.

    Raises:
        MalformedRecord: the record contradicts itself, or a value is impossible.
        OversizedRecord: the record is over a bound.
    """
    out = BytesIO()
    try:
        header = _header_of(record, compress=compress)
        check_header(header)
        schemaless_writer(out, _header_schema, header)
    except _AVRO_ERRORS as error:
        raise MalformedRecord(f"not an ECG record: {error}") from error
    if out.tell() > MAX_HEADER_BYTES:
        raise OversizedRecord(f"the fields before the samples take more than {MAX_HEADER_BYTES} bytes")
    samples = _compressed(record.samples, header) if compress else record.samples
    schemaless_writer(out, _samples_schema, samples)
    return out.getvalue()


def decode_ecg(value: bytes) -> EcgRecord:
    """Return the record that `value` holds: Avro, bare or in Confluent framing, whose schema id is not looked up.

    Every size is bounded before anything of that size is allocated.

    Raises:
        MalformedRecord: `value` is no ECG record, or contradicts itself.
        OversizedRecord: a size that it has, or claims, is over a bound.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise OversizedRecord(f"more than {MAX_VALUE_BYTES} bytes", value_bytes=len(value))
    header, start = _decoded_header(value, _payload_start(value))
    try:
        check_header(header)
        samples = _decoded_samples(header, value, start)
    except RecordError as error:
        record_id = header["record_id"]
        error.record_id = record_id if is_identifier(record_id) else None
        raise
    return _record_of(header, samples)


def _header_of(record: EcgRecord, *, compress: bool) -> Header:
    n_leads = len(record.leads)
    if n_leads and len(record.samples) % (BYTES_PER_SAMPLE * n_leads):
        raise MalformedRecord("the leads do not have equally many samples", sample_bytes=len(record.samples))
    return Header(
        record_id=record.record_id,
        patient_id=record.patient_id,
        device_id=record.device_id,
        recorded_at=record.recorded_at,
        age_years=record.age_years,
        sex=record.sex,
        paced=record.paced,
        leads=record.leads,
        sample_rate_hz=record.sample_rate_hz,
        microvolts_per_step=record.microvolts_per_step,
        n_samples=record.n_samples if n_leads else 0,
        encoding="DELTA_ZSTD" if compress else "RAW",
    )


def _record_of(header: Header, samples: bytes) -> EcgRecord:
    return EcgRecord(
        record_id=header["record_id"],
        leads=tuple(header["leads"]),
        sample_rate_hz=header["sample_rate_hz"],
        microvolts_per_step=header["microvolts_per_step"],
        samples=samples,
        patient_id=header["patient_id"],
        device_id=header["device_id"],
        recorded_at=header["recorded_at"],
        age_years=header["age_years"],
        sex=header["sex"],
        paced=header["paced"],
    )


def _payload_start(value: bytes) -> int:
    """Return where the Avro begins: a bare record begins with the length of its id, which is never 0."""
    return CONFLUENT_PREFIX_BYTES if value[:1] == bytes([CONFLUENT_MAGIC]) else 0


def _decoded_header(value: bytes, start: int) -> tuple[Header, int]:
    """Return the header and where the samples begin, reading no further than a header may reach."""
    stream = BytesIO(value[start : start + MAX_HEADER_BYTES])
    try:
        header = cast("Header", _read_header(stream))
    except _AVRO_ERRORS as error:
        raise MalformedRecord(f"not an Avro ECG record: {type(error).__name__}: {error}") from error
    return header, start + stream.tell()


def _decoded_samples(header: Header, value: bytes, start: int) -> bytes:
    stream = BytesIO(value)
    stream.seek(start)
    try:
        stored = cast("bytes", _read_samples(stream))
    except _AVRO_ERRORS as error:
        raise MalformedRecord(f"the samples are cut short: {error}") from error
    if trailing := len(value) - stream.tell():
        raise MalformedRecord("bytes follow the record", trailing_bytes=trailing)
    samples = _decompressed(stored, header) if header["encoding"] == "DELTA_ZSTD" else stored
    if len(samples) != sample_bytes(header):
        raise MalformedRecord(
            "the samples do not fill the leads", sample_bytes=len(samples), expected_bytes=sample_bytes(header)
        )
    return samples


def _compressed(samples: bytes, header: Header) -> bytes:
    differences = to_differences(samples, len(header["leads"]))
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(differences)


def _decompressed(stored: bytes, header: Header) -> bytes:
    expected = sample_bytes(header)
    try:
        _check_frame(stored, expected)
        # One a call: it costs 3 µs, and a shared one must not be used by two threads at once.
        raw = zstandard.ZstdDecompressor().decompress(stored, max_output_size=expected, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedRecord(f"the samples are no zstd frame: {error}") from error
    if len(raw) != expected:
        raise MalformedRecord("the zstd frame falls short", sample_bytes=len(raw), expected_bytes=expected)
    return from_differences(raw, len(header["leads"]))


def _check_frame(stored: bytes, expected: int) -> None:
    """Check what the frame claims, since a claimed content size is allocated as it is claimed."""
    frame = zstandard.get_frame_parameters(stored)
    claimed = frame.content_size
    if claimed not in (expected, zstandard.CONTENTSIZE_UNKNOWN):
        kind = OversizedRecord if claimed > MAX_SAMPLE_BYTES else MalformedRecord
        raise kind("the zstd frame claims another size", sample_bytes=claimed, expected_bytes=expected)
    if frame.window_size > MAX_WINDOW_BYTES:
        raise OversizedRecord(f"a zstd window over {MAX_WINDOW_BYTES} bytes", window_bytes=frame.window_size)
