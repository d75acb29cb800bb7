"""A value that is no ECG record is refused by the name of what it is; a broken record stays a broken record."""

import base64
import gzip
import io
import json
import struct
import uuid
import zlib

import fastavro
import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_message import ecg_message
from schemas.ecg_record import LEADS, EcgRecord, Remark
from schemas.ecg_schema import FINGERPRINTS, VERSION_1_1, VERSION_1_2
from schemas.errors import EmptyValue, ForeignFraming, MalformedRecord, RecordError, UnknownSchema
from schemas.writer_schema import resolve_schema

RECORD = EcgRecord(
    record_id="ecg-1",
    patient_id="patient-1",
    leads=LEADS,
    sample_rate_hz=500.0,
    microvolts_per_step=5.0,
    samples=bytes(range(240)) * 50,
)
VALUE = encode_ecg(RECORD)
GLUE_ID = uuid.UUID("0b8a1e0e-7b1c-4f0e-9d5c-3f6a2c1d4e5f")
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "urn:x",
    "type": "ecg",
    "data_base64": base64.b64encode(VALUE).decode(),
}
PROTOBUF = b"\x0a\x05ecg-1\x12\x03p-1\x19" + struct.pack("<d", 500.0) + b"\x22\x80\x02" + bytes(range(256))


def single_object(value, fingerprint):
    return b"\xc3\x01" + fingerprint + value


def container_file():
    out = io.BytesIO()
    fields = {"record_id": "1", "leads": ["I"], "sample_rate_hz": 1.0, "microvolts_per_step": 1.0, "n_samples": 1}
    fastavro.writer(out, AVRO_SCHEMA, [fields | {"encoding": "RAW", "samples": b"12"}])
    return out.getvalue()


FOREIGN = {
    "glue": (b"\x03\x00" + GLUE_ID.bytes + VALUE, "aws_glue", "AWS Glue"),
    "glue with zlib": (b"\x03\x05" + GLUE_ID.bytes + zlib.compress(VALUE), "aws_glue", "Confluent framing"),
    "apicurio": (b"\x00" + (17).to_bytes(8, "big") + VALUE, "apicurio", "ids of 4 bytes"),
    "apicurio, another schema": (b"\x00" + (17).to_bytes(8, "big") + b"\x01\x02\x03", "apicurio", "ids of 4 bytes"),
    "container file": (container_file(), "avro_container_file", "without the container"),
    "json": (msgspec.json.encode(RECORD), "json", "encode the ECG with the published Avro schema"),
    "json with a byte order mark": (b"\xef\xbb\xbf" + msgspec.json.encode(RECORD), "json", "JSON"),
    "json list": (b' [{"record_id": "ecg-1"}]\n', "json", "JSON"),
    "structured event": (json.dumps(EVENT).encode(), "cloudevents_structured", "binary mode"),
    "structured events": (json.dumps([EVENT]).encode(), "cloudevents_structured", "binary mode"),
    "base64": (base64.b64encode(VALUE), "base64", "itself"),
    "base64 in lines": (base64.encodebytes(VALUE), "base64", "itself"),
    "base64 for addresses": (base64.urlsafe_b64encode(VALUE), "base64", "itself"),
    "base64 as a JSON string": (b'"' + base64.b64encode(VALUE) + b'"', "base64", "itself"),
    "base64 of a framed one": (base64.b64encode(encode_ecg(RECORD, schema_id=7)), "base64", "itself"),
    "gzip": (gzip.compress(VALUE, mtime=0), "gzip", "let Kafka compress"),
    "zlib": (zlib.compress(VALUE), "zlib", "let Kafka compress"),
    "zlib, quick": (zlib.compress(VALUE, 1), "zlib", "let Kafka compress"),
    "zstd": (zstandard.compress(VALUE), "zstd", "let Kafka compress"),
    "protobuf": (PROTOBUF, "protobuf", "probably a Protobuf message"),
    "dicom": (bytes(128) + b"DICM" + bytes(200), "dicom", "cardiacnets publish"),
    "xml": (b'<?xml version="1.0"?><RestingECG/>\n', "xml", "cardiacnets publish"),
    "hl7": (b"MSH|^~\\&|CART|WARD|||20260101||ORU^R01|1|P|2.5\r", "hl7_v2", "HL7"),
    "text": (b"record_id;leads;samples\r\necg-1;I,II;1,2,3\r\n" * 20, "text", "text"),
}


@pytest.mark.parametrize(("value", "framing", "said"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_value_is_named_and_the_sentence_says_what_to_do(value, framing, said):
    with pytest.raises(ForeignFraming, match=said) as refusal:
        decode_ecg(value)
    assert (refusal.value.wire_code, refusal.value.numbers["framing"]) == ("foreign_framing", framing)
    assert refusal.value.record_id is None
    assert "patient-1" not in str(refusal.value)


def test_what_a_frame_says_of_its_schema_is_evidence():
    with pytest.raises(ForeignFraming) as refusal:
        decode_ecg(FOREIGN["glue with zlib"][0])
    assert refusal.value.numbers == {"framing": "aws_glue", "schema_version_id": str(GLUE_ID), "compression": "zlib"}
    with pytest.raises(ForeignFraming) as refusal:
        decode_ecg(FOREIGN["apicurio"][0])
    assert refusal.value.numbers == {"framing": "apicurio", "schema_id": 17}


@pytest.mark.parametrize(("value", "said"), [(None, "no value .a tombstone"), (b"", "no bytes")])
def test_an_empty_value_says_so(value, said):
    message = ecg_message(value, {})
    with pytest.raises(EmptyValue, match=said) as refusal:
        decode_ecg(message.value, message.data_schema)
    assert (refusal.value.wire_code, refusal.value.numbers) == ("empty_value", {"value_bytes": 0})
    assert not message.names_schema


@pytest.mark.parametrize(("fingerprint", "address"), FINGERPRINTS.items(), ids=FINGERPRINTS.values())
def test_single_object_encoding_of_a_published_schema_is_read(fingerprint, address):
    version = {VERSION_1_1: RECORD.__class__(**fields_of(RECORD, site="ward 3"))}.get(address, RECORD)
    if address == VERSION_1_2:
        version = RECORD.__class__(**fields_of(RECORD, remarks=(Remark("electrode_off", "V3 was off"),)))
    value = single_object(encode_ecg(version), fingerprint)
    assert decode_ecg(value) == version
    assert decode_ecg(value, address.encode()) == version
    assert ecg_message(value, {}).names_schema


def fields_of(record, **changes):
    return {field: getattr(record, field) for field in record.__struct_fields__} | changes


def test_the_fingerprints_are_those_of_the_published_schemas():
    end = len(AVRO_SCHEMA["fields"])
    for (fingerprint, _), fields in zip(FINGERPRINTS.items(), (end - 2, end - 1, end), strict=True):
        schema = AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:fields]}
        canonical = fastavro.schema.to_parsing_canonical_form(schema)
        assert fastavro.schema.fingerprint(canonical, "CRC-64-AVRO") == fingerprint.hex()


@pytest.mark.parametrize("value", [single_object(VALUE, b"12345678"), b"\xc3\x01\xad"])
def test_single_object_encoding_of_another_schema_is_refused_by_its_fingerprint(value):
    with pytest.raises(UnknownSchema, match="single-object encoding") as refusal:
        decode_ecg(value)
    assert refusal.value.numbers == {"framing": "avro_single_object", "fingerprint": value[2:10].hex()}


def test_a_frame_and_a_header_that_name_different_versions_are_a_contradiction():
    value = single_object(VALUE, next(iter(FINGERPRINTS)))
    with pytest.raises(MalformedRecord, match="ce_dataschema names another one"):
        decode_ecg(value, VERSION_1_1.encode())


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=256), st.booleans(), st.data())
def test_a_record_that_is_broken_after_its_header_is_not_taken_for_something_else(record_id, compress, data):
    value = encode_ecg(RECORD.__class__(**fields_of(RECORD, record_id=record_id)), compress=compress)
    with pytest.raises(MalformedRecord) as refusal:
        decode_ecg(value[: -data.draw(st.integers(1, 20))])
    assert (refusal.value.wire_code, refusal.value.record_id) == ("malformed_record", record_id)


@pytest.mark.parametrize("record_id", ["<a href", "{x}", "[1]", "plain", "x" * 33, "Zh", "K" * 40, "1" * 50])
def test_a_record_that_is_cut_within_its_header_is_not_taken_for_text(record_id):
    value = encode_ecg(RECORD.__class__(**fields_of(RECORD, record_id=record_id)))
    for end in range(1, len(record_id) + 20):
        with pytest.raises(MalformedRecord) as refusal:
            decode_ecg(value[:end])
        assert refusal.value.wire_code == "malformed_record"


@given(st.binary(min_size=1, max_size=300), st.sampled_from([b"", *(value[:9] for value, _, _ in FOREIGN.values())]))
def test_whatever_comes_is_refused_in_a_sentence_of_ours(value, start):
    with pytest.raises(RecordError) as refusal:
        decode_ecg(start + value)
    assert "Error" not in refusal.value.detail
    assert "index" not in refusal.value.detail


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (VALUE[:3], "record_id: it claims more bytes than there are"),
        (b"\x04\xff\xff" + VALUE[3:], "record_id: its text is not UTF-8"),
        (VALUE[:-5], "samples: it claims more bytes"),
        (VALUE.replace(b"\x00\x18\x02I\x04II", b"\x09\x18\x02I\x04II", 1), "paced: it names a branch or a symbol"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_the_field_and_the_reason(value, said):
    with pytest.raises(MalformedRecord, match=said) as refusal:
        decode_ecg(value)
    assert refusal.value.numbers["field"] == said.partition(":")[0]


@needs_real_ecgs
def test_the_framed_record_with_a_field_appended_is_read_by_its_own_schema():
    faults = ECGS / "faults" / "kafka"
    schema = resolve_schema((faults / "optional_field_appended.avsc").read_text())
    value = (faults / "optional_field_appended.avro.bin").read_bytes()
    assert decode_ecg(value, None, lambda schema_id: schema).n_samples >= 2250
    with pytest.raises(UnknownSchema, match="no schema registry is set"):
        decode_ecg(value)
