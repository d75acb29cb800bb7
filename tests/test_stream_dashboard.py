"""The dashboard without Kafka and without a browser: its state, its events, what its numbers mean."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from dashboard_parts import FLAGGED, NOW, ack_of, feed_all, new_state
from dashboard_ward import MODEL, copies, simulate_case
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE_S

from inference.report import compose_rejection
from inference.screener import Refused
from schemas.errors import IdOfAnotherEcg
from schemas.messages import Rejection, Risk
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS, ECG_ALERTS_ACK, ECG_REJECTED, ECG_RISK
from stream.dashboard.events import CHARACTERS_KEPT, EVENTS_KEPT, WAITING, Hub
from stream.dashboard.explanations import explain, put_in_words
from stream.dashboard.record_page import compose_page


@pytest.fixture(scope="module")
def case():
    return simulate_case(3, 1, at=NOW, risks=FLAGGED)


# --- state


@settings(deadline=None)
@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=4))
def test_the_order_and_the_repetition_of_messages_make_no_difference(case, order, repeated):
    result = msgspec.structs.replace(case.result(), created_at=NOW)
    messages = [*case.messages(), (CMR_RESULTS, b"x", result), (ECG_ALERTS_ACK, b"x", ack_of(case.alerts[0]))]
    shuffled = [messages[place] for place in [*order, *repeated]]
    assert len(messages) == 6
    ordered, other = (feed_all(new_state(), some) for some in (messages, shuffled))
    name = case.record.record_id
    assert compose_page(other, name) == compose_page(ordered, name)
    assert other.alerts.all() == ordered.alerts.all()
    assert other.records.request(name) == ordered.records.request(name)
    assert other.overview(NOW.timestamp()).records == 1


def test_the_newest_records_are_kept_and_the_rest_is_dropped(case):
    state = new_state(capacity=50)
    for copied in copies(case, 1000, NOW):
        feed_all(state, copied.messages())
    rows = state.records.rows(1000)
    assert 50 <= len(rows) <= 50 + 50 + 256  # the newest, those of open alerts, and the slack
    assert [row.record_id for row in rows[:50]] == [f"replay-{i}" for i in range(999, 949, -1)]
    assert len(state.alerts.all()) <= 50
    assert state.overview(NOW.timestamp()).records == 1000


def test_the_pages_are_told_what_changed_and_what_was_dropped_and_hold_what_the_server_holds(case):
    state, page = new_state(capacity=50), {}
    for copied in copies(case, 400, NOW):
        feed_all(state, copied.messages())
        for identifier in state.alerts.take_dropped():
            page.pop(identifier, None)
        page |= {row.identifier: row for row in state.alerts.take_changed()}
    assert 0 < len(page) <= 50
    assert sorted(page.values(), key=lambda row: (row.rank, -row.onset, row.identifier)) == state.alerts.all()
    assert state.alerts.take_changed() == state.alerts.take_dropped() == []


def test_an_alert_that_is_dropped_and_comes_back_is_not_told_as_dropped(case):
    state = new_state(capacity=1)
    old, new = (
        msgspec.structs.replace(case.alerts[0], identifier=name, onset=NOW + timedelta(seconds=seconds))
        for name, seconds in (("old", 0), ("new", 1))
    )
    feed_all(state, [(ECG_ALERTS, b"x", old), (ECG_ALERTS, b"x", new)])
    escalated = msgspec.structs.replace(old, status="escalated")
    feed_all(state, [(ECG_ALERTS, b"x", escalated)])
    assert state.alerts.take_dropped() == ["new"]
    assert [row.identifier for row in state.alerts.take_changed()] == ["old"]


def test_what_is_no_message_of_ours_is_counted_and_passed_over():
    state = new_state()
    for topic in (ECG_RISK, ECG_ALERTS, ECG_REJECTED, CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS_ACK):
        for value in (None, b"", b"<script>", b"\xff\x00", b"[" * 10_000, b"{}", b" " * 300_000):
            assert not state.receive(topic, None, value, 0.0)
    assert state.overview(0.0).unreadable == 42
    assert state.alerts.all() == state.records.rows(10) == []


def test_an_alert_without_a_risk_is_none(case):
    broken = msgspec.structs.replace(case.alerts[0], risks=())
    assert feed_all(new_state(), [(ECG_ALERTS, b"x", broken)]).overview(0.0).unreadable == 1


def test_a_replay_counts_for_throughput_but_not_for_latency(case):
    now = NOW
    recent = [copied.report for copied in copies(case, 60, now, seconds=120)]
    state = feed_all(new_state(started_at=now.timestamp()), [(ECG_RISK, b"x", report) for report in recent], now)
    overview = state.overview(now.timestamp())
    assert 28 <= overview.per_minute <= 31
    assert overview.seen is None
    live = msgspec.structs.replace(
        case.report, record_id="live", created_at=now + timedelta(seconds=1), recorded_at=now - timedelta(seconds=1)
    )
    feed_all(state, [(ECG_RISK, b"x", live)], now + timedelta(seconds=1.5))
    overview = state.overview(now.timestamp())
    assert overview.seen.p50 == pytest.approx(0.5, abs=0.01)
    assert overview.recorded.p95 == pytest.approx(2.5, abs=0.01)


def test_a_latency_of_long_ago_does_not_stand_for_now(case):
    state = feed_all(new_state(), [(ECG_RISK, b"x", case.report)], NOW)
    then = state.overview(NOW.timestamp() + 600)
    later = state.overview(NOW.timestamp() + 601)
    assert then.seen
    assert then.recorded
    assert later.seen is later.recorded is None
    assert later.last_report == NOW.timestamp()


@pytest.mark.parametrize(
    ("before", "late"),
    [(timedelta(minutes=9), False), (timedelta(minutes=11), True), (timedelta(minutes=-3), False), (None, True)],
)
def test_an_alert_of_an_old_ecg_is_late_and_so_is_one_that_does_not_tell(case, before, late):
    recorded_at = before if before is None else NOW - before
    alert = msgspec.structs.replace(case.alerts[0], recorded_at=recorded_at)
    (row,) = feed_all(new_state(), [(ECG_ALERTS, b"x", alert)]).alerts.all()
    assert row.late is late
    assert row.recorded_at == (recorded_at and recorded_at.timestamp())


@pytest.mark.parametrize(
    ("recorded_at", "late", "doubtful"),
    [
        (NOW + timedelta(hours=2), True, True),
        (datetime(2150, 1, 1, tzinfo=UTC), True, True),
        (datetime(1970, 1, 20, tzinfo=UTC), True, True),
        (NOW + timedelta(minutes=9), False, False),
        (NOW - timedelta(days=9000), True, False),
    ],
)
def test_an_alert_whose_ecg_tells_an_implausible_time_is_no_news(case, recorded_at, late, doubtful):
    alert = msgspec.structs.replace(case.alerts[0], recorded_at=recorded_at)
    (row,) = feed_all(new_state(), [(ECG_ALERTS, b"x", alert)]).alerts.all()
    assert (row.late, row.doubtful) == (late, doubtful)


def test_a_rejection_of_another_ecg_under_its_id_leaves_the_first_patients_row_as_it_is(case):
    state = feed_all(new_state(), case.messages())
    page, rows = compose_page(state, case.record.record_id), state.records.rows(10)
    refused = Refused(case.record, IdOfAnotherEcg("used before", record_id=case.record.record_id))
    feed_all(state, [(ECG_REJECTED, b"x", compose_rejection(refused, "t/0/1", NOW))])
    assert compose_page(state, case.record.record_id) == page
    assert state.records.rows(10) == rows
    assert [rejection.code for rejection in state.rejections.find(10)] == ["id_of_another_ecg"]


def test_a_clock_that_is_ahead_gives_no_latency_and_no_report_of_tomorrow(case):
    state = new_state(started_at=0.0)
    ahead = msgspec.structs.replace(
        case.report, created_at=NOW + timedelta(hours=3), recorded_at=NOW + timedelta(hours=2)
    )
    feed_all(state, [(ECG_RISK, b"x", ahead)], NOW)
    overview = state.overview(NOW.timestamp())
    assert overview.seen is overview.recorded is None
    assert overview.last_report == NOW.timestamp()
    assert overview.records == 1


def test_a_backfill_leaves_the_record_of_an_alert_until_it_is_closed(case):
    urgent = simulate_case(3, 2, at=NOW - timedelta(hours=2), risks=FLAGGED)
    state = feed_all(new_state(capacity=50), urgent.messages())
    reports = [(ECG_RISK, copied.key, copied.report) for copied in copies(case, 1000, NOW)]
    feed_all(state, reports[:500])
    assert compose_page(state, urgent.record.record_id).report == urgent.report
    feed_all(state, [(ECG_ALERTS_ACK, b"x", ack_of(alert)) for alert in urgent.alerts])
    feed_all(state, reports[500:])
    assert state.records.report(urgent.record.record_id) is None


@pytest.mark.parametrize(("topic", "value"), [(ECG_RISK, b"of a later version"), (ECG_REJECTED, b"")])
def test_what_a_worker_says_is_an_answer_whether_it_is_understood_or_not(topic, value):
    state = new_state()
    for at in (100, 103, 106):
        state.unanswered.note_ends({0: at}, at)
    assert state.overview(300).unanswered_since == 103
    state.receive(topic, None, value, 301)
    assert state.overview(600).unanswered_since is None


def test_records_and_rejections_are_found_by_what_they_carry(case):
    rejection = Rejection(
        rejection_id="r",
        record_id="dev-7",
        code="flat_lead",
        detail="V2 is flat",
        numbers={},
        source="t/0/1",
        created_at=NOW,
    )
    state = feed_all(new_state(), [*case.messages(), (ECG_REJECTED, b"x", rejection), (ECG_REJECTED, b"x", rejection)])
    assert [row.record_id for row in state.records.rows(5, case.record.patient_id.lower())] == [case.record.record_id]
    assert state.records.rows(5, "nobody") == []
    assert state.rejections.find(5, "FLAT") == [rejection]
    assert state.rejections.find(5, "noise") == []
    assert state.overview(0.0).rejected == 1


# --- events


async def taken(hub, last_id, number):
    async with aclosing(hub.stream(last_id)) as stream:
        return [await anext(stream) for _ in range(number)]


async def test_a_page_that_comes_back_gets_what_it_missed():
    hub = Hub(lambda: [("reset", "{}")])
    hub.publish("alerts", "1")
    reset, ready = await taken(hub, None, 2)
    assert (reset.event, ready.event) == ("reset", "ready")
    hub.publish("alerts", "2")
    hub.publish("alerts", "3")
    assert [event.data for event in await taken(hub, ready.id, 2)] == ["2", "3"]


@pytest.mark.parametrize("last_id", ["", "other-1", "-", "x" * 100, None, "ⅷ-٣"])
async def test_a_page_that_nobody_knows_gets_a_snapshot(last_id):
    hub = Hub(lambda: [("reset", "{}")])
    assert [event.event for event in await taken(hub, last_id, 2)] == ["reset", "ready"]


@pytest.mark.parametrize(("events", "characters"), [(EVENTS_KEPT + 1, 1), (3, CHARACTERS_KEPT // 2)])
async def test_a_page_that_was_away_too_long_gets_a_snapshot(events, characters):
    hub = Hub(lambda: [("reset", "{}")])
    _, ready = await taken(hub, None, 2)
    for _ in range(events):
        hub.publish("alerts", "x" * characters)
    assert [event.event for event in await taken(hub, ready.id, 2)] == ["reset", "ready"]


async def test_a_slow_page_is_cut_off_and_the_others_go_on():
    hub = Hub(lambda: [("reset", "{}")])
    slow, quick = hub.stream(None), hub.stream(None)
    for stream in (slow, quick):
        for _ in range(2):
            await anext(stream)
    for number in range(WAITING + 1):
        hub.publish("alerts", str(number))
        assert (await anext(quick)).data == str(number)
    assert hub.pages == 1
    assert [event async for event in slow] == []
    await quick.aclose()
    assert hub.pages == 0


async def test_pages_that_open_together_share_one_snapshot_and_get_what_came_since():
    made = []

    def snapshot():
        made.append("made")
        return [("reset", "{}")]

    hub = Hub(snapshot)
    hub.publish("alerts", "1")
    assert [event.event for event in await taken(hub, None, 2)] == ["reset", "ready"]
    hub.publish("alerts", "2")
    first, second = [await taken(hub, None, 3) for _ in range(2)]
    assert [event.event for event in first] == ["reset", "ready", "alerts"]
    assert first[2].data == "2"
    assert made == ["made"]
    assert all(mine.encode() is theirs.encode() for mine, theirs in zip(first[::2], second[::2], strict=True))
    assert [event.data for event in await taken(hub, first[1].id, 1)] == ["2"]


async def test_a_snapshot_is_made_anew_where_what_came_since_is_no_longer_kept():
    numbers = iter("123")
    hub = Hub(lambda: [("reset", next(numbers))])
    assert (await taken(hub, None, 1))[0].data == "1"
    for _ in range(EVENTS_KEPT + 1):
        hub.publish("alerts", "x")
    assert (await taken(hub, None, 1))[0].data == "2"


async def test_the_streams_of_a_session_end_with_it_and_the_others_go_on():
    hub = Hub(lambda: [("reset", "{}")])
    ended, short, other = hub.stream(None, session="a"), hub.stream(None, session="b", lasts_s=0.01), hub.stream(None)
    for stream in (ended, short, other):
        for _ in range(2):
            await anext(stream)
    hub.end_session("a")
    assert [event async for event in ended] == []
    assert [event async for event in short] == []
    assert hub.pages == 1
    await other.aclose()


async def test_closing_ends_every_stream():
    hub = Hub(lambda: [("reset", "{}")])

    async def follow():
        return [event.event async for event in hub.stream(None)]

    page = asyncio.create_task(follow())
    await asyncio.sleep(0)
    hub.close()
    assert await asyncio.wait_for(page, PATIENCE_S) == ["reset", "ready"]
    assert await asyncio.wait_for(follow(), PATIENCE_S) == ["reset", "ready"]


# --- meaning


def test_a_risk_in_words():
    risk = Risk(disease="heart_failure", probability=0.413, threshold=0.2, flagged=True)
    learned = msgspec.structs.replace(MODEL, weights="trained on a cohort")
    said = {
        p: put_in_words(msgspec.structs.replace(risk, probability=p), learned) for p in (0.413, 0.001, 0.0101, 0.9999)
    }
    assert said[0.413] == "Of 100 patients with this estimate, about 41 have heart failure."
    assert said[0.001] == "Of 100 patients with this estimate, fewer than 1 have heart failure."
    assert said[0.0101] == "Of 100 patients with this estimate, about 1 has heart failure."
    assert said[0.9999] == "Of 100 patients with this estimate, more than 99 have heart failure."
    assert put_in_words(risk, MODEL) == "Of 100 simulated patients with this estimate, about 41 have heart failure."
    excluded = msgspec.structs.replace(risk, verdict="not_assessable", reasons=("paced", "of_tomorrow"))
    assert put_in_words(excluded, learned) == "Not assessable: the rhythm is paced, of tomorrow."
    untrained = msgspec.structs.replace(MODEL, trained=False)
    assert "untrained" in put_in_words(risk, untrained)
    assert "41" not in put_in_words(risk, untrained)


def test_measurements_stand_beside_published_ranges_only_if_they_mean_something(case):
    lines = {line.name: line for group in explain(case.report).groups for line in group.lines}
    assert (lines["LVEF"].women.low, lines["LVEF"].women.high) == (51.2, 70.8)
    assert "Petersen" in lines["LVEF"].women.source
    assert lines["LVCO"].women is lines["LVCO"].men is None
    untrained = msgspec.structs.replace(case.report, model=msgspec.structs.replace(MODEL, trained=False))
    scores = msgspec.structs.replace(
        case.report, phenotypes=tuple(msgspec.structs.replace(p, unit="z") for p in case.report.phenotypes)
    )
    for report in (untrained, scores):
        assert all(line.women is line.men is None for group in explain(report).groups for line in group.lines)


def test_a_report_without_some_measurements_is_explained_as_far_as_it_goes(case):
    few = msgspec.structs.replace(case.report, phenotypes=case.report.phenotypes[:4])
    meaning = explain(few)
    assert [group.title for group in meaning.groups] == ["Ventricles"]
    assert meaning.bullseyes == ()
