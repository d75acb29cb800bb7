"""Framed records through a real registry: fields added, removed and in another order are read right."""

import asyncio
import io
import json
import urllib.error

import fastavro
import msgspec
import pytest
from harness import collect, good_values, ward
from registry import answering, running_registry
from waiting import PATIENCE_S, wait_until

from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.errors import UnknownSchema
from schemas.topics import ECG_RECORDS
from stream.broker.clients import new_producer
from stream.broker.schema_registry import find_schema_by
from stream.demo.embedded_servers import free_port
from stream.settings import RegistrySettings

pytestmark = pytest.mark.servers

FIELDS = {field["name"]: field for field in AVRO_SCHEMA["fields"]}
SUBJECT = "ecg.records.v1-value"
VITALS = {
    "type": "record",
    "name": "Vitals",
    "fields": [
        {"name": "heart_rate", "type": ["null", "int"]},
        {"name": "notes", "type": {"type": "map", "values": "string"}},
    ],
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as one:
        yield one


@pytest.fixture
def find(registry):
    return find_schema_by(RegistrySettings(url=registry.url))


def good_records(count):
    return [decode_ecg(value) for _, value in good_values(count).values()]


def schema_of(names, **more):
    """Return a schema of these of our fields, in this order, with more fields of these types among them."""
    fields = [FIELDS[name] for name in names]
    for place, (name, kind) in enumerate(more.items()):
        fields.insert(5 * place, {"name": name, "type": kind})
    return AVRO_SCHEMA | {"fields": fields}


def written(record, schema, schema_id, **more):
    values = {name: getattr(record, name) for name in FIELDS if name not in {"n_samples", "encoding"}}
    values |= {"n_samples": record.n_samples, "encoding": "RAW", "leads": list(record.leads)} | more
    out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, schema, values)
    return out.getvalue()


REMOVED = ["patient_id", "age_years", "paced"]
SHAPES = {
    "ours": (list(FIELDS), {}),
    "reversed": (list(FIELDS)[::-1], {}),
    "removed": ([name for name in FIELDS if name not in REMOVED], {}),
    "added": (list(FIELDS), {"firmware": "string", "vitals": VITALS, "battery_volts": "double"}),
    "all at once": (
        [name for name in sorted(FIELDS) if name not in REMOVED],
        {"firmware": "string", "vitals": VITALS, "battery_volts": "double"},
    ),
}
MORE = {
    "firmware": "4.2",
    "vitals": {"heart_rate": 61, "notes": {"a": "b", "c": "d"}},
    "battery_volts": 3.7,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_framed_with_a_registered_schema_is_read_right(registry, find, shape):
    names, more = SHAPES[shape]
    (record,) = good_records(1)
    schema = schema_of(names, **more)
    subject = f"carts-{shape.replace(' ', '-')}-value"
    schema_id = registry.register(subject, schema)
    value = written(record, schema, schema_id, **{name: MORE[name] for name in more})
    expected = {
        name: None if name in REMOVED and name not in names else getattr(record, name)
        for name in EcgRecord.__struct_fields__
    }
    assert {name: getattr(decode_ecg(value, None, find), name) for name in EcgRecord.__struct_fields__} == expected
    bare, address = value[5:], f"{registry.url}/subjects/{subject}/versions/1"
    if not bare.startswith(b"\0"):
        assert decode_ecg(bare, address.encode(), find) == decode_ecg(value, None, find)
    assert decode_ecg(value, f"{registry.url}/schemas/ids/{schema_id}".encode(), find) == decode_ecg(value, None, find)


def test_our_schema_grows_as_a_registry_wants_it(registry, find):
    first = AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:-1]}
    subject = "grows-value"
    first_id = registry.register(subject, first)
    registry.compatibility(subject, "BACKWARD")
    newest_id = registry.register(subject, AVRO_SCHEMA)
    needed = {"name": "bed", "type": "string"}
    with pytest.raises(urllib.error.HTTPError, match="409"):
        registry.register(subject, AVRO_SCHEMA | {"fields": [*AVRO_SCHEMA["fields"], needed]})
    (record,) = good_records(1)
    assert decode_ecg(written(record, first, first_id), None, find) == record
    assert decode_ecg(encode_ecg(record, schema_id=newest_id), None, find) == record


def test_an_id_or_an_address_that_the_registry_does_not_have_is_refused(registry, find):
    (record,) = good_records(1)
    with pytest.raises(UnknownSchema, match="schema 123456, and the schema registry does not have it"):
        decode_ecg(encode_ecg(record, schema_id=123456), None, find)
    for path in ("/schemas/ids/123456", "/subjects/nobody/versions/1", f"/subjects/{SUBJECT}/versions/99"):
        with pytest.raises(UnknownSchema, match="does not have it"):
            decode_ecg(encode_ecg(record), (registry.url + path).encode(), find)


async def publish(settings, messages):
    async with new_producer(settings.kafka) as producer:
        for key, value, headers in messages:
            await producer.send_and_wait(ECG_RECORDS, value, key=key, headers=headers)


def test_a_worker_answers_framed_records_with_reports_and_unknown_schemas_with_a_code(registry, tmp_path):
    records = good_records(4)
    schema = schema_of(sorted(FIELDS), firmware="string")
    schema_id = registry.register(SUBJECT, schema)
    at_site = msgspec.structs.replace(records[0], site="ward 3")
    value = written(at_site, schema, schema_id, firmware="4.2")
    address = f"{registry.url}/schemas/ids/{schema_id}".encode()
    messages = [
        (b"framed", value, []),
        (b"named", written(records[1], schema, schema_id, firmware="4.2"), [("ce_dataschema", address)]),
        (b"unknown", encode_ecg(records[2], schema_id=123456), []),
        (b"elsewhere", encode_ecg(records[2]), [("ce_dataschema", b"http://169.254.169.254/schemas/ids/1")]),
        (b"bare", encode_ecg(records[3]), []),
    ]
    with ward(tmp_path, schema_registry=registry.url, engine="onnxruntime") as here:
        here.start()
        asyncio.run(publish(here.settings, messages))
        answers = asyncio.run(collect(here.settings, until=lambda so_far: so_far.answered == len(messages)))
    assert set(answers.reports) == {records[0].record_id, records[1].record_id, records[3].record_id}
    assert answers.reports[records[0].record_id].site == "ward 3"
    said = {json.dumps(rejection.numbers): rejection for rejection in answers.rejections.values()}
    assert {rejection.code for rejection in said.values()} == {"unknown_schema"}
    assert "and the schema registry does not have it" in said['{"schema_id": 123456}'].detail
    assert "169.254.169.254" in said["{}"].detail


def test_a_registry_that_is_away_for_a_moment_costs_no_record(tmp_path):
    (record,) = good_records(1)
    port, answer = free_port(), (200, {}, json.dumps({"schema": json.dumps(AVRO_SCHEMA)}).encode())
    with ward(tmp_path, schema_registry=f"http://127.0.0.1:{port}", engine="onnxruntime") as here:
        worker = here.start()
        asyncio.run(publish(here.settings, [(b"framed", encode_ecg(record, schema_id=7), [])]))
        wait_until(lambda: "schema_registry_unavailable" in worker.log.read_text())
        with answering(answer, port=port) as (server, _):
            answers = asyncio.run(collect(here.settings, until=lambda so_far: so_far.answered))
    assert set(answers.reports) == {record.record_id}
    assert [path for path, _ in server.requests] == ["/schemas/ids/7"]


def test_a_worker_whose_record_waits_for_the_registry_ends_in_order_and_the_next_one_screens_it(tmp_path):
    (record,) = good_records(1)
    port, answer = free_port(), (200, {}, json.dumps({"schema": json.dumps(AVRO_SCHEMA)}).encode())
    with ward(tmp_path, schema_registry=f"http://127.0.0.1:{port}", engine="onnxruntime") as here:
        worker = here.start()
        asyncio.run(publish(here.settings, [(b"framed", encode_ecg(record, schema_id=7), [])]))
        wait_until(lambda: "schema_registry_unavailable" in worker.log.read_text())
        worker.process.terminate()
        assert worker.process.wait(PATIENCE_S) == 0
        with answering(answer, port=port):
            here.start()
            answers = asyncio.run(collect(here.settings, until=lambda so_far: so_far.answered))
    assert set(answers.reports) == {record.record_id}
    assert not answers.rejections
