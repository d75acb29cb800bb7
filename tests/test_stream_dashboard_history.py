"""What the dashboard says of a patient's earlier ECGs, and of what is doubtful in this one."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from dashboard_parts import FLAGGED, NOW, feed_all, new_state
from dashboard_ward import MODEL, THRESHOLDS, simulate_case

from inference.report import compose_rejection
from inference.screener import Refused
from schemas.errors import UnusableSignal
from schemas.messages import QualityWarning, Risk
from schemas.topics import ECG_ALERTS, ECG_REJECTED, ECG_RISK
from stream.dashboard.doubts import MAX_WORDS, NO_DOUBTS, WORDS, doubts_of
from stream.dashboard.patient_history import SHOWN
from stream.dashboard.record_page import compose_page


@pytest.fixture(scope="module")
def case():
    return simulate_case(3, 2, at=NOW, risks=FLAGGED, patient_id="P-1")


def changed(case, name, *, hours=0, model=MODEL, half_width=2.0, **numbers):
    """Return the case as an ECG of so many hours ago, with other numbers: by disease, by measurement, by estimate."""
    at = NOW - timedelta(hours=hours)
    report = case.report
    risks = tuple(_risk(risk.disease, numbers.get(risk.disease, risk.probability)) for risk in report.risks)
    estimates = tuple(
        msgspec.structs.replace(one, value=numbers.get(one.name, one.value), half_width=half_width)
        for one in report.phenotypes
    )
    measured = tuple(
        msgspec.structs.replace(one, value=numbers.get(one.name, one.value)) for one in report.ecg_measurements
    )
    changes = {"record_id": name, "report_id": f"report of {name}", "created_at": at, "recorded_at": at, "model": model}
    return msgspec.structs.replace(report, risks=risks, phenotypes=estimates, ecg_measurements=measured, **changes)


def _risk(disease, probability):
    threshold = THRESHOLDS[disease]
    return Risk(disease=disease, probability=probability, threshold=threshold, flagged=probability >= threshold)


def history(*reports, of="now"):
    state = feed_all(new_state(), [(ECG_RISK, b"P-1", report) for report in reports])
    return compose_page(state, of).history


def changes(found):
    """Return what is said to have changed since the newest earlier ECG."""
    return {line.name: line.then[0].change for line in found.lines if line.then[0] and line.then[0].change}


def test_an_estimate_has_changed_where_the_two_intervals_do_not_meet_and_a_measurement_beyond_both_errors(case):
    before = {"LVEF": 50.0, "LVM": 100.0, "qrs_duration": 90.0, "pr_interval": 150.0, "qrs_axis": 0.0}
    now = {"LVEF": 54.1, "LVM": 103.9, "qrs_duration": 140.0, "pr_interval": 189.0, "qrs_axis": 80.0}
    found = history(changed(case, "then", hours=2, **before), changed(case, "now", **now))
    assert changes(found) == {"LVEF": "changed", "qrs_duration": "changed"}
    axis = next(line for line in found.lines if line.name == "qrs_axis")
    assert (axis.now.value, axis.then[0].value) == (80.0, 0.0)  # both are shown, and nothing is said


def test_where_another_model_gave_the_numbers_no_estimate_has_changed_and_that_is_said(case):
    older = msgspec.structs.replace(MODEL, version="0.9")
    then = changed(case, "then", hours=2, model=older, LVEF=20.0, qrs_duration=90.0)
    found = history(then, changed(case, "now", LVEF=60.0, qrs_duration=140.0))
    assert changes(found) == {"qrs_duration": "changed"}  # no model measured it
    assert found.earlier[0].is_other_model
    assert found.earlier[0].model == f"{MODEL.name} 0.9"


def test_of_probabilities_the_verdicts_are_told_and_of_what_is_not_known_nothing(case):
    then = changed(case, "then", hours=2, half_width=None, heart_failure=0.05, LVEF=20.0)
    found = history(then, changed(case, "now", half_width=None, heart_failure=0.6, cardiomyopathy=0.05, LVEF=60.0))
    assert changes(found) == {"heart_failure": "newly flagged", "cardiomyopathy": "no longer flagged"}


def test_an_ecg_that_is_not_assessable_lends_no_number_to_the_comparison(case):
    then = changed(case, "then", hours=2)
    excluded = {"flagged": False, "verdict": "not_assessable", "reasons": ("paced",)}
    paced = tuple(msgspec.structs.replace(risk, **excluded) for risk in then.risks)
    found = history(msgspec.structs.replace(then, risks=paced), changed(case, "now", heart_rate=90.0))
    assert {line.kind for line in found.lines if line.then[0]} == {"ecg"}


def test_the_newest_earlier_ecgs_stand_beside_the_present_one_and_later_ones_are_told(case):
    reports = [changed(case, f"h{hours}", hours=hours) for hours in range(8)]
    stranger = msgspec.structs.replace(changed(case, "other"), patient_id="P-2")
    nobody = msgspec.structs.replace(changed(case, "nobody"), patient_id=None)
    found = history(*reports, stranger, nobody, of="h2")
    assert [ecg.record_id for ecg in found.earlier] == ["h3", "h4", "h5"]
    assert len(found.earlier) == SHOWN
    assert (found.more_earlier, found.later, found.latest) == (2, 2, "h0")
    assert history(stranger, nobody, of="other") is history(nobody, of="nobody") is None


def test_what_is_dropped_is_no_history_any_more(case):
    state = new_state(capacity=1)
    for number in range(600):
        report = changed(case, f"r{number}", hours=600 - number)
        feed_all(state, [(ECG_RISK, b"P-1", report)])
    kept = {row.record_id for row in state.records.rows(1000)}
    assert set(state.records.of_same_patient("r599")) | {"r599"} == kept
    assert len(kept) < 600


# --- doubts


def with_warnings(case, *codes):
    warnings = tuple(QualityWarning(code=code, detail="a sentence") for code in codes)
    quality = msgspec.structs.replace(case.report.quality, warnings=warnings)
    return msgspec.structs.replace(case.report, quality=quality)


def test_the_gravest_doubt_comes_first_and_what_is_no_doubt_is_left_out(case):
    found = doubts_of(with_warnings(case, "age_unknown", "longer_than_10s", "a_devices_own", "limb_lead_reversal"))
    assert [doubt.words for doubt in found] == ["limb leads look exchanged", "age unknown", "1 other warning"]
    assert not WORDS.keys() & NO_DOUBTS


def test_what_is_not_assessable_says_why_and_says_it_once(case):
    report = with_warnings(case, "pacing_spikes", "low_amplitude")
    excluded = {"flagged": False, "verdict": "not_assessable"}
    every = tuple(msgspec.structs.replace(risk, reasons=("paced",), **excluded) for risk in report.risks)
    found = doubts_of(msgspec.structs.replace(report, risks=every))
    assert [doubt.words for doubt in found] == ["not assessable: the rhythm is paced", "small amplitudes"]
    one = (msgspec.structs.replace(report.risks[0], reasons=("head_not_learned",), **excluded), *report.risks[1:])
    assert doubts_of(msgspec.structs.replace(report, risks=one))[0].words == (
        "not assessable for coronary artery disease: the model did not learn this disease"
    )


def test_doubts_stay_few_and_short_whatever_a_report_says(case):
    codes = [f"code_{n}" for n in range(500)]
    report = with_warnings(case, *WORDS, *codes)
    risks = [
        msgspec.structs.replace(report.risks[0], flagged=False, verdict="not_assessable", reasons=("x" * 900 + str(n),))
        for n in range(300)
    ]
    found = doubts_of(msgspec.structs.replace(report, risks=(*report.risks[:1], *risks)))
    assert len(found) <= 4 + len(WORDS) + 1
    assert max(len(doubt.words) for doubt in found) <= MAX_WORDS


def test_an_alert_says_the_doubts_whichever_comes_first_and_also_where_its_report_is_no_longer_kept():
    case = simulate_case(3, 2, at=NOW, risks=FLAGGED, site="ward 3", doubts=("chest_lead_reversal",))
    for messages in (case.messages(), [*case.messages()][::-1], [(ECG_ALERTS, b"x", case.alerts[0])]):
        rows = feed_all(new_state(), messages).alerts.all()
        assert {doubt.words for row in rows for doubt in row.doubts} == {"chest leads look exchanged"}
        assert {row.site for row in rows} == {"ward 3"}
    state = feed_all(new_state(), [(ECG_ALERTS, b"x", msgspec.structs.replace(case.alerts[0], ecg_quality=None))])
    state.alerts.take_changed()
    feed_all(state, [(ECG_RISK, b"x", case.report)])
    assert [row.doubts[0].code for row in state.alerts.take_changed()] == ["chest_lead_reversal"]


# --- sites, and what was rejected


def test_lists_are_filtered_by_site_and_the_pages_are_told_the_sites(case):
    placed = msgspec.structs.replace(changed(case, "at ward 3"), site="ward 3")
    rejected = replace_site(rejection("r"), "ward 5")
    state = feed_all(new_state(), [(ECG_RISK, b"x", placed), (ECG_RISK, b"x", changed(case, "nowhere"))])
    feed_all(state, [(ECG_REJECTED, b"x", rejected)])
    assert [row.record_id for row in state.records.rows(9, site="ward 3")] == ["at ward 3"]
    assert [row.record_id for row in state.records.rows(9, site="")] == ["nowhere"]
    assert len(state.records.rows(9)) == 2
    assert len(state.rejections.find(9, site="ward 5")) == 1
    assert state.rejections.find(9, site="ward 3") == state.rejections.find(9, site="") == []
    assert state.overview(NOW.timestamp()).sites == ("ward 3", "ward 5")


def test_the_list_of_records_may_be_of_those_that_are_flagged_doubtful_or_not_assessable(case):
    excluded = {"flagged": False, "verdict": "not_assessable", "reasons": ("paced",)}
    paced = changed(case, "paced")
    paced = msgspec.structs.replace(paced, risks=tuple(msgspec.structs.replace(r, **excluded) for r in paced.risks))
    doubtful = replace(case, report=with_warnings(case, "age_unknown")).report
    doubtful = msgspec.structs.replace(doubtful, record_id="doubtful")
    quiet = changed(case, "quiet", heart_failure=0.01, cardiomyopathy=0.01)
    state = feed_all(new_state(), [(ECG_RISK, b"x", one) for one in (paced, doubtful, quiet)])
    kinds = {"flagged": {"doubtful"}, "not_assessable": {"paced"}, "doubtful": {"doubtful", "paced"}}
    for kind, wanted in kinds.items():
        assert {row.record_id for row in state.records.rows(9, kind=kind)} == wanted
    assert len(state.records.rows(9, kind="all")) == len(state.records.rows(9)) == 3


def rejection(record_id):
    refused = Refused(None, UnusableSignal("flat: V1", code="flat_lead", record_id=record_id, leads="V1"))
    return compose_rejection(refused, "t/0/1", NOW)


def replace_site(message, site):
    return msgspec.structs.replace(message, site=site)


def test_the_page_of_a_rejected_record_says_why_it_was_rejected(case):
    state = feed_all(new_state(), [(ECG_REJECTED, b"x", rejection("refused"))])
    page = compose_page(state, "refused")
    assert (page.rejection.code, page.report, page.alerts) == ("flat_lead", None, [])
    assert compose_page(state, "unknown") is None
    feed_all(state, replace(case, report=changed(case, "refused")).messages())
    assert compose_page(state, "refused").rejection is None  # the ECG under this id that was screened is shown
