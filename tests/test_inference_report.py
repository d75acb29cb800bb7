"""Reports, alerts and CMR requests: what they carry, when there is none, and that replays agree."""

import time
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.export import untrained_manifest
from inference.readout import Readout
from inference.remarks import remarks_on
from inference.report import compose_alerts, compose_cmr_request, compose_rejection, compose_report, odds_ratio
from inference.screener import Refused
from schemas.ecg_record import LEADS, EcgRecord, Remark
from schemas.errors import IdOfAnotherEcg
from schemas.identity import alert_id, cine_seed, report_id, request_id
from schemas.messages import (
    Alert,
    CmrRequest,
    ModelReference,
    Quality,
    QualityWarning,
    Risk,
    RiskReport,
    decode_message,
    encode_message,
)
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK, LARGEST

READOUT = Readout(untrained_manifest("reference", n_crops=1))
MODEL = ModelReference(name="cardiacnets-reference", version="0.1.0+0123456789ab", trained=False, weights="untrained")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUALITY = Quality(warnings=(), sample_rate_hz=500.0, duration_s=10.0, derived_leads=())
RECORD = EcgRecord(
    record_id="r-1",
    patient_id="p-1",
    device_id="cart-1",
    site="ward 3",
    leads=LEADS,
    sample_rate_hz=500.0,
    microvolts_per_step=5.0,
    samples=bytes(24),
    recorded_at=datetime(2026, 11, 23, 8, tzinfo=UTC),
)
PROBABILITIES = st.floats(0, 1)


def finding_of(*logits):
    draw = np.random.default_rng(1)
    outputs = {
        "disease_logits": np.array([logits], np.float32),
        "phenotypes": draw.standard_normal((1, 82)).astype(np.float32),
        "subtype_logits": draw.standard_normal((1, 3)).astype(np.float32),
        "embedding": draw.standard_normal((1, 256)).astype(np.float32),
    }
    return READOUT.read(outputs, n_crops=1)[0]


def report_of(finding, at=NOW):
    return compose_report(RECORD, QUALITY, finding, MODEL, at)


def report_with(*risks):
    risks = tuple(Risk(disease="heart_failure", probability=p, threshold=t, flagged=p >= t) for p, t in risks)
    return msgspec.structs.replace(report_of(finding_of(0, 0, 0, 0, 0)), risks=risks)


def test_a_report_carries_the_record_the_model_and_everything_found():
    finding = finding_of(-1, -1, -1, -1, -1)
    report = report_of(finding)

    assert (report.report_id, report.record_id, report.patient_id) == (report_id("r-1", MODEL), "r-1", "p-1")
    assert (report.model, report.quality) == (MODEL, QUALITY)
    assert (report.risks, report.phenotypes) == (finding.risks, finding.phenotypes)
    assert (report.created_at, report.recorded_at) == (NOW, RECORD.recorded_at)


@pytest.mark.parametrize(("logit", "told"), [(2.0, True), (-2.0, False)])
def test_the_subtype_is_told_where_cardiomyopathy_is_flagged_and_only_there(logit, told):
    finding = finding_of(3, logit, 3, 3, 3)

    assert report_of(finding).cardiomyopathy_subtype == (finding.subtype if told else None)


def test_an_unflagged_report_raises_no_alert_and_asks_for_no_cine():
    finding = finding_of(-1, -1, -1, -1, -1)
    report = report_of(finding)

    assert compose_alerts(report) == []
    assert compose_cmr_request(report, finding) is None


def test_each_flagged_disease_has_its_alert_the_most_urgent_first():
    report = report_of(finding_of(1, -1, 3, -1, 2))
    alerts = compose_alerts(report)

    assert [alert.code for alert in alerts] == ["heart_failure", "pericarditis", "coronary_artery_disease"]
    assert [alert.priority for alert in alerts] == ["high", "medium", "low"]
    for alert in alerts:
        assert alert.risks == tuple(risk for risk in report.risks if risk.disease == alert.code)
        assert alert.identifier == alert_id(report.report_id, alert.code)
        assert (alert.derived_from, alert.status) == (report.report_id, "raised")
        assert (alert.subject, alert.record_id, alert.onset) == ("p-1", "r-1", NOW)
        assert alert.recorded_at == RECORD.recorded_at


@pytest.mark.parametrize(
    ("probability", "threshold", "priority"),
    [
        (0.5, 0.5, "low"),
        (0.74, 0.5, "low"),
        (0.75, 0.5, "medium"),
        (0.9, 0.5, "high"),
        (0.2, 0.05, "medium"),
        (0.0, 0.0, "high"),
        (1.0, 1.0, "high"),
        (1.0, 0.3, "high"),
    ],
)
def test_the_priority_follows_the_odds_over_the_thresholds_odds(probability, threshold, priority):
    (alert,) = compose_alerts(report_with((probability, threshold)))
    assert alert.priority == priority


@given(threshold=PROBABILITIES, one=PROBABILITIES, other=PROBABILITIES)
def test_a_higher_probability_is_never_less_urgent(threshold, one, other):
    low, high = (
        Risk(disease="heart_failure", probability=p, threshold=threshold, flagged=True) for p in sorted((one, other))
    )

    assert odds_ratio(low) <= odds_ratio(high)


def test_a_cmr_request_carries_a_unit_embedding_and_the_records_own_seed():
    finding = finding_of(-1, -1, 1, -1, -1)
    report = report_of(finding)
    request = compose_cmr_request(report, finding)

    assert (request.request_id, request.report_id) == (request_id(report.report_id), report.report_id)
    assert request.seed == cine_seed("r-1", MODEL)
    assert abs(np.linalg.norm(request.embedding) - 1) < 1e-4
    assert request.created_at == NOW


def test_a_replay_gives_the_same_ids_and_the_same_bytes():
    first, again = (encode_message(report_of(finding_of(1, 2, 3, 4, 5))) for _ in range(2))
    later = report_of(finding_of(1, 2, 3, 4, 5), at=datetime(2027, 1, 1, tzinfo=UTC))

    assert first == again
    assert later.report_id == decode_message(RiskReport, first).report_id


def test_another_version_of_the_model_gives_another_report():
    newer = msgspec.structs.replace(MODEL, version="0.1.0+ba9876543210")

    assert report_of(finding_of(0, 0, 0, 0, 0)).report_id != report_id("r-1", newer)


def test_all_three_messages_keep_the_contract_on_the_wire():
    finding = finding_of(1, 2, -3, 0.5, 9)
    report = report_of(finding)

    for message, kind in (
        (report, RiskReport),
        (compose_alerts(report)[0], Alert),
        (compose_cmr_request(report, finding), CmrRequest),
    ):
        assert decode_message(kind, encode_message(message)) == message
    assert len(encode_message(report)) < 10_000


def test_a_report_costs_the_hot_path_little():
    draw = np.random.default_rng(2)
    outputs = {
        name: draw.standard_normal((48, size)).astype(np.float32)
        for name, size in (("disease_logits", 5), ("phenotypes", 82), ("subtype_logits", 3), ("embedding", 256))
    }

    def seconds_a_report():
        started = time.thread_time()
        for finding in READOUT.read(outputs, n_crops=3):
            encode_message(report_of(finding))
        return (time.thread_time() - started) / 16

    assert min(seconds_a_report() for _ in range(20)) < 1e-3  # measured 0.1 ms; the bound allows for a busy machine


def test_a_report_and_its_alerts_say_which_device_recorded_the_ecg_and_where():
    report = report_with((0.9, 0.5))
    assert (report.device_id, report.site) == ("cart-1", "ward 3")
    assert [(alert.device_id, alert.site) for alert in compose_alerts(report)] == [("cart-1", "ward 3")]


def test_a_rejection_whose_record_id_is_not_enough_has_the_id_of_its_subject():
    refusals = [IdOfAnotherEcg("used before", record_id=RECORD.record_id) for _ in range(3)]
    for refusal, subject in zip(refusals, ("r/1", "r/1", "r/2"), strict=True):
        refusal.subject = subject
    first, again, third = (compose_rejection(Refused(RECORD, refusal), "t/0/1", NOW) for refusal in refusals)
    assert first.rejection_id == again.rejection_id != third.rejection_id
    assert {first.record_id, third.record_id} == {RECORD.record_id}


@pytest.mark.parametrize("letter", ["x", "é", "東", "😀", "\0", '"'])
def test_the_answers_to_the_longest_names_and_remarks_are_within_the_bounds_of_who_reads_them(letter):
    name, finding = 256 * letter, finding_of(9, 9, 9, 9, 9)
    model = ModelReference(name=256 * "n", version=256 * "v", trained=True, weights=2000 * "w")
    remarks = tuple(Remark(f"remark_{n}_{50 * 'x'}", name) for n in range(16))
    long = msgspec.structs.replace(
        RECORD, record_id=name, patient_id=name, device_id=name, site=name, remarks=remarks, paced=True
    )
    doubts = [QualityWarning(code=f"doubt_{n}", detail=100 * "d", numbers={"number": 1 / 3}) for n in range(10)]
    quality = msgspec.structs.replace(QUALITY, warnings=(*doubts, *remarks_on(long, LEADS[2:6], None)))
    report = compose_report(long, quality, finding, model, NOW)
    refusal = Refused(long, IdOfAnotherEcg(f"record id {name} was used", record_id=name))
    for topic, message in (
        (ECG_RISK, report),
        (ECG_ALERTS, compose_alerts(report)[0]),
        (CMR_REQUESTS, compose_cmr_request(report, finding)),
        (ECG_REJECTED, compose_rejection(refusal, 250 * "t" + "/0/1", NOW)),
    ):
        assert len(encode_message(message)) <= LARGEST[topic]
