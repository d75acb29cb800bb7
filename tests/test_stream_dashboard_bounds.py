"""The dashboard's state is bounded in bytes, shows what contradicts, and believes no clock that cannot be right."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import msgspec
import psutil
import pytest
from dashboard_parts import FLAGGED, NOW, StubFeed, ack_of, feed_all, new_state
from dashboard_ward import simulate_case

from schemas.messages import NOTICE, Rejection, decode_message, encode_message
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS, ECG_ALERTS_ACK, ECG_REJECTED, ECG_RISK, LARGEST
from stream.dashboard.metrics import DashboardMetrics
from stream.dashboard.recent_rejections import MAX_BYTES
from stream.dashboard.record_page import compose_page

MIB = 2**20


@pytest.fixture(scope="module")
def case():
    return simulate_case(3, 1, at=NOW, risks=FLAGGED)


def padded(message, field, size):
    """Return a message as JSON of so many bytes, by a field that is a string."""
    shorter = encode_message(msgspec.structs.replace(message, **{field: ""}))
    return encode_message(msgspec.structs.replace(message, **{field: "x" * (size - len(shorter))}))


def rejection(number, detail="cut off at a rail: V1"):
    return Rejection(
        rejection_id=f"rejection-{number}",
        record_id=f"record-{number}",
        code="saturated",
        detail=detail,
        numbers={},
        source="t/0/1",
        created_at=NOW,
    )


def receive(state, topic, value, *, key=b"p", arrived=NOW):
    return state.receive(topic, key, value, NOW.timestamp(), arrived=arrived and arrived.timestamp())


# --- bytes


@pytest.mark.parametrize("topic", [ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS_ACK])
def test_a_message_over_the_bound_of_its_topic_is_counted_and_not_kept(case, topic):
    messages = {
        ECG_RISK: (case.report, "notice"),
        ECG_ALERTS: (case.alerts[0], "notice"),
        ECG_REJECTED: (rejection(1), "detail"),
        CMR_RESULTS: (case.result(), "notice"),
    }
    message, field = messages.get(topic, (None, None))
    if message:
        assert receive(new_state(), topic, padded(message, field, LARGEST[topic]))
        assert not receive(new_state(), topic, padded(message, field, LARGEST[topic] + 1))
    assert not receive(new_state(), topic, b" " * (LARGEST[topic] + 1))


def test_a_key_that_is_none_of_ours_is_not_kept_so_nothing_is_published_under_it(case):
    state, huge = new_state(), b"k" * 900_000
    feed_all(state, [(ECG_ALERTS, huge, case.alerts[0]), (CMR_REQUESTS, huge, case.request)])
    assert state.alerts.get(case.alerts[0].identifier).key is None
    assert state.records.request(case.record.record_id)[0] is None
    feed_all(state, [(ECG_ALERTS, b"P-1", case.alerts[1])])
    assert state.alerts.get(case.alerts[1].identifier).key == b"P-1"


def test_the_largest_messages_of_every_topic_take_a_bounded_room(case):
    capacity = 1000
    state, process = new_state(capacity=capacity), psutil.Process()
    before = process.memory_info().rss
    for n in range(6 * capacity):
        noise = bytes(41 + (n * 7919 + k * 104_729 + k * k) % 80 for k in range(500)).decode().replace("\\", "/") * 30
        alert = msgspec.structs.replace(case.alerts[0], identifier=f"a{n}", record_id=f"r{n}", notice=noise)
        report = msgspec.structs.replace(case.report, report_id=f"r{n}", record_id=f"r{n}", notice=2 * noise[:11_000])
        ack = msgspec.structs.replace(ack_of(alert), identifier=f"early-{n}", comment="c" * 2000)
        messages = [(ECG_RISK, report), (ECG_ALERTS, alert), (ECG_ALERTS_ACK, ack), (ECG_REJECTED, rejection(n, noise))]
        assert all(receive(state, topic, encode_message(one)) for topic, one in messages)
        if n % 100 == 0:
            state.alerts.take_changed(), state.alerts.take_dropped(), state.records.take_changed()
    assert process.memory_info().rss - before < 100 * MIB
    assert state.overview(NOW.timestamp()).not_shown > 4 * capacity


def test_the_list_of_rejections_stays_small_whatever_they_hold():
    state = new_state()
    for n in range(1500):
        assert receive(state, ECG_REJECTED, padded(rejection(n), "detail", LARGEST[ECG_REJECTED]))
    found = state.rejections.find(1000)
    assert len(msgspec.json.encode(found)) <= MAX_BYTES + 1000
    assert found[0].rejection_id == "rejection-1499"
    assert state.rejections.count == 1500
    for n in range(1500):
        receive(state, ECG_REJECTED, encode_message(rejection(f"ordinary-{n}")))
    assert len(state.rejections.find(1000)) == 1000
    assert decode_message(Rejection, encode_message(state.rejections.find(1)[0])) == rejection("ordinary-1499")


def test_a_row_has_no_more_risks_than_there_are_diseases(case):
    state = feed_all(new_state(), [(ECG_RISK, b"p", msgspec.structs.replace(case.report, risks=case.report.risks * 9))])
    assert len(state.records.rows(1)[0].risks) == 5


# --- contradictions


def another(case, **changes):
    """Return a case under the same record id: another patient, and the same ids."""
    other = simulate_case(3, 9, at=NOW + timedelta(minutes=1), risks=FLAGGED | {"heart_failure": 0.97})
    fields = {"record_id": case.record.record_id, **changes}
    report = msgspec.structs.replace(other.report, report_id=case.report.report_id, **fields)
    same = {"identifier": case.alerts[0].identifier, "derived_from": report.report_id}
    return report, msgspec.structs.replace(other.alerts[0], code=case.alerts[0].code, **same, **fields)


def test_the_alert_of_another_patient_under_a_known_id_is_shown_open_marked_and_counted(case):
    state = feed_all(new_state(), [*case.messages(), (ECG_ALERTS_ACK, b"x", ack_of(case.alerts[0]))])
    report, alert = another(case)
    feed_all(state, [(ECG_RISK, b"x", report), (ECG_ALERTS, b"x", alert)])
    rows = {row.patient_id: row for row in state.alerts.all() if row.disease == alert.code}
    own, others = rows[case.record.patient_id], rows[report.patient_id]
    assert (own.status, own.contradicts) == ("acknowledged", None)
    assert (others.status, others.probability) == ("raised", alert.risks[0].probability)
    assert "another patient" in others.contradicts
    assert state.overview(NOW.timestamp()).contradictions == 2
    page = compose_page(state, case.record.record_id)
    assert page.report == case.report
    assert (page.others.number, page.others.patient_id) == (1, report.patient_id)
    assert "another patient" in page.others.contradicts
    assert state.records.rows(1)[0].contradicted


def test_an_alert_that_contradicts_the_report_is_marked_whichever_comes_first(case):
    _, alert = another(case)
    foreign = msgspec.structs.replace(alert, identifier="an-identifier-of-its-own")
    for messages in ([case.report, foreign], [foreign, case.report]):
        state = new_state()
        for message in messages:
            feed_all(state, [(ECG_RISK if message is case.report else ECG_ALERTS, b"x", message)])
        assert "another patient" in state.alerts.all()[0].contradicts
        assert "another patient" in state.alerts.take_changed()[0].contradicts
        assert state.overview(NOW.timestamp()).contradictions == 1


def test_a_repetition_and_another_models_report_contradict_nothing(case):
    state = feed_all(new_state(), [*case.messages(), *case.messages()])
    model = msgspec.structs.replace(case.report.model, version="2")
    newer = msgspec.structs.replace(case.report, report_id="of-model-2", model=model)
    feed_all(state, [(ECG_RISK, b"x", newer)])
    assert state.overview(NOW.timestamp()).contradictions == 0
    assert compose_page(state, case.record.record_id).report == newer
    assert not state.records.rows(1)[0].contradicted


# --- clocks


def test_reports_of_the_year_9999_neither_stay_on_top_nor_stop_the_clock(case):
    state = new_state(capacity=50)
    future = datetime(9999, 1, 1, tzinfo=UTC)
    for n in range(400):
        report = msgspec.structs.replace(case.report, report_id=f"f{n}", record_id=f"f{n}", created_at=future)
        receive(state, ECG_RISK, encode_message(report), arrived=NOW - timedelta(minutes=5))
    receive(state, ECG_RISK, encode_message(case.report), arrived=NOW)
    assert state.records.rows(1)[0].record_id == case.record.record_id
    assert state.records.rows(2)[1].created_at == (NOW - timedelta(minutes=5)).timestamp()
    overview = state.overview(NOW.timestamp())
    assert overview.last_report <= NOW.timestamp()
    assert overview.clock_off_s > 1e9
    assert state.overview(NOW.timestamp() + 3600).clock_off_s is None


def test_without_a_known_arrival_the_future_is_not_believed_either(case):
    future = msgspec.structs.replace(case.report, created_at=datetime(9999, 1, 1, tzinfo=UTC))
    state = feed_all(new_state(), [(ECG_RISK, b"x", future)])
    assert state.records.rows(1)[0].created_at == NOW.timestamp()


def test_an_alert_of_a_worker_13_hours_behind_is_open_and_says_so(case):
    behind = msgspec.structs.replace(case.alerts[0], onset=NOW - timedelta(hours=13))
    state = new_state()
    receive(state, ECG_ALERTS, encode_message(behind))
    assert state.alerts.due(NOW) == []
    (row,) = state.alerts.all()
    assert (row.status, row.onset, row.clock_off_s) == ("raised", NOW.timestamp(), -13 * 3600)
    assert state.overview(NOW.timestamp()).clock_off_s == -13 * 3600
    (entry,) = state.alerts.due(NOW + timedelta(hours=12))
    assert (entry.alert.status, entry.alert.onset) == ("expired", behind.onset)


def test_a_result_of_the_future_does_not_outlast_the_next_one(case):
    state = feed_all(new_state(), case.messages())
    first = msgspec.structs.replace(case.result(), created_at=datetime(9999, 1, 1, tzinfo=UTC))
    second = msgspec.structs.replace(case.result(), status="failed", code="generation_failed", created_at=NOW)
    receive(state, CMR_RESULTS, encode_message(first), arrived=NOW - timedelta(minutes=1))
    receive(state, CMR_RESULTS, encode_message(second), arrived=NOW)
    assert compose_page(state, case.record.record_id).result == second


# --- metrics


def metrics_of(feed):
    hub = feed.hub
    return DashboardMetrics().text(feed.state, feed.header(), pages=hub.pages, sessions=hub.sessions).decode()


def test_the_metrics_say_what_is_not_shown_and_name_nobody(case):
    state = new_state(capacity=10)
    for n in range(30):
        feed_all(state, [(ECG_ALERTS, b"x", msgspec.structs.replace(case.alerts[0], identifier=f"a{n}"))])
    text = metrics_of(StubFeed(state))
    assert "cardiacnets_dashboard_open_alerts_not_shown 20.0" in text
    assert 'cardiacnets_dashboard_alerts{status="raised"} 10.0' in text
    assert case.record.patient_id not in text
    assert NOTICE not in text


def test_the_metrics_say_what_one_pages_on_who_looks_and_of_which_topic_nothing_could_be_read(case):
    now = datetime.now(UTC)
    raised = [
        msgspec.structs.replace(case.alerts[0], identifier=f"a{n}", onset=now - timedelta(hours=n)) for n in (1, 2)
    ]
    escalated = msgspec.structs.replace(raised[0], status="escalated")
    closed = ack_of(raised[1])
    feed = StubFeed(feed_all(new_state(), [(ECG_ALERTS, b"x", alert) for alert in (*raised, escalated, b"no alert")]))

    async def looked_at():
        pages = [feed.hub.stream(None, session=session) for session in ("one", "one", "other")]
        for page in pages:
            await anext(page)
        return metrics_of(feed)

    text = asyncio.run(looked_at())
    assert re.search(r"^cardiacnets_dashboard_oldest_open_alert_seconds 72\d\d", text, re.MULTILINE)
    assert 'cardiacnets_dashboard_alerts{status="escalated"} 1.0' in text
    assert 'cardiacnets_dashboard_unreadable_messages{topic="ecg.alerts.v1"} 1.0' in text
    assert 'cardiacnets_dashboard_unreadable_messages{topic="ecg.risk.v1"} 0.0' in text
    assert "cardiacnets_dashboard_pages 3.0" in text
    assert "cardiacnets_dashboard_sessions 2.0" in text
    feed_all(feed.state, [(ECG_ALERTS_ACK, b"x", closed)])
    text = metrics_of(feed)
    assert re.search(r"^cardiacnets_dashboard_oldest_open_alert_seconds 36\d\d", text, re.MULTILINE)
