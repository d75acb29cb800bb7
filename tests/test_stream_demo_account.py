"""The account of a demonstration counts each record once, and finds what is missing."""

import io
from datetime import UTC, datetime

from rich.console import Console

from schemas.messages import Alert, CmrResult, ModelReference, Quality, Rejection, Risk, RiskReport, encode_message
from schemas.topics import CMR_RESULTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.demo.account import DemoAccount
from stream.demo.live_view import render_account

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
    account = DemoAccount()
    for record_id in "abc":
        account.sent(record_id)
    account.receive(ECG_RISK, report("a"))
    assert (account.outcome().published, account.outcome().reports, account.outcome().lost) == (3, 1, 2)


def test_the_same_answer_twice_is_a_duplicate_and_no_contradiction():
    account = DemoAccount()
    account.sent("a")
    account.receive(ECG_RISK, report("a"))
    account.receive(ECG_RISK, report("a"))
    assert (account.duplicates, account.contradictions, account.outcome().reports) == (1, 0, 1)


def test_two_answers_with_different_ids_contradict_each_other():
    account = DemoAccount()
    account.receive(ECG_RISK, report("a", "r1"))
    account.receive(ECG_RISK, report("a", "r2"))
    assert account.contradictions == 1


def test_a_rejection_is_an_answer():
    account = DemoAccount()
    account.sent("a")
    rejection = Rejection(
        rejection_id="x", record_id="a", code="flat_lead", detail="d", numbers={}, source="t/0/0", created_at=NOW
    )
    account.receive(ECG_REJECTED, encode_message(rejection))
    assert (account.lost, account.outcome().rejected) == (0, 1)


def test_a_flagged_report_still_waits_for_its_alert():
    account = DemoAccount()
    account.sent("a")
    account.receive(ECG_RISK, report("a", flagged=True))
    assert (account.lost, account.missing) == (0, 1)
    account.receive(ECG_ALERTS, alert("r"))
    assert (account.missing, account.outcome().alerts) == (0, 1)


def test_an_alert_that_comes_before_its_report_is_not_waited_for():
    account = DemoAccount()
    account.receive(ECG_ALERTS, alert("r"))
    account.receive(ECG_RISK, report("a", flagged=True))
    assert account.missing == 0


def test_one_alert_a_patient_and_disease_is_all_that_is_waited_for():
    account = DemoAccount()
    account.receive(ECG_RISK, report("a", "r1", flagged=True, patient_id="p"))
    account.receive(ECG_RISK, report("b", "r2", flagged=True, patient_id="p"))
    account.receive(ECG_RISK, report("c", "r3", flagged=True, patient_id="q"))
    assert account.missing == 2
    account.receive(ECG_ALERTS, alert("r1", subject="p"))
    assert account.missing == 1


def test_the_later_states_of_an_alert_count_no_further_alert():
    account = DemoAccount()
    account.receive(ECG_ALERTS, alert("r"))
    account.receive(ECG_ALERTS, alert("r", status="acknowledged"))
    assert (account.outcome().alerts, account.contradictions) == (1, 0)


def test_without_answers_there_is_no_latency():
    assert DemoAccount().outcome().latency_ms is None


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
    account = DemoAccount(cines=True)
    account.receive(ECG_RISK, report("a", "r1", flagged=True, patient_id="p"))
    account.receive(ECG_RISK, report("b", "r2", flagged=True, patient_id="p"))
    account.receive(ECG_RISK, report("c", "r3"))
    account.receive(ECG_ALERTS, alert("r1", subject="p"))
    assert account.missing == 2
    account.receive(CMR_RESULTS, cine("a"))
    account.receive(CMR_RESULTS, cine("a"))
    account.receive(CMR_RESULTS, cine("b", "failed"))
    outcome = account.outcome()
    assert (account.missing, outcome.cines, outcome.cines_failed) == (0, 1, 1)
    assert outcome.cine_seconds.p50 == 1.5


def test_ids_are_shown_as_they_are_and_obeyed_by_nobody():
    account, out = DemoAccount(), io.StringIO()
    rejection = Rejection(
        rejection_id="x", record_id="b[/b]", code="flat_lead", detail="", numbers={}, source="t/0/0", created_at=NOW
    )
    account.sent("a[/b]")
    account.sent("b[/b]")
    account.receive(ECG_RISK, report("a[/b]"))
    account.receive(ECG_REJECTED, encode_message(rejection))
    Console(file=out, width=120).print(render_account(account))
    assert "a[/b]" in out.getvalue()
    assert "b[/b]" in out.getvalue()
