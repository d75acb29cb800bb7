"""A record is read by its writer's schema and resolved into ours by name; a schema that cannot be is refused once."""

import contextlib
import io
import itertools
import json
import time
import tracemalloc
from datetime import UTC, datetime

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro_types import MAX_DEPTH, MAX_SCHEMA_BYTES, MAX_TYPES
from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import Remark
from schemas.errors import MalformedRecord, OversizedRecord, UnusableSchema
from schemas.record_limits import MAX_VALUE_BYTES
from schemas.writer_schema import resolve_schema

OURS = {field["name"]: field["type"] for field in AVRO_SCHEMA["fields"]}
RECORD = {
    "record_id": "ecg-1",
    "patient_id": "p-1",
    "device_id": "cart-1",
    "recorded_at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "age_years": 61.0,
    "sex": "female",
    "paced": True,
    "leads": ["I", "II"],
    "sample_rate_hz": 500.0,
    "microvolts_per_step": 5.0,
    "n_samples": 3,
    "encoding": "RAW",
    "samples": bytes(range(12)),
    "site": "ward 3",
    "remarks": [{"code": "electrode_off", "detail": "V3 was off"}],
}
REMARKS = (Remark("electrode_off", "V3 was off"),)
OPTIONAL = ["patient_id", "device_id", "recorded_at", "age_years", "sex", "paced", "site", "remarks"]
names = (f"foreign{number}" for number in itertools.count())


def schema_of(types, **changes):
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "EcgRecord", "namespace": "org.example", "fields": fields} | changes


def remark_of(**types):
    fields = [{"name": name, "type": kind} for name, kind in ({"code": "string", "detail": "string"} | types).items()]
    return {"type": "record", "name": "Remark", "fields": fields}


def written(schema, values):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), values)
    return out.getvalue()


def framed(value, schema_id=7):
    return b"\0" + schema_id.to_bytes(4, "big") + value


def read_by(schema, value):
    resolved = resolve_schema(json.dumps(schema), 7)
    return decode_ecg(framed(value), None, lambda schema_id: {7: resolved}[schema_id])


def read(types, **values):
    schema = schema_of(types)
    return read_by(schema, written(schema, RECORD | values))


def assert_read_right(record, but=()):
    for name in set(RECORD) - {"n_samples", "encoding", *but}:
        expected = RECORD | {"leads": tuple(RECORD["leads"]), "remarks": REMARKS}
        assert getattr(record, name) == expected[name], name


# Types and values that no one of our fields has, named types among them, each under a name of its own.
foreign_types = st.recursive(
    st.sampled_from([("boolean", True), ("long", -(2**60)), ("double", 0.5), ("bytes", b"\0" * 70), ("string", "µ")])
    | st.builds(lambda: ({"type": "fixed", "name": next(names), "size": 3}, b"abc"))
    | st.builds(lambda: ({"type": "enum", "name": next(names), "symbols": ["A", "B"]}, "B")),
    lambda inner: (
        inner.map(lambda one: ({"type": "array", "items": one[0]}, [one[1]] * 3))
        | inner.map(lambda one: ({"type": "map", "values": one[0]}, {"k": one[1], "l": one[1]}))
        | inner.map(lambda one: one if isinstance(one[0], list) else (["null", one[0]], None))
        | inner.map(lambda one: one if isinstance(one[0], list) else ([one[0], "null"], one[1]))
        | inner.map(
            lambda one: (
                {"type": "record", "name": next(names), "fields": [{"name": "x", "type": one[0]}]},
                {"x": one[1]},
            )
        )
    ),
    max_leaves=6,
)


@given(
    st.permutations(list(RECORD)), st.sets(st.sampled_from(OPTIONAL)), st.lists(foreign_types, max_size=4), st.data()
)
def test_fields_in_any_order_with_foreign_ones_between_and_optional_ones_absent_are_read_right(
    order, absent, foreign, data
):
    fields = [(name, OURS[name], RECORD[name]) for name in order if name not in absent]
    for number, (kind, value) in enumerate(foreign):
        fields.insert(data.draw(st.integers(0, len(fields))), (f"extra{number}", kind, value))
    schema = schema_of({name: kind for name, kind, _ in fields})
    value = written(schema, {name: value for name, _, value in fields})
    record = read_by(schema, value)
    assert_read_right(record, but=absent)
    assert all(getattr(record, name) == (() if name == "remarks" else None) for name in absent)
    with pytest.raises((MalformedRecord, OversizedRecord)):
        read_by(schema, value[: data.draw(st.integers(0, len(value) - 1))])
    with pytest.raises(MalformedRecord):
        read_by(schema, value + b"\0")


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("sample_rate_hz", "int", 500),
        ("sample_rate_hz", "float", 500.0),
        ("microvolts_per_step", "long", 5),
        ("age_years", "float", 61.0),
        ("age_years", ["int", "null"], 61),
        ("record_id", "bytes", b"ecg-1"),
        ("record_id", ["null", "string"], "ecg-1"),
        ("record_id", {"type": "string", "logicalType": "uuid"}, "ecg-1"),
        ("samples", ["null", "bytes"], RECORD["samples"]),
        ("samples", "string", RECORD["samples"].decode()),
        ("leads", {"type": "array", "items": ["null", "string"]}, ["I", "II"]),
        ("paced", "boolean", True),
        ("sex", {"type": "enum", "name": "Sex", "symbols": ["male", "other", "female"]}, "female"),
        ("recorded_at", {"type": "long", "logicalType": "timestamp-millis"}, RECORD["recorded_at"]),
        ("recorded_at", "long", int(RECORD["recorded_at"].timestamp() * 1e6)),
        (
            "recorded_at",
            ["long", {"type": "array", "items": "long"}],
            int(RECORD["recorded_at"].timestamp() * 1e6),
        ),
        ("site", ["null", "int", "string"], "ward 3"),
        (
            "remarks",
            {"type": "array", "items": remark_of(detail="bytes")},
            [{"code": "electrode_off", "detail": b"V3 was off"}],
        ),
        (
            "remarks",
            {
                "type": "array",
                "items": remark_of(at={"type": "long", "logicalType": "timestamp-millis"}, lead="string"),
            },
            [{"code": "electrode_off", "detail": "V3 was off", "at": 2**62, "lead": "V3"}],
        ),
    ],
)
def test_a_type_that_avro_takes_for_ours_is_taken(name, kind, value):
    assert_read_right(read(OURS | {name: kind}, **{name: value}))


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("record_id", ["null", "string"], None),
        ("site", ["null", "int", "string"], 3),
        ("samples", ["null", "bytes"], None),
        ("sex", {"type": "enum", "name": "Sex", "symbols": ["male", "other", "female"]}, "other"),
        ("leads", {"type": "array", "items": ["null", "string"]}, ["I", None]),
        ("record_id", "bytes", b"\xff"),
        ("recorded_at", {"type": "long", "logicalType": "timestamp-millis"}, 2**62),
    ],
)
def test_a_value_that_does_not_resolve_is_refused_though_its_schema_does(name, kind, value):
    with pytest.raises(MalformedRecord):
        read(OURS | {name: kind}, **{name: value})


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({name: kind for name, kind in OURS.items() if name != "leads"}, "lacks fields that every record needs: leads"),
        (OURS | {"n_samples": "long"}, "n_samples is of type long"),
        (OURS | {"samples": {"type": "array", "items": "int"}}, "samples is of type array"),
        (OURS | {"leads": {"type": "array", "items": "long"}}, "leads is of type array"),
        (OURS | {"sex": "string"}, "sex is of type string"),
        (OURS | {"sex": {"type": "enum", "name": "Gender", "symbols": ["female", "male"]}}, "sex is of type enum"),
        (OURS | {"sex": {"type": "enum", "name": "Sex", "symbols": ["F", "M"]}}, "sex is of type enum"),
        (OURS | {"recorded_at": "double"}, "recorded_at is of type double"),
        (
            OURS | {"recorded_at": {"type": "long", "logicalType": "timestamp-nanos"}},
            "recorded_at is a timestamp-nanos",
        ),
        (
            OURS | {"recorded_at": ["null", {"type": "long", "logicalType": "local-timestamp-millis"}]},
            "recorded_at is a local-timestamp-millis: write a timestamp-millis",
        ),
        (OURS | {"remarks": {"type": "array", "items": "string"}}, "remarks is of type array"),
        (OURS | {"remarks": {"type": "array", "items": remark_of(detail="int")}}, "remarks is of type array"),
        (OURS | {"remarks": {"type": "array", "items": remark_of() | {"name": "Note"}}}, "remarks is of type array"),
        (OURS | {"site": ["null", "int"]}, None),
    ],
)
def test_a_schema_that_no_record_could_be_resolved_by_is_refused_and_the_field_is_named(types, said):
    if said is None:  # a null is enough for this field
        assert resolve_schema(json.dumps(schema_of(types)))
        return
    with pytest.raises(UnusableSchema, match=said):
        resolve_schema(json.dumps(schema_of(types)))


def of_extra(kind):
    return schema_of({"extra": kind} | OURS)


def doubling(depth):
    kind = "long"
    for level in range(depth):
        fields = [{"name": side, "type": kind if side == "a" or level == 0 else f"L{level - 1}"} for side in "ab"]
        kind = {"type": "record", "name": f"L{level}", "fields": fields}
    return kind


def nested(depth):
    kind = "long"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


COSTLY = {
    "an array of nulls": of_extra({"type": "array", "items": "null"}),
    "an array of records without bytes": of_extra(
        {
            "type": "array",
            "items": {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]},
        }
    ),
    "an array of empty records": of_extra({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}),
    "an array of fixed without bytes": of_extra({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}),
    "a map of nulls": of_extra({"type": "map", "values": "null"}),
    "a huge fixed": of_extra({"type": "fixed", "name": "F", "size": 2**31}),
    "a type that contains itself": of_extra(
        {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
    ),
    "a record that contains itself": of_extra(["null", "EcgRecord"]),
    "types that double": of_extra(doubling(12)),
    "deep types": of_extra(nested(MAX_DEPTH + 1)),
    "many fields": schema_of(OURS | {f"x{number}": "long" for number in range(MAX_TYPES)}),
}


@pytest.mark.parametrize("schema", COSTLY.values(), ids=COSTLY)
def test_a_schema_that_would_make_a_short_record_costly_is_refused(schema):
    with pytest.raises(UnusableSchema):
        resolve_schema(json.dumps(schema))


NO_SCHEMAS = {
    "nothing": "",
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "long text": '"' + "x" * MAX_SCHEMA_BYTES + '"',
    "a string": '"string"',
    "a number": "7",
    "an unknown name": '{"type":"Ecg"}',
    "a record of another name": json.dumps(schema_of(OURS, name="Ecg")),
    "a record without fields": '{"type":"record","name":"EcgRecord"}',
    "fields that are no list": '{"type":"record","name":"EcgRecord","fields":{"a":1}}',
    "a field without a type": '{"type":"record","name":"EcgRecord","fields":[{"name":"x"}]}',
    "a field without a name": '{"type":"record","name":"EcgRecord","fields":[{"type":"long"}]}',
    "a record without a name": '{"type":"record","fields":[{"name":"x","type":"long"}]}',
    "two fields of one name": json.dumps(
        schema_of(OURS) | {"fields": [{"name": "samples", "type": "bytes"}, *AVRO_SCHEMA["fields"]]}
    ),
    "a type that is defined twice": json.dumps(
        schema_of(
            {"a": {"type": "fixed", "name": "F", "size": 1}, "b": {"type": "fixed", "name": "F", "size": 2}} | OURS
        )
    ),
    "a reference to another schema": json.dumps(of_extra("org.example.Battery")),
    "a union in a union": json.dumps(of_extra(["null", ["long"]])),
    "a union without branches": json.dumps(of_extra([])),
    "an enum without symbols": json.dumps(of_extra({"type": "enum", "name": "E", "symbols": []})),
    "a size that is no number": json.dumps(of_extra({"type": "fixed", "name": "F", "size": "1"})),
}


@pytest.mark.parametrize("text", NO_SCHEMAS.values(), ids=NO_SCHEMAS)
def test_what_is_no_schema_of_an_ecg_is_refused(text):
    with pytest.raises(UnusableSchema) as refusal:
        resolve_schema(text)
    assert len(str(refusal.value)) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["type", "name", "fields", "items", "symbols", "values", "size", "logicalType"]), x
            )
        ),
    )
)
def test_any_json_is_a_schema_or_refused(tree):
    with pytest.raises(UnusableSchema):
        resolve_schema(json.dumps(tree))


def nodes_of(tree):
    """Yield every list and dictionary of a schema."""
    if isinstance(tree, dict | list):
        yield tree
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from nodes_of(child)


PARTS = [None, True, 0, -1, 1.5, "", "null", "long", "Sex", "fixed", [], {}, ["null", "long"], [1], {"type": "long"}]
PARTS += [{"type": "array", "items": "long"}, {"type": "long", "logicalType": "timestamp-millis"}, "timestamp-nanos"]
KEYS = ["type", "name", "fields", "items", "values", "symbols", "size", "logicalType", "namespace", "default"]


@settings(max_examples=500)
@given(st.data())
def test_a_schema_of_ours_with_anything_changed_is_a_schema_or_refused(data):
    schema = json.loads(json.dumps(schema_of({"vitals": {"type": "map", "values": "string"}} | OURS)))
    for _ in range(data.draw(st.integers(1, 3))):
        nodes = list(nodes_of(schema))
        node = nodes[data.draw(st.integers(0, len(nodes) - 1))]
        part = json.loads(json.dumps(data.draw(st.sampled_from(PARTS))))
        if isinstance(node, dict):
            node[data.draw(st.sampled_from(KEYS))] = part
        else:
            node.insert(0, part)
    with contextlib.suppress(UnusableSchema):
        resolve_schema(json.dumps(schema))


@pytest.mark.parametrize("logical_type", [["a"], {"a": 1}, None, 7, "timestamp-eons", "local-timestamp-micros"])
def test_a_logical_type_of_a_foreign_field_does_not_matter(logical_type):
    schema = schema_of({"at": {"type": "long", "logicalType": logical_type}} | OURS)
    plain = schema_of({"at": "long"} | OURS)
    assert_read_right(read_by(schema, written(plain, {"at": 2**62} | RECORD)))


def test_a_named_type_may_be_used_again():
    battery = {"type": "record", "name": "Battery", "fields": [{"name": "volts", "type": "float"}]}
    types = {"left": battery, "right": "Battery", "spare": {"type": "array", "items": "org.example.Battery"}} | OURS
    volts = {"volts": 3.5}
    assert_read_right(read(types, left=volts, right=volts, spare=[volts, volts]))


FOREIGN = schema_of(
    {"tags": {"type": "map", "values": {"type": "array", "items": ["null", "string", "double"]}}}
    | dict(reversed(OURS.items()))
    | {"vitals": {"type": "record", "name": "V", "fields": [{"name": "rate", "type": ["null", "int"]}]}}
)
FOREIGN_VALUE = written(FOREIGN, RECORD | {"tags": {"a": ["x", None, 1.5], "b": []}, "vitals": {"rate": 61}})
BY_FOREIGN = resolve_schema(json.dumps(FOREIGN), 7)


@given(st.binary(max_size=300))
def test_random_bytes_by_a_foreign_schema_are_refused(value):
    with pytest.raises((MalformedRecord, OversizedRecord)):
        decode_ecg(framed(value), None, lambda _: BY_FOREIGN)


@given(st.data())
def test_changed_bytes_by_a_foreign_schema_give_a_refusal_or_a_record_that_can_be_encoded(data):
    assert_read_right(decode_ecg(framed(FOREIGN_VALUE), None, lambda _: BY_FOREIGN))
    value = bytearray(FOREIGN_VALUE)
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_ecg(framed(bytes(value)), None, lambda _: BY_FOREIGN)
    except (MalformedRecord, OversizedRecord):
        return
    assert decode_ecg(encode_ecg(decoded)) == decoded


def zigzag(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


ENDLESS = 2**62
HOSTILE = {
    "an array of endless doubles": ({"type": "array", "items": "double"}, zigzag(ENDLESS)),
    "an array of endless fixed": (
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 1}},
        zigzag(ENDLESS),
    ),
    "an array of endless bytes": ({"type": "array", "items": "bytes"}, zigzag(ENDLESS)),
    "an array of endless booleans": ({"type": "array", "items": "boolean"}, zigzag(ENDLESS)),
    "a map without end": ({"type": "map", "values": "long"}, zigzag(ENDLESS)),
    "bytes that claim 50 MB": ("bytes", zigzag(50 * 2**20)),
    "bytes of a size below 0": ("bytes", zigzag(-5)),
    "a branch that is none": (["null", "long"], zigzag(7)),
    "a million empty arrays": (
        {"type": "array", "items": {"type": "array", "items": "long"}},
        zigzag(2**20) + bytes(2**20),
    ),
    "a million records": (
        {"type": "array", "items": {"type": "record", "name": "R", "fields": [{"name": "x", "type": "boolean"}]}},
        zigzag(2**20) + bytes(2**20),
    ),
}


@pytest.mark.parametrize(("kind", "start"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_value_of_a_foreign_field_costs_neither_memory_nor_time(kind, start):
    resolved = resolve_schema(json.dumps(of_extra(kind)), 7)
    value = framed(start)
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRecord):
            decode_ecg(value, None, lambda _: resolved)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(value) + 2**20
    assert time.process_time() - began < 200


@pytest.mark.parametrize("name", ["record_id", "leads", "site"])
def test_our_own_fields_are_bounded_wherever_a_foreign_schema_puts_them(name):
    types = {"samples": "bytes", name: OURS[name]} | OURS
    many = ["x"] * 2**20 if name == "leads" else "x" * 2**20
    schema = schema_of(types)
    value = written(schema, RECORD | {name: many})
    resolved = resolve_schema(json.dumps(schema), 7)
    tracemalloc.start()
    try:
        with pytest.raises((MalformedRecord, OversizedRecord)):
            decode_ecg(framed(value), None, lambda _: resolved)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(value) + 2**20


def test_a_large_foreign_field_is_passed_over():
    types = {"picture": "bytes"} | OURS
    assert_read_right(read(types, picture=bytes(MAX_VALUE_BYTES - 2000)))
