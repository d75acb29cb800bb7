"""The ECG record as Avro on the wire: encoded for a device, decoded within bounds for the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, TypeAlias, cast

from fastavro import schemaless_writer

from .differences import from_differences, to_differences
from .ecg_message import CONFLUENT_MAGIC, FRAMES, SINGLE_OBJECT_MAGIC
from .ecg_record import EcgRecord, Remark, bounded_remarks
from .ecg_schema import AVRO_SCHEMA, FINGERPRINTS, SAMPLES
from .errors import EmptyValue, ForeignFraming, MalformedRecord, OversizedRecord, RecordError, UnknownSchema
from .foreign_framing import CONFLUENT_PREFIX_BYTES, name_framing, name_zero_framing
from .record_limits import (
    BYTES_PER_SAMPLE,
    MAX_HEADER_BYTES,
    MAX_SAMPLE_BYTES,
    MAX_VALUE_BYTES,
    Header,
    WrittenRemark,
    check_header,
    is_identifier,
    sample_bytes,
)
from .recording_time import Slip
from .writer_schema import (
    AVRO_ERRORS,
    BARE,
    HEADER_STEP,
    REMARKS_STEP,
    SAMPLES_STEP,
    SHIPPED,
    SITE_STEP,
    TIME_SLIP,
    SchemaReference,
    WriterSchema,
    shipped_schema,
)
from .zstd_frames import UnusableFrame, compress, decompress

__all__ = ["AVRO_SCHEMA", "FindSchema", "decode_ecg", "encode_ecg"]

FindSchema: TypeAlias = Callable[[SchemaReference], WriterSchema]
"""Finds a writer's schema; raises UnknownSchema, UnusableSchema, or RegistryUnavailable for the moment."""

SINGLE_OBJECT_PREFIX_BYTES = 10
MAX_ADDRESS_CHARACTERS = 2048


def encode_ecg(record: EcgRecord, *, compress: bool = True, schema_id: int | None = None) -> bytes:
    """Return the record as Avro, its samples as first differences under zstd unless `compress` is off.

    A record without remarks is written as version 1.1 wrote it, and without a site too as version 1.0 wrote it, so that
    as many readers as possible take it. Of more than 16 remarks the last one says how many are left out.

    Args:
        record: what to write.
        compress: whether the samples are compressed, to about a third.
        schema_id: the id that a registry gave to `AVRO_SCHEMA`; the value is put into a Confluent frame then.

    Raises:
        MalformedRecord: the record contradicts itself, or a value is impossible.
        OversizedRecord: the record is over a bound.
    """
    out = BytesIO()
    try:
        header = _header_of(record, compress=compress)
        check_header(header)
        schemaless_writer(out, HEADER_STEP.writer, header)
    except AVRO_ERRORS as error:
        raise MalformedRecord(f"not an ECG record: {error}") from error
    if out.tell() > MAX_HEADER_BYTES:
        raise OversizedRecord(f"the fields before the samples take more than {MAX_HEADER_BYTES} bytes")
    samples = _compressed(record.samples, header) if compress else record.samples
    schemaless_writer(out, SAMPLES_STEP.writer, {SAMPLES: samples})
    _write_later_fields(out, header, whole=schema_id is not None)
    return _frame(schema_id) + out.getvalue()


def _write_later_fields(out: BytesIO, header: Header, *, whole: bool) -> None:
    """Write what later versions have added: as far as the record has it, or all of it."""
    has_remarks = whole or bool(header["remarks"])
    try:
        if has_remarks or header["site"] is not None:
            schemaless_writer(out, SITE_STEP.writer, header)
        if has_remarks:
            schemaless_writer(out, REMARKS_STEP.writer, header)
    except AVRO_ERRORS as error:
        raise MalformedRecord(f"not an ECG record: {error}") from error


def _frame(schema_id: int | None) -> bytes:
    return b"" if schema_id is None else CONFLUENT_MAGIC + schema_id.to_bytes(4, "big")


def decode_ecg(
    value: bytes | None, data_schema: bytes | None = None, find_schema: FindSchema = shipped_schema
) -> EcgRecord:
    """Return the record that `value` holds, resolved into ours by the names of its writer's fields.

    Every size is bounded before anything of that size is allocated.

    Args:
        value: Avro: bare, in Confluent framing, or in Avro's single-object encoding of a schema of ours. None is a
            message without a value.
        data_schema: the message's header `ce_dataschema`, where it has one: the address of the writer's schema.
        find_schema: finds the schema of an id or an address; without it those that we publish are known.

    Raises:
        MalformedRecord: `value` is no ECG record, or contradicts itself; `EmptyValue` where there is nothing,
            `ForeignFraming` where it is something else that is recognised.
        OversizedRecord: a size that it has, or claims, is over a bound.
        UnknownSchema: its schema cannot be had.
        UnusableSchema: its schema cannot be resolved into ours.
        RegistryUnavailable: its schema cannot be had at the moment.
    """
    if not value:
        raise _nothing(value)
    if len(value) > MAX_VALUE_BYTES:
        raise OversizedRecord(f"more than {MAX_VALUE_BYTES} bytes", value_bytes=len(value))
    fields: dict[str, Any] = {}
    try:
        schema, start = _schema_and_start(value, data_schema, find_schema)
        schema.read(value, start, fields)
        header = cast("Header", fields)
        check_header(header)
        samples = _samples_of(header, fields[SAMPLES])
        if TIME_SLIP in fields:
            header["remarks"] = [*header["remarks"], _time_remark(*fields[TIME_SLIP])]
    except RecordError as error:
        if (named := _named_framing(value, error, fields)) is not None:
            raise named from error
        error.record_id, error.device_id, error.site = (
            _name_in(fields, name) for name in ("record_id", "device_id", "site")
        )
        raise
    return _record_of(header, samples)


def _time_remark(written: int, slip: Slip) -> WrittenRemark:
    sentence = f"the time of recording, {written}, is beyond the calendar and was left out: it is probably written "
    return {"code": "implausible_time", "detail": f"{sentence}{slip.written}, and {slip.meant.isoformat()} is meant"}


def _nothing(value: bytes | None) -> EmptyValue:
    what = "the message has no value (a tombstone, in Kafka's words)" if value is None else "the value has no bytes"
    return EmptyValue(f"{what}: publish the ECG itself; an ECG that was published cannot be taken back", value_bytes=0)


def _named_framing(value: bytes, error: RecordError, fields: Mapping[str, Any]) -> ForeignFraming | None:
    """Return the refusal that names what the value is, if nothing of a record could be read from it."""
    if "record_id" in fields:
        return None
    if isinstance(error, MalformedRecord):
        return name_framing(value)
    return name_zero_framing(value) if isinstance(error, UnknownSchema) else None


def _schema_and_start(value: bytes, data_schema: bytes | None, find_schema: FindSchema) -> tuple[WriterSchema, int]:
    """Return how to read the value, and where its Avro begins."""
    if not value.startswith(FRAMES):
        return (BARE if data_schema is None else find_schema(_address(data_schema))), 0
    if value.startswith(SINGLE_OBJECT_MAGIC):
        return _single_object_schema(value, data_schema, find_schema), SINGLE_OBJECT_PREFIX_BYTES
    framed_id = _framed_id(value)
    if data_schema is None:
        return find_schema(framed_id), CONFLUENT_PREFIX_BYTES
    schema = find_schema(_address(data_schema))
    if schema.schema_id not in {None, framed_id}:
        sentence = f"the frame names schema {framed_id}, the header ce_dataschema names schema {schema.schema_id}"
        raise MalformedRecord(sentence, schema_id=framed_id)
    return schema, CONFLUENT_PREFIX_BYTES


def _single_object_schema(value: bytes, data_schema: bytes | None, find_schema: FindSchema) -> WriterSchema:
    """Return the schema whose fingerprint the value names: one of ours.

    Raises:
        UnknownSchema: it is none of ours, and no registry finds a schema by its fingerprint.
        MalformedRecord: the frame is cut short, or the header `ce_dataschema` names another schema.
    """
    fingerprint = value[len(SINGLE_OBJECT_MAGIC) : SINGLE_OBJECT_PREFIX_BYTES]
    if (address := FINGERPRINTS.get(fingerprint)) is None:
        raise UnknownSchema(
            f"the value is in Avro's single-object encoding, and its schema of fingerprint {fingerprint.hex()} is not "
            "one of ours: write by the published schema, or use Confluent framing and a schema registry",
            framing="avro_single_object",
            fingerprint=fingerprint.hex(),
        )
    if data_schema is not None and find_schema(_address(data_schema)) is not SHIPPED[address]:
        raise MalformedRecord(f"the frame names the schema {address}, the header ce_dataschema names another one")
    return SHIPPED[address]


def _framed_id(value: bytes) -> int:
    """Return the schema id of a Confluent frame."""
    if len(value) < CONFLUENT_PREFIX_BYTES:
        raise MalformedRecord("the Confluent frame is cut short")
    return int.from_bytes(value[1:CONFLUENT_PREFIX_BYTES], "big")


def _address(data_schema: bytes) -> str:
    try:
        address = data_schema.decode()
    except UnicodeDecodeError as error:
        raise UnknownSchema("the header ce_dataschema is not UTF-8") from error
    if len(address) > MAX_ADDRESS_CHARACTERS:
        raise UnknownSchema(f"the header ce_dataschema is longer than {MAX_ADDRESS_CHARACTERS} characters")
    return address


def _name_in(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a name of the record, as far as it could be read, if it is one."""
    text = fields.get(name)
    return text if text is not None and is_identifier(text) else None


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
        site=record.site,
        remarks=[{"code": remark.code, "detail": remark.detail} for remark in bounded_remarks(record.remarks)],
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
        site=header["site"],
        remarks=tuple([Remark(**remark) for remark in header["remarks"]]),
    )


def _samples_of(header: Header, stored: bytes) -> bytes:
    samples = _decompressed(stored, header) if header["encoding"] == "DELTA_ZSTD" else stored
    if len(samples) != sample_bytes(header):
        raise MalformedRecord(
            "the samples do not fill the leads", sample_bytes=len(samples), expected_bytes=sample_bytes(header)
        )
    return samples


def _compressed(samples: bytes, header: Header) -> bytes:
    return compress(to_differences(samples, len(header["leads"])))


def _decompressed(stored: bytes, header: Header) -> bytes:
    expected = sample_bytes(header)
    try:
        differences = decompress(stored, max_bytes=MAX_SAMPLE_BYTES, size=expected)
    except UnusableFrame as error:
        raise _refusal(error, expected) from error
    return from_differences(differences, len(header["leads"]))


def _refusal(error: UnusableFrame, expected: int) -> RecordError:
    kind = OversizedRecord if error.is_oversized else MalformedRecord
    detail = f"the samples cannot be decompressed: {error}"
    if error.content_bytes is not None:
        return kind(detail, sample_bytes=error.content_bytes, expected_bytes=expected)
    if error.window_bytes is not None:
        return kind(detail, window_bytes=error.window_bytes)
    return kind(detail)
