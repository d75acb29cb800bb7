"""The golden records decode to what their files say, for ever."""

import json
from datetime import datetime
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest

from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import EcgRecord, Remark
from schemas.ecg_schema import VERSION_1_0, VERSION_1_1, VERSION_1_2
from schemas.errors import UnknownSchema
from schemas.writer_schema import BARE, SHIPPED, resolve_schema, shipped_schema

GOLDEN = files("schemas") / "golden"
NAMES = sorted(path.name.removesuffix(".avro") for path in GOLDEN.iterdir() if path.name.endswith(".avro"))


def value_of(name):
    return (GOLDEN / f"{name}.avro").read_bytes()


def story_of(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def record_of(name):
    fields = story_of(name)["record"]
    samples = fields.pop("samples")
    recorded_at = fields.pop("recorded_at")
    remarks = tuple(Remark(**remark) for remark in fields.pop("remarks", []))
    return EcgRecord(
        **fields,
        recorded_at=recorded_at and datetime.fromisoformat(recorded_at),
        remarks=remarks,
        leads=tuple(samples),
        samples=np.array(list(samples.values()), "<i2").tobytes(),
    )


def registry_of(name):
    """Return a look-up in the schemas that the golden record's file names."""
    known = {
        int(schema_id): resolve_schema((GOLDEN / path).read_text(encoding="utf-8"), int(schema_id))
        for schema_id, path in story_of(name)["registry"].items()
    }
    return lambda reference: known[reference] if reference in known else shipped_schema(reference)


def test_there_are_golden_records_of_every_version_and_each_has_both_files():
    assert {name.partition("-")[0] for name in NAMES} == {"1.0", "1.1", "1.2", "another_vendor"}
    assert len(NAMES) == 16
    stories = {path.name.removesuffix(".json") for path in GOLDEN.iterdir() if path.name.endswith(".json")}
    assert stories == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_record_decodes_to_what_its_file_says(name):
    data_schema = story_of(name)["headers"].get("ce_dataschema")
    assert decode_ecg(value_of(name), data_schema and data_schema.encode(), registry_of(name)) == record_of(name)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-raw")])
def test_the_bytes_that_we_write_for_it_are_the_golden_ones(name):
    assert encode_ecg(record_of(name), compress=False) == value_of(name)


@pytest.mark.parametrize("name", [name for name in NAMES if story_of(name)["registry"]])
def test_without_the_registry_a_framed_golden_record_is_refused_by_its_schema_id(name):
    (schema_id,) = story_of(name)["registry"]
    with pytest.raises(UnknownSchema, match=f"schema {schema_id}, and no schema registry is set") as refusal:
        decode_ecg(value_of(name))
    assert refusal.value.numbers == {"schema_id": int(schema_id)}


def without_docs(schema):
    if isinstance(schema, dict):
        return {name: without_docs(part) for name, part in schema.items() if name != "doc"}
    return [without_docs(part) for part in schema] if isinstance(schema, list) else schema


def frozen(version):
    return without_docs(json.loads((GOLDEN / f"ecg_record-{version}.avsc").read_text(encoding="utf-8")))


def test_a_published_version_never_changes_and_the_next_one_adds_fields_at_its_end():
    versions = [frozen("1.0"), frozen("1.1"), frozen("1.2")]
    assert without_docs(AVRO_SCHEMA) == versions[-1]
    for before, after in pairwise(versions):
        assert after["fields"][: len(before["fields"])] == before["fields"]
        (added,) = after["fields"][len(before["fields"]) :]
        assert "default" in added


@pytest.mark.parametrize(("version", "address"), [("1.0", VERSION_1_0), ("1.1", VERSION_1_1), ("1.2", VERSION_1_2)])
def test_a_published_version_is_read_as_if_a_registry_had_it(version, address):
    assert f":v{version}:" in address
    plain = [name for name in NAMES if name.startswith(f"{version}-") and not value_of(name).startswith(b"\0")]
    schema = resolve_schema((GOLDEN / f"ecg_record-{version}.avsc").read_text(encoding="utf-8"))
    for name in plain:
        assert fields_by(schema, name) == fields_by(SHIPPED[address], name)
        assert fields_by(BARE, name) == fields_by(SHIPPED[address], name)


def fields_by(schema, name):
    fields = {}
    schema.read(value_of(name), 0, fields)
    return fields
