"""A message leaves only as the contract says, and comes back as it was."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from contract import asyncapi, json_validator, validate_message
from hypothesis import given
from hypothesis import strategies as st

from schemas import messages
from schemas.errors import MalformedRecord, RecordError
from schemas.messages import (
    DISEASES,
    LATER_FIELDS,
    MESSAGES,
    SUBTYPES,
    AcknowledgedBy,
    Acknowledgement,
    Alert,
    CmrRequest,
    CmrResult,
    EcgMeasurement,
    ModelReference,
    Phenotype,
    Quality,
    QualityWarning,
    Rejection,
    Risk,
    RiskReport,
    Shelving,
    decode_message,
    encode_message,
)
from schemas.topics import TOPICS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODEL = ModelReference(name="m", version="1", trained=False, weights="untrained")
RISKS = tuple(Risk(disease=disease, probability=0.25, threshold=0.2, flagged=True) for disease in DISEASES)
REPORT = RiskReport(
    report_id="r-1",
    record_id="ecg-1",
    patient_id=None,
    device_id="cart-1",
    site="ward 3",
    model=MODEL,
    risks=RISKS,
    phenotypes=(Phenotype(name="LVEF", value=55.5, unit="%"),),
    cardiomyopathy_subtype=dict.fromkeys(SUBTYPES, 0.5),
    quality=Quality(
        warnings=(QualityWarning(code="noisy", detail="It is noisy.", numbers={"peak_mv": 4.5, "lead": "V1", "n": 2}),),
        sample_rate_hz=500.0,
        duration_s=10.0,
        derived_leads=("III",),
    ),
    ecg_measurements=(
        EcgMeasurement(name="heart_rate", value=72.0, unit="/min", not_measurable=None),
        EcgMeasurement(name="pr_interval", value=None, unit="ms", not_measurable="no_p_wave"),
    ),
    created_at=NOW,
)
EXAMPLES = (
    REPORT,
    Alert(
        identifier="a-1",
        status="raised",
        priority="high",
        derived_from="r-1",
        record_id="ecg-1",
        subject="p-1",
        device_id="cart-1",
        site="ward 3",
        code="heart_failure",
        risks=(RISKS[2],),
        model=MODEL,
        onset=NOW,
        recorded_at=NOW,
        ecg_quality=REPORT.quality,
        acknowledgement=AcknowledgedBy(name="Dr. A", authenticated=True, at=NOW),
    ),
    Rejection(
        rejection_id="x-1",
        record_id=None,
        device_id="cart-1",
        site="ward 3",
        code="malformed_record",
        detail="It is none.",
        numbers={"trailing_bytes": 3},
        source="ecg.records.v1/0/17",
        created_at=NOW,
    ),
    CmrRequest(
        request_id="q-1",
        report_id="r-1",
        record_id="ecg-1",
        patient_id="p-1",
        model=MODEL,
        embedding=(0.0625,) * 256,
        seed=2**32 - 1,
        created_at=NOW,
    ),
    CmrResult(
        request_id="q-1",
        report_id="r-1",
        record_id="ecg-1",
        status="generated",
        redis_key="cine:q-1",
        size_bytes=1000,
        seconds=1.5,
        code=None,
        detail=None,
        model=MODEL,
        created_at=NOW,
    ),
    Acknowledgement(
        identifier="a-1",
        record_id="ecg-1",
        whole_record=True,
        acknowledged_by="Dr. A",
        authenticated=True,
        comment="<script>",
        acknowledged_at=NOW,
    ),
    Shelving(
        shelving_id="s-1",
        subject="p-1",
        code="heart_failure",
        until=NOW,
        reason="known",
        shelved_by="Dr. A",
        authenticated=True,
        shelved_at=NOW,
    ),
)
TOPIC_OF = {topic.content: topic.name for topic in TOPICS}


def changed(message, **changes):
    return msgspec.structs.replace(message, **changes)


def test_there_is_an_example_of_every_message():
    assert tuple(type(example) for example in EXAMPLES) == MESSAGES


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was_and_is_valid_by_the_published_schema(message):
    value = encode_message(message)
    assert decode_message(type(message), value) == message
    validate_message(TOPIC_OF[type(message)], value)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_the_published_schema_asks_for_every_field(message):
    judge = json_validator(TOPIC_OF[type(message)])
    fields = json.loads(encode_message(message))
    for name in set(fields) - LATER_FIELDS:
        assert not judge.is_valid({other: value for other, value in fields.items() if other != name}), name


@pytest.mark.parametrize(
    ("message", "absent"),
    [
        (EXAMPLES[0], {"device_id": None, "site": None, "ecg_measurements": ()}),
        (EXAMPLES[1], {"device_id": None, "site": None, "ecg_quality": None, "acknowledgement": None}),
        (EXAMPLES[2], {"device_id": None, "site": None}),
        (EXAMPLES[5], {"authenticated": False, "whole_record": False}),
    ],
    ids=["report", "alert", "rejection", "acknowledgement"],
)
def test_a_message_from_before_a_field_came_is_still_one(message, absent):
    fields = json.loads(encode_message(message))
    before = json.dumps({name: value for name, value in fields.items() if name not in LATER_FIELDS}).encode()
    assert fields.keys() - json.loads(before).keys() == absent.keys()
    validate_message(TOPIC_OF[type(message)], before)
    assert decode_message(type(message), before) == changed(message, **absent)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "break_message",
    [
        lambda x: changed(REPORT, phenotypes=(Phenotype(name="LVEF", value=x, unit="%"),)),
        lambda x: changed(REPORT, risks=(changed(RISKS[0], probability=x),)),
        lambda x: changed(REPORT, quality=changed(REPORT.quality, duration_s=x)),
        lambda x: changed(EXAMPLES[2], numbers={"peak_mv": x}),
        lambda x: changed(EXAMPLES[3], embedding=(x,) * 256),
        lambda x: changed(EXAMPLES[4], seconds=x),
    ],
    ids=["phenotype", "probability", "quality", "evidence", "embedding", "seconds"],
)
def test_no_number_leaves_that_json_does_not_have(break_message, number):
    with pytest.raises(ValueError, match="breaks the contract"):
        encode_message(break_message(number))


@pytest.mark.parametrize(
    "message",
    [
        changed(REPORT, risks=(changed(RISKS[0], probability=1.01),)),
        changed(REPORT, created_at=NOW.replace(tzinfo=None)),
        changed(REPORT, record_id=""),
        changed(REPORT, record_id="x" * 257),
        changed(REPORT, site=""),
        changed(REPORT, site="x" * 257),
        changed(EXAMPLES[2], device_id=""),
        changed(EXAMPLES[2], code="Not A Code"),
        changed(EXAMPLES[3], embedding=(0.5,) * 255),
        changed(EXAMPLES[3], seed=2**32),
        changed(EXAMPLES[5], comment="x" * 2001),
    ],
)
def test_a_message_that_breaks_the_contract_does_not_leave(message):
    with pytest.raises(ValueError, match="breaks the contract"):
        encode_message(message)


@given(st.binary(max_size=200) | st.just(b'{"x":' + b"[" * 100_000))
def test_what_is_no_message_is_refused(value):
    with pytest.raises(MalformedRecord):
        decode_message(Acknowledgement, value)


def test_a_field_that_a_later_version_adds_is_let_pass():
    value = json.dumps(json.loads(encode_message(EXAMPLES[1])) | {"escalated_to": "ward 3"}).encode()
    assert decode_message(Alert, value) == EXAMPLES[1]
    validate_message(TOPIC_OF[Alert], value)


def test_the_lists_that_a_schema_gives_are_closed_and_the_texts_say_so():
    fields = json.loads(encode_message(EXAMPLES[1]))
    for name in ("status", "priority", "code"):
        later = fields | {name: "a_later_one"}
        assert not json_validator(TOPIC_OF[Alert]).is_valid(later)
        with pytest.raises(MalformedRecord):
            decode_message(Alert, json.dumps(later).encode())
    for text in (asyncapi()["info"]["description"], messages.__doc__):
        assert "(diseases, states, priorities) are closed" in text


@pytest.mark.parametrize("status", ["raised", "escalated", "expired", "acknowledged"])
def test_every_state_of_an_alert_is_one_that_the_schema_knows(status):
    validate_message(TOPIC_OF[Alert], encode_message(changed(EXAMPLES[1], status=status)))


def test_every_report_says_that_this_is_no_medical_device():
    assert "Not a medical device" in REPORT.notice


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_the_evidence_of_an_error_can_always_leave(number):
    error = RecordError("It is odd.", peak_mv=number, lead="V1", n=3)
    rejection = changed(EXAMPLES[2], numbers=error.numbers)
    assert decode_message(Rejection, encode_message(rejection)).numbers == {
        "peak_mv": str(number),
        "lead": "V1",
        "n": 3,
    }
