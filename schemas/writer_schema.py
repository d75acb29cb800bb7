"""How to read the ECG records that one schema wrote: worked out once a schema, not once a record.

A value is read in steps, each of which takes fields that follow each other:

    header    fields that we know, but for the samples: at most 8 KiB a step, so they are bounded before they are read
    samples   the samples as they are stored, at most what the value holds
    remarks   the remarks: at most 24 KiB
    skip      fields that we do not know: passed over, nothing of them is kept

Our own schema gives two steps, header and samples, and a step more for each later version that the value reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count, groupby
from typing import Any, TypeAlias, cast

from fastavro import parse_schema, schemaless_reader
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException, UnknownType

from .avro_types import (
    MAX_SHOWN_CHARACTERS,
    OTHER_TIMES,
    AvroType,
    Field,
    WrittenRecord,
    kind_of,
    read_record_schema,
    resolves,
    with_new_names,
)
from .ecg_schema import AVRO_SCHEMA, FIRST_VERSION_FIELDS, REMARKS, SAMPLES, VERSION_1_0, VERSION_1_1, VERSION_1_2
from .errors import MalformedRecord, UnknownSchema, UnusableSchema
from .record_limits import MAX_HEADER_BYTES, MAX_REMARKS_BYTES, MAX_VALUE_BYTES
from .recording_time import unit_slip

SchemaReference: TypeAlias = int | str
"""How a message names its writer's schema: the id in a Confluent frame, or the address in a `ce_dataschema` header."""

AVRO_ERRORS = (EOFError, LookupError, ValueError, OverflowError, TypeError, AttributeError, SchemaResolutionError)
"""What fastavro raises on bytes or values that do not fit the schema (UnicodeError is a ValueError)."""

RECORDED_AT = "recorded_at"
TIME_SLIP = "time_slip"
"""Beside the fields of a record: the number that stood for a time beyond the calendar, and how it was meant."""
TIME_TYPE: AvroType = {"type": "long", "logicalType": "timestamp-micros"}

_FIELD_TYPES = {field["name"]: field["type"] for field in AVRO_SCHEMA["fields"]}
_REQUIRED = [field["name"] for field in AVRO_SCHEMA["fields"] if "default" not in field]
_OPTIONAL = {field["name"]: field["default"] for field in AVRO_SCHEMA["fields"] if "default" in field}
_TROUBLE = {
    "header": "not an Avro ECG record",
    "samples": "the samples are cut short",
    "skip": "not an Avro ECG record: a field that is passed over does not fit",
    "site": "bytes follow the samples, and they are not the site that version 1.1 has added",
    "remarks": "not an Avro ECG record: the remarks do not fit",
}
"""What is wrong with bytes that do not fit, by the kind of the step."""
_LIMITS = {"header": MAX_HEADER_BYTES, "site": MAX_HEADER_BYTES, REMARKS: MAX_REMARKS_BYTES}
"""How many bytes a step may read, by its kind; the others may read the whole value."""


class _ExactBytes(BytesIO):
    """Bytes that never give fewer than were asked for: fastavro does not look when it passes over a field."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes.

        Raises:
            EOFError: so many are not left.
        """
        if size is None or size < 0:
            raise EOFError("a size below 0")
        data = super().read(size)
        if len(data) < size:
            raise EOFError(f"{size} bytes were announced, {len(data)} are left")
        return data


@dataclass(frozen=True, slots=True)
class _PlainTime:
    """A step that reads the time as a number, and how many microseconds its unit has."""

    writer: Any
    reader: Any
    microseconds: int


@dataclass(frozen=True, slots=True)
class Step:
    """Fields that follow each other, read at once.

    Attributes:
        reader: what the writer's fields are resolved into; None where they are read as they are.
        limit: how many bytes the step may read.
        trouble: what to say of bytes that do not fit.
        strict: whether the stream is watched; our own schema has no field that fastavro would pass over.
        parts: the same step, field by field, which finds the field that does not fit.
        plain_time: the same step with the time as a number, for a time that is beyond the calendar; None where the step
            has no time.
    """

    writer: Any
    reader: Any
    limit: int
    trouble: str
    strict: bool
    parts: tuple[tuple[str, Any, Any], ...]
    plain_time: _PlainTime | None

    def read(self, value: bytes, start: int, fields: dict[str, Any]) -> int:
        """Read into `fields`, and return where the next step begins.

        Raises:
            MalformedRecord: the bytes do not fit the schema.
        """
        stream = self._stream(value, start)
        try:
            fields.update(cast("dict[str, Any]", schemaless_reader(stream, self.writer, self.reader)))
        except AVRO_ERRORS as error:
            if self.plain_time and (end := self._read_beyond_calendar(self.plain_time, value, start, fields)):
                return end
            raise self._refusal(value, start) from error
        return stream.tell()

    def _read_beyond_calendar(self, plain: _PlainTime, value: bytes, start: int, fields: dict[str, Any]) -> int | None:
        """Read a record whose time is beyond the calendar and was written in another unit: the time is left out.

        Returns:
            Where the next step begins; None where this is not what is wrong.
        """
        stream = self._stream(value, start)
        try:
            read = cast("dict[str, Any]", schemaless_reader(stream, plain.writer, plain.reader))
        except AVRO_ERRORS:
            return None
        written = read[RECORDED_AT]
        slip = None if written is None else unit_slip(written * plain.microseconds)
        if slip is None:
            return None
        fields.update(read | {RECORDED_AT: None, TIME_SLIP: (written, slip)})
        return stream.tell()

    def _stream(self, value: bytes, start: int) -> BytesIO:
        stream = (_ExactBytes if self.strict else BytesIO)(value[: start + self.limit])
        stream.seek(start)
        return stream

    def _refusal(self, value: bytes, start: int) -> MalformedRecord:
        """Return the refusal that names the first field that does not fit, and says why."""
        stream = self._stream(value, start)
        for name, writer, reader in self.parts:
            try:
                schemaless_reader(stream, writer, reader)
            except AVRO_ERRORS as error:
                return MalformedRecord(f"{self.trouble}: {name}: {_reason(error)}", field=name)
        return MalformedRecord(self.trouble)


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """How to read the records that one schema wrote.

    Attributes:
        schema_id: the id that a registry gave the schema; None for one that we publish.
        required_steps: a value may end after so many steps: our schema's later versions have more.
        defaults: of the optional fields that a value may lack.
    """

    steps: tuple[Step, ...]
    required_steps: int
    defaults: Mapping[str, Any]
    schema_id: int | None = None

    def read(self, value: bytes, start: int, fields: dict[str, Any]) -> None:
        """Read the fields of the record that begins at `start` into `fields`, as far as the bytes fit.

        Raises:
            MalformedRecord: they do not fit, or do not end where the record does.
        """
        fields.update(self.defaults)
        for number, step in enumerate(self.steps):
            if number >= self.required_steps and start == len(value):
                return
            start = step.read(value, start, fields)
        if trailing := len(value) - start:
            raise MalformedRecord("bytes follow the record", trailing_bytes=trailing)


def resolve_schema(text: str | bytes, schema_id: int | None = None) -> WriterSchema:
    """Return how to read the records that a schema (in JSON) wrote, resolved into ours by the fields' names.

    Raises:
        UnusableSchema: it cannot be resolved, and the sentence names the field; or reading it could be expensive.
    """
    written = read_record_schema(text)
    _check_resolution(written)
    runs = groupby(written.fields, key=lambda field: _kind(field.name))
    try:
        steps = tuple(_foreign_step(kind, tuple(fields)) for kind, fields in runs)
    except (SchemaParseException, UnknownType) as error:
        raise UnusableSchema(f"the schema is not valid Avro: {error}") from error
    return WriterSchema(steps, len(steps), _OPTIONAL, schema_id)


def shipped_schema(reference: SchemaReference) -> WriterSchema:
    """Return the published schema of this address: all that can be had without a registry.

    Raises:
        UnknownSchema: the address is not one of ours.
    """
    if isinstance(reference, str) and (schema := SHIPPED.get(reference)):
        return schema
    raise unknown_schema(reference, "no schema registry is set: set CARDIACNETS_SCHEMA_REGISTRY")


def unknown_schema(reference: SchemaReference, reason: str) -> UnknownSchema:
    """Return the error that names the schema and says why it cannot be had."""
    if isinstance(reference, int):
        return UnknownSchema(f"the record was written by schema {reference}, and {reason}", schema_id=reference)
    return UnknownSchema(f"the record was written by schema {reference[:MAX_SHOWN_CHARACTERS]!r}, and {reason}")


def _kind(name: str) -> str:
    if name in {SAMPLES, REMARKS}:
        return name
    return "header" if name in _FIELD_TYPES else "skip"


def _check_resolution(written: WrittenRecord) -> None:
    """Check what no record can mend.

    Raises:
        UnusableSchema: it has another name, lacks a field that we need, or has one of a type that ours cannot take.
    """
    if written.name != AVRO_SCHEMA["name"]:
        called = written.name[:MAX_SHOWN_CHARACTERS]
        raise UnusableSchema(f"the schema's record is called {called!r}, not {AVRO_SCHEMA['name']!r}")
    types = dict(written.fields)
    if missing := [name for name in _REQUIRED if name not in types]:
        raise UnusableSchema(f"the schema lacks fields that every record needs: {', '.join(missing)}")
    for name, avro_type in types.items():
        if name in _FIELD_TYPES and not resolves(avro_type, _FIELD_TYPES[name]):
            raise UnusableSchema(
                f"the schema's field {name} is of type {kind_of(avro_type)}, which does not resolve into ours",
                field=name,
            )
    if time := _other_time(types.get(RECORDED_AT, "null")):
        raise UnusableSchema(
            f"the schema's field recorded_at is a {time}: write a timestamp-millis or a timestamp-micros",
            field="recorded_at",
        )


def _other_time(avro_type: AvroType) -> str | None:
    """Return the logical type of a time, or of a branch of it, that must not be taken for microseconds in UTC."""
    branches = avro_type if isinstance(avro_type, list) else [avro_type]
    times = (branch.get("logicalType") for branch in branches if isinstance(branch, dict))
    return next((time for time in times if time in OTHER_TIMES), None)


def _foreign_step(kind: str, fields: tuple[Field, ...]) -> Step:
    if kind == "skip":
        numbers = count()
        types = [(f"field{next(numbers)}", with_new_names(field.type, numbers)) for field in fields]
        return _step(kind, types, [])
    known = [(field.name, _as_ours(field)) for field in fields]
    return _step(kind, known, [(field.name, _FIELD_TYPES[field.name]) for field in fields])


def _as_ours(field: Field) -> AvroType:
    """Return the type with the time as a time, whatever the writer calls its number, and all else as it is stored."""
    time = TIME_TYPE if field.name == RECORDED_AT else None
    return _with_time(field.type, time)


def _with_time(avro_type: AvroType, time: AvroType | None) -> AvroType:
    if isinstance(avro_type, list):
        return [_with_time(branch, time) for branch in avro_type]
    if isinstance(avro_type, dict):
        return "long" if avro_type["type"] == "long" and time is None else avro_type
    return time if time is not None and avro_type in {"int", "long"} else avro_type


def _reason(error: Exception) -> str:
    """Return in words what fastavro's error means for a field."""
    match error:
        case EOFError():
            return "it claims more bytes than there are, or than it may take"
        case UnicodeError():
            return "its text is not UTF-8"
        case OverflowError():
            return "its time is beyond the calendar"
        case LookupError():
            return "it names a branch or a symbol that its type does not have"
        case SchemaResolutionError():
            return "its value does not resolve into our type"
    return "its bytes do not fit its type"


def _plain_time(written: Sequence[tuple[str, Any]], read: Sequence[tuple[str, Any]] | None) -> _PlainTime | None:
    time_type = next((kind for name, kind in written if name == RECORDED_AT), None)
    if time_type is None:
        return None
    plain = [(name, _with_time(kind, None) if name == RECORDED_AT else kind) for name, kind in written]
    ours = None if read is None else [(n, ["null", "long"] if n == RECORDED_AT else kind) for n, kind in read]
    return _PlainTime(
        writer=parse_schema(_record(plain)),
        reader=None if ours is None else parse_schema(_record(ours)),
        microseconds=1000 if "timestamp-millis" in str(time_type) else 1,
    )


def _step(kind: str, written: Sequence[tuple[str, Any]], read: Sequence[tuple[str, Any]] | None) -> Step:
    """Return the step that reads fields of these names and types; `read` is None where they are ours already."""
    as_ours = dict(read or ())
    return Step(
        writer=parse_schema(_record(written)),
        reader=None if read is None else parse_schema(_record(read)),
        limit=_LIMITS.get(kind, MAX_VALUE_BYTES),
        trouble=_TROUBLE[kind],
        strict=read is not None,
        parts=tuple(
            (
                name,
                parse_schema(_record([(name, kind)])),
                None if read is None else parse_schema(_record([(name, as_ours[name])] if name in as_ours else [])),
            )
            for name, kind in written
        ),
        plain_time=_plain_time(written, read),
    )


def _record(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = [{"name": name, "type": avro_type} for name, avro_type in fields]
    return {"type": "record", "name": AVRO_SCHEMA["name"], "fields": listed}


_types = list(_FIELD_TYPES.items())
HEADER_STEP = _step("header", _types[: FIRST_VERSION_FIELDS - 1], None)
SAMPLES_STEP = _step("samples", _types[FIRST_VERSION_FIELDS - 1 : FIRST_VERSION_FIELDS], None)
SITE_STEP = _step("site", _types[FIRST_VERSION_FIELDS : FIRST_VERSION_FIELDS + 1], None)
REMARKS_STEP = _step(REMARKS, _types[FIRST_VERSION_FIELDS + 1 :], None)
"""How our own records are read, and written."""

_LATER_DEFAULTS = {name: _OPTIONAL[name] for name, _ in _types[FIRST_VERSION_FIELDS:]}

_NEWEST_STEPS = (HEADER_STEP, SAMPLES_STEP, SITE_STEP, REMARKS_STEP)

BARE = WriterSchema(_NEWEST_STEPS, required_steps=2, defaults=_LATER_DEFAULTS)
"""Of a value that names no schema: any version of ours."""
SHIPPED = {
    VERSION_1_0: WriterSchema(_NEWEST_STEPS[:2], required_steps=2, defaults=_LATER_DEFAULTS),
    VERSION_1_1: WriterSchema(_NEWEST_STEPS[:3], required_steps=3, defaults=_LATER_DEFAULTS),
    VERSION_1_2: WriterSchema(_NEWEST_STEPS, required_steps=4, defaults={}),
}
"""Of a value that names a schema which we publish."""
