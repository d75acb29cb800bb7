"""Names what a value is that is not an ECG record as we take it: another framing, another encoding, a compressed value.

Only a value that could not be read is looked at, so a good record costs nothing here. The first byte tells most of them
apart: a record that names no schema begins with the length of its id, which Avro writes as an even byte that is not 0.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from .errors import ForeignFraming, MalformedRecord, Number
from .writer_schema import HEADER_STEP

CONFLUENT_PREFIX_BYTES = 5
APICURIO_PREFIX_BYTES = 9
GLUE_MAGIC = b"\x03"
GLUE_COMPRESSIONS = {0: "none", 5: "zlib"}
GLUE_PREFIX_BYTES = 18

PLAIN = "send the bare Avro record"
LET_KAFKA_COMPRESS = f"{PLAIN}, and let Kafka compress it (compression.type of the producer)"
PUBLISH_FILES = "send it with `cardiacnets publish`, or encode its ECG with the published schema"
ENCODE = "encode the ECG with the published Avro schema"

LOOKED_AT_BYTES = 4096
"""Of a value that may be text or Protobuf: what it begins with says enough."""
MOST_FIELDS = 4096
"""Of a Protobuf message: a longer one is not recognised."""


@dataclass(frozen=True, slots=True)
class Framing:
    """What a value was taken for.

    Attributes:
        name: for a program.
        what: what the value is, as a sentence says it.
        remedy: what the producer does instead.
        numbers: what else is known.
    """

    name: str
    what: str
    remedy: str
    numbers: dict[str, Number] = field(default_factory=dict)

    def refusal(self) -> ForeignFraming:
        """Return the refusal of such a value."""
        refusal = ForeignFraming(f"the value is {self.what}: {self.remedy}")
        refusal.numbers = {"framing": self.name, **self.numbers}
        return refusal


Recogniser: TypeAlias = Callable[[bytes], Framing | None]

_MAGICS = {
    b"Obj\x01": Framing("avro_container_file", "an Avro container file", f"{PLAIN}, without the container"),
    b"\x1f\x8b\x08": Framing("gzip", "compressed by gzip", LET_KAFKA_COMPRESS),
    b"\x28\xb5\x2f\xfd": Framing("zstd", "compressed by zstd", LET_KAFKA_COMPRESS),
    b"\x04\x22\x4d\x18": Framing("lz4", "compressed by LZ4", LET_KAFKA_COMPRESS),
    b"\xff\x06\x00\x00sNaPpY": Framing("snappy", "compressed by Snappy", LET_KAFKA_COMPRESS),
    b"\x82SNAPPY\x00": Framing("snappy", "compressed by Snappy", LET_KAFKA_COMPRESS),
    b"\xfd7zXZ\x00": Framing("xz", "compressed by xz", LET_KAFKA_COMPRESS),
    b"PK\x03\x04": Framing("zip", "a ZIP archive", PLAIN),
    b"ARROW1": Framing("arrow", "an Arrow file", PLAIN),
    b"\x93NUMPY": Framing("numpy", "a NumPy file", ENCODE),
    b"\xac\xed\x00\x05": Framing("java_object", "a serialised Java object", ENCODE),
    b"ISHNE": Framing("ishne", "an ISHNE file", PUBLISH_FILES),
    b"MSH|": Framing("hl7_v2", "an HL7 v2 message", ENCODE),
    b"\x0bMSH|": Framing("hl7_v2", "an HL7 v2 message in MLLP framing", ENCODE),
    b"\xff\xfe": Framing("text", "text in UTF-16", ENCODE),
    b"\xfe\xff": Framing("text", "text in UTF-16", ENCODE),
}
_CLOSING = {b"{": b"}", b"[": b"]"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{4,}={0,2}")
_XML = re.compile(rb"(\xef\xbb\xbf)?\s*<[?!A-Za-z]")
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xf4]+")
"""Text in ASCII or UTF-8. An Avro record has other bytes: it writes an absent field as a zero."""


def name_framing(value: bytes) -> ForeignFraming | None:
    """Return the refusal that names what the value is; None where it is not recognised."""
    for recognise in RECOGNISERS:
        if (framing := recognise(value)) is not None:
            return framing.refusal()
    return None


def name_zero_framing(value: bytes) -> ForeignFraming | None:
    """Return the refusal of a value that begins with a zero byte, where it shows that this is no Confluent frame."""
    framing = _apicurio(value) or _dicom(value)
    return framing.refusal() if framing else None


def _magic(value: bytes) -> Framing | None:
    return next((framing for magic, framing in _MAGICS.items() if value.startswith(magic)), None)


def _glue(value: bytes) -> Framing | None:
    if not value.startswith(GLUE_MAGIC) or len(value) < GLUE_PREFIX_BYTES or value[1] not in GLUE_COMPRESSIONS:
        return None
    numbers: dict[str, Number] = {
        "schema_version_id": str(UUID(bytes=value[2:GLUE_PREFIX_BYTES])),
        "compression": GLUE_COMPRESSIONS[value[1]],
    }
    remedy = f"{PLAIN}, or put it in Confluent framing"
    return Framing("aws_glue", "in the framing of the AWS Glue Schema Registry", remedy, numbers)


def _apicurio(value: bytes) -> Framing | None:
    """Recognise a zero byte and an id of 8 bytes, which is small enough that its first 4 bytes are 0.

    No Confluent registry gives the id 0.
    """
    if not value.startswith(bytes(CONFLUENT_PREFIX_BYTES)) or len(value) <= APICURIO_PREFIX_BYTES:
        return None
    schema_id = int.from_bytes(value[1:APICURIO_PREFIX_BYTES], "big")
    if schema_id == 0 or _begins_with_header(value, CONFLUENT_PREFIX_BYTES):
        return None
    remedy = "let its serialiser write ids of 4 bytes, as Confluent does (apicurio.registry.as-confluent=true)"
    return Framing("apicurio", "in Apicurio's framing with an id of 8 bytes", remedy, {"schema_id": schema_id})


def _dicom(value: bytes) -> Framing | None:
    return Framing("dicom", "a DICOM file", PUBLISH_FILES) if value[128:132] == b"DICM" else None


def _begins_with_header(value: bytes, start: int) -> bool:
    try:
        HEADER_STEP.read(value, start, {})
    except MalformedRecord:
        return False
    return True


def _zlib(value: bytes) -> Framing | None:
    """Recognise zlib by its two bytes of header, and by what it decompresses to: at most a few bytes of that."""
    if len(value) < 2 or value[0] & 0x8F != 0x08 or int.from_bytes(value[:2], "big") % 31:
        return None
    try:
        zlib.decompressobj().decompress(value[:LOOKED_AT_BYTES], 64)
    except zlib.error:
        return None
    return Framing("zlib", "compressed by zlib", LET_KAFKA_COMPRESS)


def _json(value: bytes) -> Framing | None:
    """Recognise JSON by its brackets."""
    text = value.removeprefix(b"\xef\xbb\xbf").strip()
    if not text or _CLOSING.get(text[:1]) != text[-1:]:
        return None
    if b'"specversion"' in text:
        remedy = "use the binary mode, in which the value is the bare Avro record and the attributes are headers"
        return Framing("cloudevents_structured", "a CloudEvent in structured mode", remedy)
    return Framing("json", "JSON", ENCODE)


def _text(value: bytes) -> Framing | None:
    """Recognise text by its first characters, none of which is told: they may be a patient's."""
    start = value[:LOOKED_AT_BYTES]
    if not _TEXT.fullmatch(start):
        return None
    if _XML.match(start) and value.rstrip().endswith(b">"):
        return Framing("xml", "XML", PUBLISH_FILES)
    if _is_cut_id(value):
        return None
    if _is_base64_of_record(start):
        return Framing("base64", "a record in Base64", f"{PLAIN} itself")
    return Framing("text", "text", ENCODE)


def _is_cut_id(value: bytes) -> bool:
    """Return whether the value may be a record that is cut short within its id."""
    return value[0] % 2 == 0 and value[0] // 2 >= len(value) - 1


def _is_base64_of_record(start: bytes) -> bool:
    """Return whether the text is Base64, in one of its two alphabets, of what begins as a record does."""
    compact = b"".join(start.split()).strip(b'"').translate(bytes.maketrans(b"-_", b"+/"))
    if not _BASE64.fullmatch(compact):
        return False
    record = binascii.a2b_base64(compact[: len(compact) // 4 * 4])
    return _begins_with_header(record, 0) or _begins_with_header(record, CONFLUENT_PREFIX_BYTES)


def _protobuf(value: bytes) -> Framing | None:
    """Recognise Protobuf: fields that follow each other and end where the value does, one of them with a length."""
    kinds = []
    for kind in _protobuf_fields(value):
        kinds.append(kind)
        if kind is None or len(kinds) > MOST_FIELDS:
            return None
    if len(kinds) < 2 or 2 not in kinds:
        return None
    return Framing("protobuf", "probably a Protobuf message", ENCODE)


def _protobuf_fields(value: bytes) -> Iterator[int | None]:
    """Yield the wire type of each field, and None where the bytes are no field."""
    sizes = {1: 8, 5: 4}
    place = 0
    while place < len(value):
        tag, place = _varint(value, place)
        kind = tag & 7
        if kind in {0, 2}:
            number, place = _varint(value, place)
            place += number if kind == 2 else 0
        else:
            place += sizes.get(kind, len(value))
        yield kind if 8 <= tag < 2**32 and place <= len(value) else None


def _varint(value: bytes, place: int) -> tuple[int, int]:
    """Return a number, and where it ends: beyond the value where it is cut short or too long."""
    number = 0
    for index, byte in enumerate(value[place : place + 10]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, place + index + 1
    return 0, len(value) + 1


RECOGNISERS: tuple[Recogniser, ...] = (_magic, _glue, _apicurio, _dicom, _zlib, _json, _text, _protobuf)
"""In the order in which they are asked: first those that leave no doubt."""
