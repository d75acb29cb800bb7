"""Our event headers are CloudEvents, and anybody's are read without complaint."""

from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from contract import FORMATS, asyncapi
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import AVRO, JSON, EventHeaders, event_headers, read_event_headers

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))


def headers(**changes):
    return event_headers(
        **{
            "kind": "ecg.risk.v1",
            "identifier": "é-1",
            "source": "urn:cardiacnets:worker",
            "time": NOW,
            "content_type": JSON,
        }
        | changes
    )


def test_the_headers_are_those_of_the_kafka_binding_in_binary_mode():
    assert dict(headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": "é-1".encode(),
        "ce_source": b"urn:cardiacnets:worker",
        "ce_type": b"ecg.risk.v1",
        "ce_time": b"2026-01-02T01:04:05.000678Z",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize("content_type", [AVRO, JSON])
def test_the_headers_are_valid_by_the_published_contract(content_type):
    judge = jsonschema.Draft202012Validator(asyncapi()["components"]["schemas"]["EventHeaders"], format_checker=FORMATS)
    judge.validate({name: value.decode() for name, value in headers(content_type=content_type)})


def test_what_is_written_is_read():
    assert read_event_headers(headers()) == EventHeaders(
        kind="ecg.risk.v1",
        identifier="é-1",
        source="urn:cardiacnets:worker",
        time=NOW.astimezone(UTC),
        content_type=JSON,
    )


def test_an_event_without_a_time_zone_is_not_written():
    with pytest.raises(ValueError, match="time zone"):
        headers(time=NOW.replace(tzinfo=None))


NAMES = ["ce_id", "CE_ID", "ce_time", "content-type", "ce_type", "traceparent"]


@given(st.none() | st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=30))))
def test_headers_of_any_kind_are_read_without_complaint(foreign):
    read = read_event_headers(foreign)
    assert read.time is None or read.time.utcoffset() is not None


def test_a_broken_time_is_no_time_and_the_rest_counts():
    read = read_event_headers([("ce_time", b"yesterday"), ("Content-Type", b"text/plain"), ("ce_id", b"\xff")])
    assert read == EventHeaders(identifier="\ufffd", content_type="text/plain")
