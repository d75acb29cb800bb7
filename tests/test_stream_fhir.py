"""`cardiacnets fhir`: reports and alerts in, Bundles out."""

import io
import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import msgspec
import pytest
from fhir_reports import alert, report
from fhir_servers import small_server
from waiting import PATIENCE_S, wait_until

from inference.fhir import compose_resources, encode_bundle
from inference.fhir_code_system import code_resources
from inference.fhir_flag import compose_flag_bundle
from inference.fhir_parts import BY_AI
from inference.fhir_transaction import transaction
from inference.screen_files import Rejected, Screened
from schemas.errors import InvalidSettings, MalformedRecord
from schemas.messages import encode_message
from stream.commands.fhir import REFUSED_IN_A_ROW, fhir_command
from stream.fhir_server import FhirServerUnusable


def screened(one):
    return msgspec.json.encode(Screened(source="a.hea", record_id=one.record_id, report=one))


REJECTED = msgspec.json.encode(
    Rejected(source="b.hea", record_id=None, code="too_short", detail="It is too short.", numbers={})
)


def written(tmp_path, content, monkeypatch=None):
    """Return the Bundles that the command makes of the content, as lines."""
    out, reports = tmp_path / "out.ndjson", "-"
    if monkeypatch:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    else:
        reports = str(tmp_path / "in.json")
        (tmp_path / "in.json").write_bytes(content)
    fhir_command(reports, out=out)
    return out.read_bytes().splitlines()


def test_reports_and_answers_of_screen_become_a_bundle_a_line_in_order(tmp_path):
    content = b"\n".join([encode_message(report(0)), b"", screened(report(1)), encode_message(report(2)), b""])
    assert written(tmp_path, content) == [encode_bundle(report(seed)) for seed in range(3)]


def test_a_report_over_several_lines_is_one_report(tmp_path):
    content = msgspec.json.format(encode_message(report()), indent=2)
    assert written(tmp_path, content) == [encode_bundle(report())]


def test_a_dash_is_standard_input(tmp_path, monkeypatch):
    assert written(tmp_path, encode_message(report()), monkeypatch) == [encode_bundle(report())]


def test_a_rejected_ecg_is_named_and_the_others_are_written(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        written(tmp_path, screened(report(0)) + b"\n" + REJECTED + b"\n" + screened(report(1)))
    assert end.value.code == 1
    assert "line 2: b.hea was rejected and has no report: It is too short." in capsys.readouterr().err
    assert len((tmp_path / "out.ndjson").read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no report"),
        (b"\n\n", "no report"),
        (b"nonsense", "line 1"),
        (b"{", "line 1"),
        (b"[1, 2]", "line 1"),
        (b'{"report": 3}', "line 1"),
        (b"\xff\xfe", "line 1"),
        (b'{"record_id": "x"}', "report_id"),
        (encode_message(report()) + b"\n{}\n", "line 2"),
    ],
)
def test_what_is_no_report_is_said_with_its_line_and_leaves_no_file(tmp_path, content, words):
    with pytest.raises(MalformedRecord, match=words):
        written(tmp_path, content)
    assert {path.name for path in tmp_path.iterdir()} == {"in.json"}


def test_a_path_that_cannot_be_read_or_written_is_a_misuse(tmp_path):
    with pytest.raises(InvalidSettings, match="none.json cannot be read: No such file"):
        fhir_command(str(tmp_path / "none.json"), out=None)
    (tmp_path / "in.json").write_bytes(encode_message(report()))
    with pytest.raises(InvalidSettings, match="cannot be written"):
        fhir_command(str(tmp_path / "in.json"), out=tmp_path / "none" / "out.json")


def test_without_a_file_it_writes_to_standard_output():
    program = "from stream.commands.fhir import fhir_command; fhir_command('-', out=None)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=encode_message(report()),
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == encode_bundle(report()) + b"\n"


def test_an_alert_among_reports_becomes_a_flag(tmp_path):
    content = encode_message(alert()) + b"\n" + encode_message(report())
    flag, whole = written(tmp_path, content)
    assert json.loads(flag) == compose_flag_bundle(alert())
    assert whole == encode_bundle(report())


def test_bundles_may_be_written_as_a_server_takes_them_and_so_may_the_codes(tmp_path):
    (tmp_path / "in.json").write_bytes(encode_message(report()))
    fhir_command(str(tmp_path / "in.json"), out=tmp_path / "out.json", transactions=True)
    assert json.loads((tmp_path / "out.json").read_bytes()) == transaction(compose_resources(report()))
    fhir_command(codes=True, out=tmp_path / "codes.json")
    assert [*map(json.loads, (tmp_path / "codes.json").read_bytes().splitlines())] == code_resources()


def test_the_label_of_hl7s_guide_is_there_where_it_is_asked_for(tmp_path):
    (tmp_path / "in.json").write_bytes(encode_message(report()))
    for transactions in (False, True):
        fhir_command(str(tmp_path / "in.json"), out=tmp_path / "out.json", transactions=transactions, aiast=True)
        (bundle,) = map(json.loads, (tmp_path / "out.json").read_bytes().splitlines())
        labels = {str(entry["resource"].get("meta", {}).get("security")) for entry in bundle["entry"]}
        assert labels == {"None", str([BY_AI])}


@pytest.mark.parametrize(
    "options", [{}, {"reports": "in.json", "codes": True}, {"reports": "-", "server": "http://a", "transactions": True}]
)
def test_options_that_contradict_each_other_are_a_misuse(options):
    with pytest.raises(InvalidSettings):
        fhir_command(**options)


REFUSAL = (422, {}, b'{"issue": [{"diagnostics": "not this one"}]}')


@pytest.mark.servers
def test_a_file_is_posted_and_the_account_says_what_the_server_has(tmp_path, capfd):
    lines = [
        encode_message(report(0)),
        REJECTED,
        screened(report(1)),
        encode_message(alert()),
        encode_message(report(2)),
    ]
    (tmp_path / "in.json").write_bytes(b"\n".join(lines))
    with small_server() as small:
        small.faults.append(REFUSAL)
        with pytest.raises(SystemExit) as end:
            fhir_command(str(tmp_path / "in.json"), server=small.url, as_json=True)
        assert end.value.code == 1
        told = capfd.readouterr()
        assert "in.json, line 1: http" in told.err
        assert "not this one" in told.err
        assert json.loads(told.out) == {
            "posted": 3, "rejected": 1, "refused": 1, "created": 14, "found": 2, "replaced": 0, "retries": 0,
            "last_line": 5,
        }  # fmt: skip
        with pytest.raises(SystemExit):
            fhir_command(str(tmp_path / "in.json"), server=small.url, skip=1)
        assert "0 resources are new there, 16 were there" in " ".join(capfd.readouterr().err.split())


@pytest.mark.servers
def test_a_run_that_ends_early_says_how_far_it_came(tmp_path, capfd):
    (tmp_path / "in.json").write_bytes(b"\n".join(encode_message(report(seed)) for seed in range(3)))
    with small_server() as small:
        small.faults.extend([None, (401, {}, b"")])
        with pytest.raises(FhirServerUnusable, match="CARDIACNETS_FHIR_TOKEN"):
            fhir_command(str(tmp_path / "in.json"), server=small.url)
    assert "Done as far as line 1" in " ".join(capfd.readouterr().err.split())


@pytest.mark.servers
def test_a_server_that_refuses_every_bundle_ends_the_run(tmp_path):
    (tmp_path / "in.json").write_bytes(b"\n".join(encode_message(report(seed)) for seed in range(12)))
    with small_server() as small:
        small.faults.extend([REFUSAL] * 12)
        with pytest.raises(FhirServerUnusable, match="refused 10 Bundles in a row"):
            fhir_command(str(tmp_path / "in.json"), server=small.url)
        assert len(small.requests) == REFUSED_IN_A_ROW


@pytest.mark.servers
def test_a_line_is_posted_before_the_next_one_comes(monkeypatch, capfd):
    reading, writing = os.pipe()
    with small_server() as small, os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
        posting = threading.Thread(target=fhir_command, args=("-",), kwargs={"server": small.url, "as_json": True})
        posting.start()
        for seed in range(2):
            pipe.write(encode_message(report(seed)) + b"\n")
            wait_until(lambda: len(small.stored) == 7 + 6 * seed)  # noqa: B023  it is called within its turn
        pipe.close()
        posting.join(PATIENCE_S)
    assert json.loads(capfd.readouterr().out)["posted"] == 2
