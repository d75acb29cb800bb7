"""The book of alerts: whatever the order of the messages, it says the same; and nothing due is forgotten."""

import copy
import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schemas.messages import ALERT_STATUSES, AcknowledgedBy, Acknowledgement, Alert, ModelReference, Risk
from stream.alerting.acknowledgements import KEPT, NOWHERE, Place, doubt_of
from stream.alerting.alert_book import BYTES_AN_ALERT, FURTHER_BYTES, AlertBook, rank_of
from stream.settings import AlertSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = ModelReference(name="m", version="1", trained=True, weights="w")


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def alert(identifier="a", status="raised", *, priority="high", onset=NOW, code="heart_failure", subject="p"):
    return Alert(
        identifier=identifier,
        status=status,
        priority=priority,
        derived_from="report",
        record_id=f"record-{identifier}",
        subject=subject,
        code=code,
        risks=(Risk(disease=code, probability=0.9, threshold=0.1, flagged=True),),
        model=MODEL,
        onset=onset,
    )


def ack(identifier="a", by="Dr. A", seconds=10, record_id=None, *, whole_record=False):
    return Acknowledgement(
        identifier=identifier,
        record_id=record_id or f"record-{identifier}",
        whole_record=whole_record,
        acknowledged_by=by,
        comment="",
        acknowledged_at=at(seconds),
    )


def book(**changes):
    return AlertBook(**{"escalates_s": 900, "expires_s": 43_200} | changes)


def due(there, seconds):
    return [(entry.alert.identifier, entry.alert.status) for entry in there.due(at(seconds))]


def test_an_acknowledgement_makes_the_alert_acknowledged_and_that_is_published_under_the_alerts_key():
    there = book()
    there.receive_alert(alert(), b"p")
    closed = msgspec.structs.replace(
        alert(status="acknowledged"), acknowledgement=AcknowledgedBy(name="Dr. A", authenticated=False, at=at(10))
    )
    assert there.receive_ack(ack()) == closed
    (entry,) = there.due(at(11))
    assert (entry.alert.status, entry.key, entry.acknowledgement, entry.open) == ("acknowledged", b"p", ack(), False)


def test_an_acknowledgement_that_comes_before_its_alert_waits_for_it():
    there = book()
    assert there.receive_ack(ack()) is None
    assert there.receive_alert(alert()).alert.status == "acknowledged"
    assert there.get("a").acknowledgement == ack()


def of_one_record(*alerts):
    return [msgspec.structs.replace(one, record_id="record-a") for one in alerts]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_acknowledgement_of_a_whole_record_closes_all_its_alerts_and_no_other_in_any_order(order):
    there = book()
    messages = [*of_one_record(alert("a"), alert("b", code="pericarditis")), ack("a", whole_record=True)]
    for n in order:
        hear(there, messages[n], Place(0, 1))
    there.receive_alert(alert("c"))
    assert sorted(due(there, 20)) == [(identifier, "acknowledged") for identifier in ("a", "b")]
    assert {entry.alert.acknowledgement.name for entry in there.of_record("record-a")} == {"Dr. A"}
    assert there.get("c").open


def test_an_acknowledgement_of_one_alert_leaves_the_other_alerts_of_its_record_open():
    there = book()
    for one in of_one_record(alert("a"), alert("b", code="pericarditis")):
        there.receive_alert(one)
    there.receive_ack(ack("a"))
    assert there.get("b").open


@pytest.mark.parametrize("early", [True, False])
def test_an_acknowledgement_of_a_whole_record_closes_no_alert_of_another_patient_under_the_records_id(early):
    there = book()
    messages = [ack("a", whole_record=True), alert("a"), alert("a", subject="q")]
    for message in messages if early else reversed(messages):
        hear(there, message, Place(0, 1))
    assert [entry.open for entry in there.of_record("record-a") if entry.contradicts] == [True]


def test_an_alert_that_came_acknowledged_says_who_took_note():
    there, by = book(), AcknowledgedBy(name="Dr. A", authenticated=True, at=at(5))
    there.receive_alert(alert())
    there.receive_alert(msgspec.structs.replace(alert(status="acknowledged"), acknowledgement=by))
    assert there.get("a").alert.acknowledgement == by


def said(entry):
    """Return who acknowledged an alert, and how each acknowledgement is doubted."""
    return [(one.message.acknowledged_by, doubt_of(one, entry)) for one in entry.acknowledgements]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_several_acknowledgements_the_first_one_on_the_topic_counts_whatever_their_clocks_say(order):
    there, messages = book(), ((ack(by="Dr. A", seconds=5), 7), (ack(by="Dr. B", seconds=3), 8), None)
    for n in order:
        if messages[n]:
            there.receive_ack(messages[n][0], place=Place(0, messages[n][1]))
        else:
            there.receive_alert(alert())
    entry = there.get("a")
    assert entry.acknowledgement.acknowledged_by == "Dr. A"
    assert said(entry) == [("Dr. A", None), ("Dr. B", None)]


def test_what_was_clicked_takes_its_place_when_it_comes_back_from_the_topic():
    there = book()
    there.receive_alert(alert())
    there.receive_ack(ack(by="clicked"))
    assert there.get("a").acknowledgement.acknowledged_by == "clicked"
    there.receive_ack(ack(by="elsewhere", seconds=20), place=Place(0, 3))
    there.receive_ack(ack(by="clicked"), place=Place(0, 4))
    assert said(there.get("a")) == [("elsewhere", None), ("clicked", None)]


@pytest.mark.parametrize(
    ("forged", "doubt"),
    [
        (ack(by="forged", record_id="record-b"), "other_record"),
        (ack(by="forged", seconds=-301), "before_alert"),
        (ack(by="forged", seconds=-9 * 86_400), "before_alert"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_an_acknowledgement_that_cannot_be_of_its_alert_is_kept_marked_and_closes_nothing(forged, doubt, early):
    there = book()
    for message in (forged, alert()) if early else (alert(), forged):
        _ = (
            there.receive_alert(message)
            if isinstance(message, Alert)
            else there.receive_ack(message, place=Place(0, 1))
        )
    entry = there.get("a")
    assert (entry.open, entry.acknowledgement) == (True, None)
    assert said(entry) == [("forged", doubt)]
    assert due(there, 900) == [("a", "escalated")]
    there.receive_ack(ack(by="true"), place=Place(0, 2))
    assert said(there.get("a")) == [("true", None), ("forged", doubt)]
    assert due(there, 901) == [("a", "acknowledged")]


def test_an_acknowledgement_that_is_dated_back_takes_nothing_from_the_one_that_came_first():
    there = book()
    there.receive_alert(alert())
    there.receive_ack(ack(by="true", seconds=3600), place=Place(0, 1), arrived=at(3600))
    there.receive_ack(ack(by="dated back", seconds=60), place=Place(0, 2), arrived=at(7200))
    assert said(there.get("a")) == [("true", None), ("dated back", "doubtful_time")]


@pytest.mark.parametrize("seconds", [60, 9 * 86_400])
def test_an_acknowledgement_of_a_wrong_clock_closes_its_alert_and_is_marked(seconds):
    there = book()
    there.receive_alert(alert())
    there.receive_ack(ack(seconds=seconds), arrived=at(7200))
    entry = there.get("a")
    assert (entry.open, said(entry)) == (False, [("Dr. A", "doubtful_time")])


def test_an_acknowledgement_under_another_key_does_not_come_before_one_under_the_alerts_key():
    there = book()
    there.receive_alert(alert(), b"p")
    there.receive_ack(ack(by="true"), key=b"p", place=Place(5, 900))
    there.receive_ack(ack(by="foreign"), key=b"q", place=Place(0, 1))
    assert there.get("a").acknowledgement.acknowledged_by == "true"
    other = book()
    other.receive_alert(alert(), b"p")
    other.receive_ack(ack(by="foreign"), key=b"q", place=Place(0, 1))
    assert not other.get("a").open


def test_any_number_of_acknowledgements_is_bounded_and_a_true_one_is_kept():
    there = book(limit=100)
    for n in range(100):
        there.receive_alert(alert(f"a{n}"))
        for forger in range(30):
            forged = ack(f"a{n}", by=f"forger {forger}", record_id="other")
            there.receive_ack(forged, place=Place(0, forger), size=20_000)
    kept = [one for entry in there.entries() for one in entry.acknowledgements[1:]]
    assert sum(one.size for one in kept) <= FURTHER_BYTES
    assert max(len(entry.acknowledgements) for entry in there.entries()) <= KEPT
    for n in range(100):
        there.receive_ack(ack(f"a{n}", by="true"), place=Place(0, 100), size=20_000)
        assert there.get(f"a{n}").acknowledgement.acknowledged_by == "true"
    for n in range(300):
        there.receive_alert(alert(f"newer-{n}", "acknowledged", onset=at(n)))
        there.receive_ack(ack(f"newer-{n}", seconds=n), size=20_000)
        there.receive_ack(ack(f"newer-{n}", by="another", seconds=n), size=20_000)
    assert len(there) <= 100
    assert not any(there.get(f"a{n}") for n in range(100))  # and what they took is free again:
    assert len(there.get("newer-299").acknowledgements) == 2


def test_high_priority_is_escalated_and_everything_expires():
    there = book()
    there.receive_alert(alert("high"))
    there.receive_alert(alert("low", priority="low"))
    assert due(there, 899) == []
    assert due(there, 900) == [("high", "escalated")]
    assert due(there, 43_199) == [("high", "escalated")]  # it has not come back from the topic
    assert due(there, 43_200) == [("high", "expired"), ("low", "expired")]


def test_an_old_alert_expires_at_once_without_being_escalated_first():
    there = book()
    there.receive_alert(alert())
    assert due(there, 100_000) == [("a", "expired")]


def test_what_is_acknowledged_neither_escalates_nor_expires():
    there = book()
    there.receive_alert(alert())
    there.receive_ack(ack())
    there.receive_alert(alert(status="acknowledged"))
    assert due(there, 100_000) == []


def test_an_expired_alert_can_still_be_acknowledged():
    there = book()
    there.receive_alert(alert(status="expired"))
    assert there.receive_ack(ack()).status == "acknowledged"
    assert due(there, 11) == [("a", "acknowledged")]


def test_what_is_due_is_given_once_and_again_if_it_does_not_come_back():
    there = book()
    there.receive_alert(alert())
    there.receive_ack(ack())
    assert due(there, 20) == [("a", "acknowledged")]
    assert due(there, 79) == []
    assert due(there, 80) == [("a", "acknowledged")]
    there.receive_alert(alert(status="acknowledged"))
    assert due(there, 200) == []


def test_after_a_replay_only_what_was_never_published_is_due():
    there = book()
    for one in (alert("a"), alert("a", "escalated"), alert("b"), alert("c"), alert("c", "acknowledged")):
        there.receive_alert(one)
    there.receive_ack(ack("c"))
    assert due(there, 1000) == [("b", "escalated")]


def test_a_state_that_nobody_publishes_is_overdue_after_half_a_minute_and_no_longer_once_it_is_on_the_topic():
    there = book()
    there.receive_alert(alert())
    assert (due(there, 900), there.overdue(at(900)), there.overdue(at(929))) == ([("a", "escalated")], 0, 0)
    assert there.overdue(at(930)) == 1
    there.receive_alert(alert(status="escalated"))
    assert there.overdue(at(2000)) == 0


def test_a_redelivered_alert_keeps_its_first_onset():
    there = book()
    there.receive_alert(alert(onset=at(500)))
    there.receive_alert(alert(onset=NOW))
    there.receive_alert(alert(onset=at(800)))
    assert there.get("a").alert.onset == NOW


def test_the_list_shows_the_most_urgent_first_then_the_newest_and_the_closed_ones_last():
    there = book()
    rows = (
        ("closed-old", "acknowledged", "high", 0),
        ("closed-new", "expired", "low", 9),
        ("low", "raised", "low", 8),
        ("high-old", "raised", "high", 1),
        ("high-new", "raised", "high", 2),
        ("escalated", "escalated", "high", 0),
    )
    for identifier, status, priority, onset in rows:
        there.receive_alert(alert(identifier, status, priority=priority, onset=at(onset)))
    order = [entry.alert.identifier for entry in there.entries()]
    assert order == ["escalated", "high-new", "high-old", "low", "closed-new", "closed-old"]
    assert [entry.alert.identifier for entry in there.entries(limit=2)] == order[:2]
    assert there.counts() == {"raised": 3, "escalated": 1, "expired": 1, "acknowledged": 1}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"disease": "pericarditis"}, {"b"}),
        ({"patient": "p"}, {"a", "b"}),
        ({"record_id": "record-c"}, {"c"}),
        ({"statuses": ("raised",)}, {"a", "b"}),
        ({"patient": "p", "disease": "heart_failure", "statuses": ("expired",)}, set()),
    ],
)
def test_the_list_can_be_filtered(wanted, found):
    there = book()
    there.receive_alert(alert("a"))
    there.receive_alert(alert("b", code="pericarditis"))
    there.receive_alert(alert("c", "expired", subject=None))
    assert {entry.alert.identifier for entry in there.entries(**wanted)} == found


def test_the_records_of_open_alerts_are_named():
    there = book()
    for identifier, status in (("a", "raised"), ("b", "escalated"), ("c", "expired"), ("d", "acknowledged")):
        there.receive_alert(alert(identifier, status))
    assert there.open_records() == {"record-a", "record-b"}


def test_a_full_book_drops_the_oldest_closed_ones_and_no_open_one_while_there_are_closed_ones():
    there = book(limit=100)
    for n in range(60):
        there.receive_alert(alert(f"open-{n}", onset=at(n)))
    for n in range(500):
        there.receive_alert(alert(f"closed-{n}", "acknowledged", onset=at(n)))
        assert len(there) <= 100
    assert sum(entry.open for entry in there.entries()) == 60
    assert there.get("closed-499")
    assert not there.get("closed-0")


def test_acknowledgements_without_an_alert_are_bounded_too():
    there = book(limit=10)
    for n in range(50):
        there.receive_ack(ack(f"a{n}"))
    assert there.receive_alert(alert("a0")).acknowledgement is None
    assert there.receive_alert(alert("a49")).acknowledgement == ack("a49")


def test_a_full_book_tells_which_alerts_it_drops():
    dropped = []
    there = book(limit=20, dropped=dropped.append)
    for n in range(25):
        there.receive_alert(alert(f"a{n}", onset=at(n)))
    kept = {entry.alert.identifier for entry in there.entries()}
    assert sorted(dropped + list(kept)) == sorted(f"a{n}" for n in range(25))
    assert {"a0", "a1", "a2", "a3", "a24"} <= kept  # neither the longest waiting nor the newest


def flood(there, number, *, begins=0, priority="high", device="cart", prefix="flood"):
    """Let a device raise so many alerts, one a second."""
    for n in range(number):
        raised = alert(f"{prefix}-{n}", priority=priority, onset=at(begins + n))
        there.receive_alert(msgspec.structs.replace(raised, device_id=device))


def test_an_open_alert_stays_whatever_another_device_raises_after_it():
    for devices in (1, 10_000):
        there = book(limit=1000)
        there.receive_alert(alert("low", priority="low"))
        there.receive_alert(alert("real", onset=at(1)))
        for n in range(4000):
            flood(there, 1, begins=60 + n, device=f"cart-{n % devices}", prefix=f"flood-{n}")
        assert there.get("real")
        assert there.get("low")
        assert len(there) <= 1000
        there.receive_alert(alert("new", priority="low", onset=at(9000)))
        flood(there, 100, begins=9001)
        assert there.get("real")


def test_the_newest_alert_is_in_a_book_that_a_flood_has_filled():
    there = book(limit=1000)
    flood(there, 5000)
    there.receive_alert(alert("new", onset=at(5001)))
    assert there.get("new")
    flood(there, 100, begins=5002, prefix="more")
    assert there.get("new")


def test_a_device_beyond_its_share_loses_its_own_alerts_before_the_others_lose_any():
    there = book(limit=1000)
    for device in range(8):
        flood(there, 90, priority="low", device=f"quiet-{device}", prefix=f"quiet-{device}")
    flood(there, 3000, begins=100)
    devices = Counter(entry.alert.device_id for entry in there.entries(limit=1000))
    assert [devices[f"quiet-{device}"] for device in range(8)] == [90] * 8
    assert 230 <= devices["cart"] <= 280


def test_open_alerts_that_were_dropped_are_counted_until_somebody_closes_them_or_they_come_back_or_expire():
    there = book(limit=100)
    flood(there, 150)
    assert there.not_shown == 150 - len(there) > 40
    gone = [f"flood-{n}" for n in range(150) if not there.get(f"flood-{n}")]
    there.receive_ack(ack(gone[0]))
    there.receive_alert(alert(gone[1], "acknowledged"))
    assert there.not_shown == len(gone) - 2
    there.due(at(43_200 + 200))
    assert there.not_shown == 0


def test_closed_alerts_that_are_dropped_do_not_count_as_not_shown():
    there = book(limit=100)
    for n in range(300):
        there.receive_alert(alert(f"a{n}", "acknowledged", onset=at(n)))
    assert there.not_shown == 0


def test_the_book_is_bounded_in_bytes_too():
    there = book(limit=1000)
    for n in range(1000):
        there.receive_alert(alert(f"large-{n}", onset=at(n)), size=16_000)
    assert 150 <= len(there) <= 1000 * BYTES_AN_ALERT / 16_000
    assert there.get("large-0")
    assert there.get("large-999")
    for n in range(1000):
        there.receive_ack(ack(f"early-{n}"), size=20_000)
    assert there.receive_alert(alert("early-0")).acknowledgement is None
    assert there.receive_alert(alert("early-999")).acknowledgement == ack("early-999")


@pytest.mark.parametrize("hours", [-13, -1, 1, 72_000])
def test_an_onset_that_cannot_be_true_counts_from_the_arrival(hours):
    there, raised = book(), alert(onset=at(3600 * hours))
    entry = there.receive_alert(raised, arrived=NOW)
    assert (entry.raised_at, entry.alert.onset) == (NOW, raised.onset)
    assert due(there, 899) == []
    assert due(there, 900) == [("a", "escalated")]
    assert due(there, 43_200) == [("a", "expired")]


def test_an_onset_a_few_minutes_off_is_believed():
    for seconds in (-290, 290):
        assert book().receive_alert(alert(onset=at(seconds)), arrived=NOW).raised_at == at(seconds)


def test_a_later_state_of_an_old_alert_leaves_it_as_old_as_it_is():
    there = book()
    there.receive_alert(alert(), arrived=NOW)
    there.receive_alert(alert(status="escalated"), arrived=at(900))
    assert there.get("a").raised_at == NOW
    other = book()
    assert other.receive_alert(alert(status="expired"), arrived=at(50_000)).raised_at == NOW


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": "other"}, "another patient"),
        ({"recorded_at": NOW}, "another time of recording"),
        ({"record_id": "other"}, "another record"),
        ({"derived_from": "other"}, "another report"),
    ],
)
def test_an_alert_that_contradicts_the_one_under_its_identifier_is_an_alert_of_its_own(changes, said):
    there, other = book(), msgspec.structs.replace(alert(onset=at(60)), **changes)
    there.receive_alert(alert())
    there.receive_ack(ack())
    entry = there.receive_alert(other, b"key")
    assert said in entry.contradicts
    assert (entry.open, there.get("a").open) == (True, False)
    again = there.receive_alert(other)
    assert (again.alert.identifier, len(there)) == (entry.alert.identifier, 2)
    there.receive_ack(ack(entry.alert.identifier, record_id=other.record_id))
    assert not there.get(entry.alert.identifier).open
    (mine,) = [one for one in there.due(at(61)) if one.alert.identifier == entry.alert.identifier]
    assert (mine.key, mine.alert.status) == (b"key", "acknowledged")


def test_the_rank_puts_the_escalated_before_the_raised_the_urgent_before_the_rest_and_the_closed_last():
    there = book()
    for n, (status, priority) in enumerate(itertools.product(ALERT_STATUSES, ("low", "medium", "high"))):
        there.receive_alert(alert(f"a{n}", status, priority=priority))
    ranked = sorted(there.entries(), key=rank_of)
    opened = [(entry.alert.status, entry.alert.priority) for entry in ranked if entry.open]
    assert opened == list(itertools.product(("escalated", "raised"), ("high", "medium", "low")))
    assert {rank_of(entry) for entry in ranked if not entry.open} == {6}
    assert ranked == there.entries()


def test_the_times_are_the_settings():
    there = AlertBook.from_settings(AlertSettings(escalates_s=5, expires_s=7), limit=10)
    there.receive_alert(alert())
    assert due(there, 5) == [("a", "escalated")]
    assert due(there, 7) == [("a", "expired")]


IDS = st.sampled_from("abc")


class Ward(RuleBasedStateMachine):
    """Messages come in any order, time passes, some of what is published is lost on the way."""

    def __init__(self):
        super().__init__()
        self.book, self.now, self.log, self.furthest = book(), 0.0, [], {}

    def take(self, message, place=NOWHERE):
        self.log.append((message, place))
        hear(self.book, message, place)

    @rule(identifier=IDS, status=st.sampled_from(ALERT_STATUSES), onset=st.integers(0, 2000))
    def an_alert_comes(self, identifier, status, onset):
        priority = "high" if identifier == "a" else "low"
        self.take(alert(identifier, status, priority=priority, onset=at(onset)))

    @rule(
        identifier=IDS,
        by=st.sampled_from(("Dr. A", "Dr. B")),
        seconds=st.sampled_from((0, 1000)),
        record_id=st.sampled_from((None, "record-a", "other")),
        whole_record=st.booleans(),
    )
    def an_acknowledgement_comes(self, identifier, by, seconds, record_id, whole_record):
        self.take(ack(identifier, by, seconds, record_id, whole_record=whole_record), Place(0, len(self.log)))

    @rule(data=st.data())
    def a_message_comes_again(self, data):
        if self.log:
            self.take(*data.draw(st.sampled_from(self.log)))

    @rule(seconds=st.floats(0, 50_000), lost=st.booleans())
    def time_passes(self, seconds, lost):
        self.now += seconds
        published = self.book.due(at(self.now))
        assert self.book.due(at(self.now)) == []
        for entry in published:
            assert ALERT_STATUSES.index(entry.alert.status) > ALERT_STATUSES.index(entry.announced)
            assert entry.key == entry.alert.identifier.encode()
            if not lost:
                self.take(entry.alert)

    @invariant()
    def no_alert_goes_back(self):
        for entry in self.book.entries():
            rank = ALERT_STATUSES.index(entry.alert.status)
            assert rank >= self.furthest.get(entry.alert.identifier, 0)
            self.furthest[entry.alert.identifier] = rank

    @invariant()
    def the_first_acknowledgement_that_fits_closes_its_alert(self):
        for entry in self.book.entries():
            identifier = entry.alert.identifier
            onset = min(one.onset for one, _ in self.log if isinstance(one, Alert) and one.identifier == identifier)
            fitting = [
                ((one.identifier != identifier, place), one)  # under the alert's key first
                for one, place in self.log
                if isinstance(one, Acknowledgement)
                and (one.identifier == identifier or one.whole_record)
                and one.record_id == entry.alert.record_id
                and one.acknowledged_at >= onset - timedelta(minutes=5)
            ]
            assert entry.acknowledgement == (min(fitting, key=lambda pair: pair[0])[1] if fitting else None)
            assert entry.acknowledgement is None or entry.alert.status == "acknowledged"

    @invariant()
    def another_order_of_the_same_messages_comes_to_the_same(self):
        other = book()
        for message, place in [*reversed(self.log), *self.log[::2]]:
            hear(other, message, place)
        assert self.seen(other) == self.seen(self.book)

    def seen(self, there):
        """Return all that a reader sees once time has done its part."""
        there = copy.deepcopy(there)
        there.due(at(self.now))
        return {entry.alert.identifier: (entry.alert, entry.acknowledgements) for entry in there.entries()}


def hear(there, message, place):
    if isinstance(message, Alert):
        there.receive_alert(message, message.identifier.encode())
    else:
        there.receive_ack(message, key=message.identifier.encode(), place=place)


TestWard = Ward.TestCase
TestWard.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
