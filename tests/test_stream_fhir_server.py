"""A FHIR server takes each resource once, whatever happens between: on a real server, and on one that fails."""

import ssl
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
import trustme
from fhir_reports import EVERY_MEASUREMENT, alert, report
from fhir_servers import medplum, small_server
from secure_door import server_context

from inference.fhir import compose_resources
from inference.fhir_code_system import code_resources
from inference.fhir_flag import compose_flag_resources
from inference.fhir_transaction import MOST_ENTRIES, addresses, batches, transaction
from schemas.errors import InvalidSettings
from stream.fhir_server import MOST_WAIT_S, WAITS_S, BundleRefused, FhirServer, FhirServerUnusable, Taken
from stream.settings import FhirSettings

pytestmark = pytest.mark.servers

WHOLE = compose_resources(report(ecg_measurements=EVERY_MEASUREMENT))
OUTCOME = msgspec.json.encode(
    {
        "resourceType": "OperationOutcome",
        "issue": [
            {"severity": "error", "code": "invalid", "diagnostics": "no such unit", "expression": ["Observation"]}
        ],
    }
)


@pytest.fixture
def small():
    with small_server() as server:
        yield server


def fhir_server(server, waits=None, **settings):
    return FhirServer(server.url, FhirSettings(**settings), wait=[].append if waits is None else waits.append)


def test_a_real_server_takes_a_report_and_an_alert_once_and_gives_back_what_was_posted(tmp_path):
    with medplum(tmp_path) as real:
        server = fhir_server(real)
        taken = [server.post(WHOLE), server.post(WHOLE), server.post(compose_resources(report(1)))]
        assert taken == [Taken(15, 0, 0), Taken(0, 15, 0), Taken(6, 1, 0)]
        (device,) = real.search("Device")
        (head,) = real.search("DiagnosticReport?identifier=urn:cardiacnets:report|report-0")
        to_risks = head["extension"][0]["valueReference"]["reference"]
        (risks,) = [each for each in real.search("RiskAssessment") if f"RiskAssessment/{each['id']}" == to_risks]
        (provenance,) = [each for each in real.search("Provenance") if f"t/{head['id']}" in str(each["target"])]
        observations = {f"Observation/{each['id']}": each for each in real.search("Observation")}
        assert len(observations) == 11 + 3
        posted = {each["id"]: each for each in WHOLE}
        for result in head["result"]:
            found = observations[result["reference"]]
            original = posted[found["identifier"][0]["value"]]
            for name in original.keys() - {"id", "meta", "device"}:
                assert found[name] == original[name]
            assert found["device"] == {"reference": f"Device/{device['id']}"}
        assert [each["outcome"] for each in risks["prediction"]] == [
            each["outcome"] for each in WHOLE[-3]["prediction"]
        ]
        assert "urn:uuid:" not in str((head, risks, provenance))
        raised, over = (compose_flag_resources(alert(status=status)) for status in ("raised", "acknowledged"))
        assert [server.post(raised), server.post(over)] == [Taken(1, 1, 0), Taken(0, 1, 1)]
        assert [each["status"] for each in real.search("Flag")] == ["inactive"]
        assert [server.post(code_resources()), server.post(code_resources())] == [Taken(6, 0, 0), Taken(0, 0, 6)]
        nine = [each for part in (WHOLE, compose_resources(report(2))) for each in part][: MOST_ENTRIES + 1]
        with pytest.raises(BundleRefused, match="too many entries"):
            server._answer(msgspec.json.encode(transaction(nine)))


def test_a_transaction_never_has_more_entries_than_servers_take():
    sizes = [len(part) for part in batches(WHOLE)]
    assert sizes == [8, 7]
    assert max(sizes) <= MOST_ENTRIES


def test_no_transaction_refers_to_one_that_is_not_posted_yet():
    first, second = batches(WHOLE)
    known = addresses(first, [f"{each['resourceType']}/{n}" for n, each in enumerate(first)])
    own = {entry["fullUrl"] for entry in transaction(second)["entry"]}
    left = [each for each in own.union(known) if str(transaction(second, known)).count(f"'reference': '{each}'")]
    assert set(left) <= own
    assert "'reference': 'Device/0'" in str(transaction(second, known))


def test_where_a_server_does_not_say_where_a_resource_is_a_search_refers_to_it():
    (known,) = addresses(WHOLE[:1], [""]).values()
    assert known == f"Device?identifier=urn%3Acardiacnets%3Aresource%7C{WHOLE[0]['id']}"
    assert addresses(WHOLE[:1], ["https://a/fhir/Device/7/_history/2"]) == {f"urn:uuid:{WHOLE[0]['id']}": "Device/7"}


def test_an_answer_that_is_lost_leaves_nothing_twice(small):
    small.faults.extend(["lost", None, "lost"])
    waits = []
    server = fhir_server(small, waits)
    assert server.post(WHOLE) == Taken(0, 15, 0), "each transaction had been taken when its answer was lost"
    assert len(small.stored) == 15
    assert waits == [WAITS_S[0]] * 2
    assert server.retries == 2


def test_a_busy_server_is_asked_again_when_it_says_so(small):
    soon = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
    small.faults.extend(
        [
            (429, {"Retry-After": "7"}, b""),
            (503, {}, b""),
            (503, {"Retry-After": soon}, b""),
            (503, {"Retry-After": "?"}, b""),
        ]
    )
    waits = []
    assert fhir_server(small, waits).post(WHOLE) == Taken(15, 0, 0)
    assert waits == [7.0, WAITS_S[1], 0.0, WAITS_S[3]]


def test_a_server_that_stays_busy_or_wants_a_long_wait_ends_the_run(small):
    small.faults.extend([(503, {}, b"")] * (len(WAITS_S) + 1))
    waits = []
    with pytest.raises(FhirServerUnusable, match="answers 503 Service Unavailable: run the same command again later"):
        fhir_server(small, waits).post(WHOLE)
    assert waits == list(WAITS_S)
    small.faults.append((429, {"Retry-After": str(int(MOST_WAIT_S) + 1)}, b""))
    with pytest.raises(FhirServerUnusable, match="wants us to wait for 61 s"):
        fhir_server(small).post(WHOLE)
    assert not small.stored


def test_nobody_there_is_said_after_the_last_try(small):
    waits = []
    gone = FhirServer("http://127.0.0.1:1/fhir", FhirSettings(), wait=waits.append)
    with pytest.raises(FhirServerUnusable, match=r"--server http://127.0.0.1:1/fhir: no server answered 6 tries"):
        gone.post(WHOLE)
    assert waits == list(WAITS_S)


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (401, {}, b"", "401 Unauthorized: check CARDIACNETS_FHIR_TOKEN"),
        (404, {}, OUTCOME, "check that the address is the base of a FHIR R4 server. no such unit at Observation"),
        (307, {"Location": "https://elsewhere/"}, b"", "it sends us elsewhere, where no token goes"),
        (200, {}, b"<html>", "does not answer as to a transaction"),
        (200, {}, b'{"type": "transaction-response", "entry": []}', "does not answer as to a transaction"),
    ],
)
def test_what_is_wrong_with_the_server_is_said_with_what_to_do(small, status, headers, body, words):
    small.faults.append((status, headers, body))
    with pytest.raises(FhirServerUnusable, match="--server http") as raised:
        fhir_server(small, token="t").post(WHOLE)
    assert words in str(raised.value)
    assert len(small.requests) == 1


def test_what_a_server_refuses_is_said_in_its_own_words(small):
    for status, body, words in (
        (422, OUTCOME, r"422 Unprocessable Entity\): no such unit at Observation"),
        (400, b"\xff", "it does not say why"),
        (400, b'{"issue": [7, {"details": {"text": "a\\u202eb"}}]}', "a⟨U\\+202E⟩b"),
    ):
        small.faults.append((status, {}, body))
        with pytest.raises(BundleRefused, match=words):
            fhir_server(small).post(WHOLE)


def test_a_token_goes_over_tls_to_a_server_whose_certificate_is_trusted_alone(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with small_server(server_context(authority)) as small:
        assert fhir_server(small, token="abc", ca_file=tmp_path / "ca.pem").post(WHOLE) == Taken(15, 0, 0)
        assert Counter(headers["Authorization"] for _, headers in small.requests) == {"Bearer abc": 2}
        with pytest.raises(FhirServerUnusable, match="not trusted; set CARDIACNETS_FHIR_CA_FILE") as raised:
            fhir_server(small, token="abc").post(WHOLE)
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
        assert len(small.requests) == 2


@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("ehr.example/fhir", {}, "takes the base of a FHIR R4 server"),
        ("https://u:p@ehr.example/fhir", {}, "without user, password and query"),
        ("https://ehr.example/fhir?x=1", {}, "without user, password and query"),
        ("https://ehr.example:99999/fhir", {}, "takes the base of a FHIR R4 server"),
        ("http://ehr.example/fhir", {"token": "abc"}, "begins with https://: others could read it"),
        ("http://127.0.0.1/fhir", {"ca_file": "ca.pem"}, "CARDIACNETS_FHIR_CA_FILE needs"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_is_sent(url, settings, words):
    with pytest.raises(InvalidSettings, match=words) as raised:
        FhirServer(url, FhirSettings(**settings))
    assert "abc" not in str(raised.value)
    assert "u:p" not in str(raised.value)
