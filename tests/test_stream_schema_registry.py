"""A registry is asked once for what never changes, seldom for what it does not have, and never for long."""

import contextlib
import json
import socket
import ssl
import threading
import time
import tracemalloc

import pytest
import trustme
from registry import answering

from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import DeploymentError, InvalidSettings, RegistryUnavailable, UnknownSchema, UnusableSchema
from schemas.writer_schema import shipped_schema
from stream.broker.schema_registry import (
    KEPT_SCHEMAS,
    LOOK_UP_S,
    OUTAGE_S,
    SHARE,
    UNKNOWN_S,
    Answer,
    SchemaRegistry,
    find_schema_by,
    http_request,
)
from stream.settings import RegistrySettings, Settings, load_settings

URL = "https://registry.example:8081/apis"
SCHEMA = json.dumps(AVRO_SCHEMA)
RECORD = EcgRecord(
    record_id="r-1", leads=LEADS, sample_rate_hz=500.0, microvolts_per_step=5.0, samples=bytes(48), site="ward 3"
)
NOT_THERE = Answer(404, b'{"error_code":40403,"message":"Schema not found"}')


def there(text=SCHEMA, **fields):
    return Answer(200, json.dumps({"schema": text} | fields).encode())


class Ward:
    """A registry whose answers are set, a clock that is set, and the paths that were asked for."""

    def __init__(self, *answers):
        self.now, self.asked, self.answers = 1000.0, [], list(answers)
        self.costs_s = 0.0
        self.find = SchemaRegistry(URL, self._answer, lambda: self.now)

    def _answer(self, path):
        self.asked.append(path)
        self.now += self.costs_s
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_schema_is_asked_for_once_and_reads_what_it_wrote():
    ward = Ward(there())
    for _ in range(3):
        assert decode_ecg(encode_ecg(RECORD, schema_id=7), None, ward.find) == RECORD
        ward.now += 1e6
    assert ward.asked == ["/schemas/ids/7"]


def test_an_unknown_id_is_named_and_does_not_cost_a_request_a_record():
    ward = Ward(NOT_THERE, there())
    for _ in range(100):
        with pytest.raises(UnknownSchema, match="schema 7, and the schema registry does not have it") as refusal:
            decode_ecg(encode_ecg(RECORD, schema_id=7), None, ward.find)
        assert refusal.value.numbers == {"schema_id": 7}
    assert ward.asked == ["/schemas/ids/7"]
    ward.now += UNKNOWN_S
    assert decode_ecg(encode_ecg(RECORD, schema_id=7), None, ward.find) == RECORD


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (ConnectionRefusedError("refused"), "cannot be reached: refused"),
        (Answer(503, b"<html>"), "answers 503"),
        (Answer(500, b"{}"), "answers 500"),
        (Answer(404, b'{"error_code":404}'), "answers 404, and not as a registry does"),
        (Answer(302, b""), "answers 302"),
        (Answer(200, b"<html>welcome</html>"), "not as a registry does"),
        (Answer(200, b"[" * 100_000), "not as a registry does"),
        (Answer(200, b'{"schema": 7}'), "not as a registry does"),
        (Answer(401, b""), r"refuses our credentials \(401\): check CARDIACNETS_SCHEMA_REGISTRY_USER"),
        (Answer(403, b"{}"), r"refuses our credentials \(403\)"),
    ],
)
def test_an_outage_is_the_moments_fault_is_remembered_for_a_moment_and_passes(trouble, said):
    ward = Ward(trouble, there())
    for _ in range(100):
        with pytest.raises(RegistryUnavailable, match=said):
            decode_ecg(encode_ecg(RECORD, schema_id=7), None, ward.find)
    assert len(ward.asked) == 1
    ward.now += OUTAGE_S
    assert decode_ecg(encode_ecg(RECORD, schema_id=7), None, ward.find) == RECORD


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (there('"string"'), "schema 7: the schema does not describe a record"),
        (there("{", schemaType="AVRO"), "schema 7: the schema is not JSON"),
        (there('syntax = "proto3";', schemaType="PROTOBUF"), "schema 7 is not an Avro schema"),
        (there(json.dumps(AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:5]})), "lacks fields"),
    ],
)
def test_a_schema_that_does_not_resolve_is_refused_for_good_and_named(answer, said):
    ward = Ward(answer)
    for _ in range(3):
        with pytest.raises(UnusableSchema, match=said) as refusal:
            ward.find(7)
        assert refusal.value.numbers == {"schema_id": 7}
        ward.now += 1e6
    assert len(ward.asked) == 1


def test_each_refusal_is_an_error_of_its_own():
    ward = Ward(NOT_THERE)
    refusals = []
    for _ in range(2):
        with pytest.raises(UnknownSchema) as refusal:
            ward.find(7)
        refusals.append(refusal.value)
    refusals[0].record_id = "r-1"
    assert refusals[1].record_id is None
    assert str(refusals[0]) == str(refusals[1])


ADDRESSES = [
    f"{URL}/schemas/ids/7",
    "https://REGISTRY.example:8081/apis/schemas/ids/7",
    f"{URL}/subjects/ecg.records.v1-value/versions/3",
    f"{URL}/subjects/a%2Fb/versions/1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_in_the_registry_is_looked_up(address):
    ward = Ward(there(id=7))
    assert decode_ecg(encode_ecg(RECORD, schema_id=7), address.encode(), ward.find) == RECORD
    assert ward.asked == ["/" + address.split("/apis/", 1)[1]]


ELSEWHERE = [
    "https://evil.example/apis/schemas/ids/7",
    "http://registry.example:8081/apis/schemas/ids/7",
    "https://registry.example/apis/schemas/ids/7",
    "https://registry.example:8081/schemas/ids/7",
    "https://registry.example:8081.evil.example/apis/schemas/ids/7",
    "https://registry.example:8081@evil.example/apis/schemas/ids/7",
    "https://evil.example@registry.example:8081/apis/schemas/ids/7",
    "https://registry.example:8081/apisx/schemas/ids/7",
    f"{URL}/schemas/ids/7?deleted=true",
    f"{URL}/schemas/ids/7#x",
    f"{URL}/schemas/ids/7/versions",
    f"{URL}/schemas/ids/../../admin/7",
    f"{URL}/schemas/ids/-1",
    f"{URL}/schemas/ids/٧",
    f"{URL}/subjects/x/versions/latest",
    f"{URL}/subjects/x/y/versions/1",
    f"{URL}/subjects/ä/versions/1",
    f"{URL}/subjects/x\x01/versions/1",
    f"{URL}/subjects/x y/versions/1",
    f"{URL}/subjects/x versions/versions/1\r\nHost: evil.example",
    f"{URL}/config",
    "file:///etc/passwd",
    "https://[::1",
    "//registry.example:8081/apis/schemas/ids/7",
    "/schemas/ids/7",
    "",
]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_address_elsewhere_is_refused_and_nobody_is_asked(address):
    ward = Ward(there())
    with pytest.raises(UnknownSchema, match="no address of a schema in the registry"):
        decode_ecg(encode_ecg(RECORD), address.encode(), ward.find)
    assert not ward.asked


def test_our_own_versions_need_no_registry():
    ward = Ward(ConnectionRefusedError())
    address = b"urn:cardiacnets:schema:v1.1:ecg_record.avsc"
    assert decode_ecg(encode_ecg(RECORD), address, ward.find) == RECORD
    assert not ward.asked


def test_an_id_that_no_registry_gives_is_refused_and_nobody_is_asked():
    ward = Ward(Answer(404, b'{"error_code":0}'))
    with pytest.raises(UnknownSchema, match="schema 4294967295"):
        decode_ecg(b"\0\xff\xff\xff\xff" + encode_ecg(RECORD), None, ward.find)
    assert not ward.asked


def test_look_ups_that_take_long_are_rationed():
    ward = Ward(NOT_THERE)
    ward.costs_s = 0.4
    for schema_id in range(100):
        with pytest.raises((UnknownSchema, RegistryUnavailable)):
            ward.find(schema_id)
    assert LOOK_UP_S / ward.costs_s <= len(ward.asked) <= LOOK_UP_S / ward.costs_s / (1 - SHARE) + 1
    ward.now += ward.costs_s / SHARE
    with pytest.raises(UnknownSchema):
        ward.find(1000)
    with pytest.raises(RegistryUnavailable, match="too slow"):
        ward.find(1001)


@pytest.mark.parametrize("status", [200, 502])
def test_what_is_kept_of_a_refusal_does_not_keep_the_answer(status):
    find = SchemaRegistry(URL, lambda _path: Answer(status, b'{"schema": "' + bytes(b"x" * 2**19) + b'"}'))
    tracemalloc.start()
    try:
        for schema_id in range(100):
            with pytest.raises((UnusableSchema, RegistryUnavailable)):
                find(schema_id)
        assert tracemalloc.get_traced_memory()[0] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_many_unknown_ids_at_a_quick_registry_are_all_looked_up():
    ward = Ward(NOT_THERE)
    ward.costs_s = 0.01
    for schema_id in range(2000):
        with pytest.raises(UnknownSchema):
            ward.find(schema_id)
    assert len(ward.asked) == 2000


def test_an_outage_keeps_its_number_until_the_registry_answers():
    ward, outages = Ward(OSError("away"), OSError("away"), NOT_THERE, OSError("away")), []
    for schema_id in (1, 2, 3, 4):
        with pytest.raises((UnknownSchema, RegistryUnavailable)) as refused:
            ward.find(schema_id)
        outages.append(getattr(refused.value, "outage", None))
    assert outages == [1, 1, None, 2]


def test_what_is_kept_is_bounded_and_what_is_used_stays():
    ward = Ward(there())
    for schema_id in range(1, KEPT_SCHEMAS + 100):
        ward.find(schema_id)
        ward.find(1)
    assert ward.asked.count("/schemas/ids/1") == 1
    ward.find(2)
    assert ward.asked.count("/schemas/ids/2") == 2


def test_whoever_asks_waits_no_longer_than_the_limit_and_one_request_is_stuck_at_most():
    release, asked = threading.Event(), []

    def request(path):
        asked.append(path)
        release.wait(60)
        return there()

    find = SchemaRegistry(URL, request)
    began = time.monotonic()
    try:
        with pytest.raises(RegistryUnavailable, match="did not answer within"):
            find(1)
        assert LOOK_UP_S <= time.monotonic() - began < LOOK_UP_S + 60
        for schema_id in range(2, 50):
            with pytest.raises(RegistryUnavailable):
                find(schema_id)
        assert asked == ["/schemas/ids/1"]
    finally:
        release.set()


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, None),
        ({"user": "ward", "password": "p:ss"}, "Basic d2FyZDpwOnNz"),
        ({"token": "t0ken"}, "Bearer t0ken"),
    ],
)
def test_the_credentials_are_sent_and_go_along_with_no_redirect(settings, sent):
    with answering((200, {}, b"elsewhere")) as (other, other_port):
        location = {"Location": f"http://127.0.0.1:{other_port}/"}
        with answering((302, location, b"")) as (one, port):
            request = http_request(RegistrySettings(url=f"http://127.0.0.1:{port}/base/", **settings))
            assert request("/schemas/ids/7").status == 302
        ((path, headers),) = one.requests
        assert (path, headers.get("Authorization")) == ("/base/schemas/ids/7", sent)
        assert not other.requests


def test_an_answer_without_end_is_cut():
    with answering((200, {}, b"x" * (3 * 2**20))) as (_, port):
        assert len(http_request(RegistrySettings(url=f"http://127.0.0.1:{port}"))("/").body) == 2**20


def test_a_server_that_answers_byte_by_byte_is_hung_up_on():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        server = threading.Thread(target=drip)
        server.start()
        try:
            request = http_request(RegistrySettings(url=f"http://127.0.0.1:{listener.getsockname()[1]}"))
            assert len(request("/schemas/ids/7").body) < 1_000_000
        finally:
            ended.set()
            server.join()


def test_a_registry_behind_tls_is_asked_if_its_authority_is_known(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with answering((200, {}, json.dumps({"schema": SCHEMA}).encode()), context) as (_, port):
        url = f"https://127.0.0.1:{port}"
        find = find_schema_by(RegistrySettings(url=url, ca_file=tmp_path / "ca.pem"))
        assert decode_ecg(encode_ecg(RECORD, schema_id=7), None, find) == RECORD
        with pytest.raises(RegistryUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            find_schema_by(RegistrySettings(url=url))(7)


def test_a_certificate_authority_that_is_not_there_is_refused_by_name(tmp_path):
    settings = RegistrySettings(url="https://registry", ca_file=tmp_path / "absent.pem")
    with pytest.raises(DeploymentError, match="CARDIACNETS_SCHEMA_REGISTRY_CA_FILE=.*absent.pem"):
        find_schema_by(settings)


def test_without_a_registry_our_own_schemas_are_known():
    assert find_schema_by(RegistrySettings()) is shipped_schema


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"": "registry:8081"}, "CARDIACNETS_SCHEMA_REGISTRY"),
        ({"": "https://user:secret@registry"}, "CARDIACNETS_SCHEMA_REGISTRY"),
        ({"": "https://registry:99999"}, "is not an address such as"),
        ({"_USER": "u", "_PASSWORD": "p"}, "need schema_registry"),
        ({"": "https://r", "_USER": "u"}, "go together"),
        ({"": "https://r", "_USER": "u", "_PASSWORD": "p", "_TOKEN": "t"}, "set one of the two"),
        ({"": "http://r", "_CA_FILE": "/ca.pem"}, "begins with https://"),
    ],
)
def test_settings_of_a_registry_that_would_be_ignored_are_refused(changes, said):
    with pytest.raises(InvalidSettings, match=said):
        load_settings({f"CARDIACNETS_SCHEMA_REGISTRY{name}": value for name, value in changes.items()})


@pytest.mark.parametrize("token", ["top-secret\n", "top secret", "top-\u20acsecret", ""])
def test_a_token_that_no_header_takes_is_refused_before_an_error_can_show_it(token):
    with pytest.raises(InvalidSettings, match="CARDIACNETS_SCHEMA_REGISTRY_TOKEN") as refused:
        Settings.of(schema_registry="https://registry", schema_registry_token=token)
    assert "secret" not in str(refused.value)
