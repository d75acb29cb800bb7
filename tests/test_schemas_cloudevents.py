"""Our event headers are CloudEvents."""

from datetime import datetime, timedelta, timezone

import jsonschema
import pytest
from contract import FORMATS, asyncapi

from schemas.cloudevents import AVRO, JSON, event_headers

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
@pytest.mark.parametrize("lane", [None, "realtime"])
def test_the_headers_are_valid_by_the_published_contract(content_type, lane):
    judge = jsonschema.Draft202012Validator(asyncapi()["components"]["schemas"]["EventHeaders"], format_checker=FORMATS)
    judge.validate({name: value.decode() for name, value in headers(content_type=content_type, lane=lane)})


def test_an_answer_says_the_lane_of_its_ecg_and_what_answers_none_says_nothing():
    assert dict(headers(lane="backfill")) == {**dict(headers()), "ce_lane": b"backfill"}
    assert "ce_lane" not in dict(headers(lane=None))


def test_an_event_without_a_time_zone_is_not_written():
    with pytest.raises(ValueError, match="time zone"):
        headers(time=NOW.replace(tzinfo=None))
