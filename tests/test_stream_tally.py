"""The tally counts each record once, and finds what is missing."""

import io
from datetime import UTC, datetime

from rich.console import Console

from schemas.messages import Alert, CmrResult, ModelReference, Quality, Rejection, Risk, RiskReport, encode_message
from schemas.topics import CMR_RESULTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.demo.account import Tally
from stream.demo.live_view import render_tally

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = ModelReference(name="m", version="1", trained=False, weights="untrained")


def report(record_id, report_id="r", *, flagged=False, patient_id=None):
    risk = Risk(disease="heart_failure", probability=0.5, threshold=0.4, flagged=flagged)
    return encode_message(
        RiskReport(
            report_id=report_id,
            record_id=record_id,
            patient_id=patient_id,
            model=MODEL,
            risks=(risk,),
            phenotypes=(),
            cardiomyopathy_subtype=None,
            quality=Quality(warnings=(), sample_rate_hz=500.0, duration_s=10.0, derived_leads=()),
            created_at=NOW,
        )
    )


def alert(report_id, *, subject=None, status="raised"):
    return encode_message(
        Alert(
            identifier=f"alert-{report_id}",
            status=status,
            priority="low",
            derived_from=report_id,
            record_id="a",
            subject=subject,
            code="heart_failure",
            risks=(),
            model=MODEL,
            onset=NOW,
        )
    )


def test_a_record_without_an_answer_is_lost():
    tally = Tally()
    for record_id in "abc":
        tally.sent(record_id)
    tally.receive(ECG_RISK, report("a"))
    assert (tally.outcome().published, tally.outcome().reports, tally.outcome().lost) == (3, 1, 2)


def test_the_same_answer_twice_is_a_duplicate_and_no_contradiction():
    tally = Tally()
    tally.sent("a")
    tally.receive(ECG_RISK, report("a"))
    tally.receive(ECG_RISK, report("a"))
    assert (tally.duplicates, tally.contradictions, tally.outcome().reports) == (1, 0, 1)


def test_two_answers_with_different_ids_contradict_each_other():
    tally = Tally()
    tally.receive(ECG_RISK, report("a", "r1"))
    tally.receive(ECG_RISK, report("a", "r2"))
    assert tally.contradictions == 1


def test_a_rejection_is_an_answer():
    tally = Tally()
    tally.sent("a")
    rejection = Rejection(
        rejection_id="x", record_id="a", code="flat_lead", detail="d", numbers={}, source="t/0/0", created_at=NOW
    )
    tally.receive(ECG_REJECTED, encode_message(rejection))
    assert (tally.lost, tally.outcome().rejected) == (0, 1)


def test_a_flagged_report_still_waits_for_its_alert():
    tally = Tally()
    tally.sent("a")
    tally.receive(ECG_RISK, report("a", flagged=True))
    assert (tally.lost, tally.missing) == (0, 1)
    tally.receive(ECG_ALERTS, alert("r"))
    assert (tally.missing, tally.outcome().alerts) == (0, 1)


def test_an_alert_that_comes_before_its_report_is_not_waited_for():
    tally = Tally()
    tally.receive(ECG_ALERTS, alert("r"))
    tally.receive(ECG_RISK, report("a", flagged=True))
    assert tally.missing == 0


def test_one_alert_a_patient_and_disease_is_all_that_is_waited_for():
    tally = Tally()
    tally.receive(ECG_RISK, report("a", "r1", flagged=True, patient_id="p"))
    tally.receive(ECG_RISK, report("b", "r2", flagged=True, patient_id="p"))
    tally.receive(ECG_RISK, report("c", "r3", flagged=True, patient_id="q"))
    assert tally.missing == 2
    tally.receive(ECG_ALERTS, alert("r1", subject="p"))
    assert tally.missing == 1


def test_the_later_states_of_an_alert_count_no_further_alert():
    tally = Tally()
    tally.receive(ECG_ALERTS, alert("r"))
    tally.receive(ECG_ALERTS, alert("r", status="acknowledged"))
    assert (tally.outcome().alerts, tally.contradictions) == (1, 0)


def test_without_answers_there_is_no_latency():
    assert Tally().outcome().latency_ms is None


def cine(record_id, status="generated"):
    drawn = status == "generated"
    return encode_message(
        CmrResult(
            request_id=f"q-{record_id}",
            report_id="r",
            record_id=record_id,
            status=status,
            redis_key="k" if drawn else None,
            size_bytes=10 if drawn else None,
            seconds=1.5 if drawn else None,
            code=None if drawn else "redis_full",
            detail=None if drawn else "d",
            model=MODEL,
            created_at=NOW,
        )
    )


def test_a_flagged_record_waits_for_its_cine_where_cines_are_drawn_and_a_failed_one_is_no_cine():
    tally = Tally(cines=True)
    tally.receive(ECG_RISK, report("a", "r1", flagged=True, patient_id="p"))
    tally.receive(ECG_RISK, report("b", "r2", flagged=True, patient_id="p"))
    tally.receive(ECG_RISK, report("c", "r3"))
    tally.receive(ECG_ALERTS, alert("r1", subject="p"))
    assert tally.missing == 2
    tally.receive(CMR_RESULTS, cine("a"))
    tally.receive(CMR_RESULTS, cine("a"))
    tally.receive(CMR_RESULTS, cine("b", "failed"))
    outcome = tally.outcome()
    assert (tally.missing, outcome.cines, outcome.cines_failed) == (0, 1, 1)
    assert outcome.cine_seconds.p50 == 1.5


def test_ids_are_shown_as_they_are_and_obeyed_by_nobody():
    tally, out = Tally(), io.StringIO()
    rejection = Rejection(
        rejection_id="x", record_id="b[/b]", code="flat_lead", detail="", numbers={}, source="t/0/0", created_at=NOW
    )
    tally.sent("a[/b]")
    tally.sent("b[/b]")
    tally.receive(ECG_RISK, report("a[/b]"))
    tally.receive(ECG_REJECTED, encode_message(rejection))
    Console(file=out, width=120).print(render_tally(tally))
    assert "a[/b]" in out.getvalue()
    assert "b[/b]" in out.getvalue()
