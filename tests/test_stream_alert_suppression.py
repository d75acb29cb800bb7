"""A second alert says something new, or is held back; what is redelivered is judged as before."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.batcher import Lane
from schemas.errors import MalformedRecord
from schemas.identity import alert_id
from schemas.messages import DISEASES, Alert, ModelReference, Risk, Shelving, encode_message
from stream.alerting.shelvings import Shelvings
from stream.screening.alert_suppression import DECISIONS_KEPT, DISEASES_KEPT, AlertSuppressor
from stream.settings import AlertSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = ModelReference(name="m", version="1", trained=True, weights="w")


def alert(record_id="r1", *, subject="p", code="heart_failure", probability=0.5, priority="low", onset=NOW):
    return Alert(
        identifier=alert_id(record_id, code),
        status="raised",
        priority=priority,
        derived_from=record_id,
        record_id=record_id,
        subject=subject,
        code=code,
        risks=(Risk(disease=code, probability=probability, threshold=0.1, flagged=True),),
        model=MODEL,
        onset=onset,
    )


def suppressor(*, window_s=3600, worsening=2.0, per_hour=None):
    return AlertSuppressor.from_settings(AlertSettings(refractory_s=window_s, worsening=worsening, per_hour=per_hour))


def test_an_archive_raises_alerts_only_where_that_is_asked_for_and_silences_no_live_one():
    assert AlertSuppressor.for_lane(Lane.BACKFILL, AlertSettings()) is None
    settings = AlertSettings(on_backfill=True)
    archive, live = (AlertSuppressor.for_lane(lane, settings) for lane in (Lane.BACKFILL, Lane.REALTIME))
    assert [judge.decide(alert(name), NOW) for judge, name in ((archive, "old"), (live, "new"))] == ["raised"] * 2


def at(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "verdict"), [(1, "refractory"), (3599.9, "refractory"), (3600, "raised")])
def test_a_patients_second_alert_for_a_disease_is_held_back_within_the_window(seconds, verdict):
    judge = suppressor()
    assert judge.decide(alert("r1"), NOW) == "raised"
    assert judge.decide(alert("r2"), at(seconds)) == verdict


def test_the_window_counts_from_the_last_alert_and_not_from_what_was_held_back():
    judge = suppressor()
    verdicts = [judge.decide(alert(f"r{n}"), at(1500 * n)) for n in range(4)]
    assert verdicts == ["raised", "refractory", "refractory", "raised"]


@pytest.mark.parametrize("other", [{"subject": "q"}, {"code": "pericarditis"}])
def test_another_patient_or_another_disease_is_another_finding(other):
    judge = suppressor()
    judge.decide(alert("r1"), NOW)
    assert judge.decide(alert("r2", **other), NOW) == "raised"


def test_without_a_patient_each_record_stands_for_itself_and_never_for_a_patient_of_that_name():
    judge = suppressor()
    assert judge.decide(alert("x", subject=None), NOW) == "raised"
    assert judge.decide(alert("y", subject=None), NOW) == "raised"
    assert judge.decide(alert("r1", subject="x"), NOW) == "raised"


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (0.5, 0.66, "refractory"),
        (0.5, 0.67, "raised"),
        (0.5, 0.3, "refractory"),
        (0.98, 0.985, "refractory"),
        (0.98, 0.99, "raised"),
        (0.5, 1.0, "raised"),
        (1.0, 1.0, "refractory"),
        (0.0, 0.0, "refractory"),
    ],
)
def test_it_is_worse_once_its_odds_have_doubled(before, now, verdict):
    judge = suppressor()
    judge.decide(alert("r1", probability=before), NOW)
    assert judge.decide(alert("r2", probability=now), at(1)) == verdict


def test_a_slow_rise_counts_from_the_last_alert():
    judge = suppressor()
    verdicts = [judge.decide(alert(f"r{n}", probability=p), at(n)) for n, p in enumerate((0.5, 0.6, 0.68, 0.75, 0.82))]
    assert verdicts == ["raised", "refractory", "raised", "refractory", "raised"]


@given(
    st.lists(
        st.tuples(st.sampled_from("pq"), st.sampled_from(DISEASES[:2]), st.floats(0, 1), st.integers(0, 9000)),
        max_size=30,
    ),
    st.randoms(),
)
def test_what_is_delivered_again_is_judged_as_the_first_time(findings, random):
    judge = suppressor(per_hour=5)
    delivered = [
        (alert(f"r{n}", subject=subject, code=code, probability=p), at(s))
        for n, (subject, code, p, s) in enumerate(findings)
    ]
    first = [judge.decide(*delivery) for delivery in delivered]
    again = list(range(len(delivered)))
    random.shuffle(again)
    assert [judge.decide(*delivered[n]) for n in again] == [first[n] for n in again]


def test_without_a_window_every_alert_goes_out():
    judge = suppressor(window_s=0)
    assert [judge.decide(alert(f"r{n}"), NOW) for n in range(3)] == ["raised"] * 3


def test_a_clock_that_was_set_back_by_a_day_silences_nobody():
    judge = suppressor()
    judge.decide(alert("r1"), NOW)
    assert judge.decide(alert("r2"), NOW - timedelta(days=1)) == "raised"


def test_the_budget_holds_back_what_exceeds_it_in_any_hour_but_never_high_priority():
    judge = suppressor(per_hour=3)

    def verdict(n, seconds, priority="medium"):
        return judge.decide(alert(f"r{n}", subject=f"p{n}", priority=priority), at(seconds))

    assert [verdict(n, 600 * n) for n in range(4)] == ["raised"] * 3 + ["budget"]
    assert verdict(4, 2000, "high") == "raised"
    assert verdict(5, 3700) == "budget"  # the first is over an hour old, but the high one took its place
    assert verdict(6, 4200) == "raised"


def test_what_the_budget_held_back_may_be_raised_by_the_patients_next_ecg():
    judge = suppressor(per_hour=1)
    judge.decide(alert("r0", subject="other"), NOW)
    assert judge.decide(alert("r1"), at(1800)) == "budget"
    assert judge.decide(alert("r2"), at(3601)) == "raised"


def test_memory_is_bounded_and_what_is_forgotten_is_raised_again():
    judge = suppressor()
    for n in range(DISEASES_KEPT + 1):
        judge.decide(alert(f"r{n}", subject=f"p{n}"), NOW)
    assert (len(judge._raised), len(judge._decisions)) == (DISEASES_KEPT, DECISIONS_KEPT)
    assert judge.decide(alert("again", subject="p0"), at(1)) == "raised"
    assert judge.decide(alert("and-again", subject=f"p{DISEASES_KEPT}"), at(1)) == "refractory"


def test_what_another_worker_raised_counts_as_ones_own_and_is_raised_again_if_it_comes_again():
    judge = suppressor()
    judge.learn(alert("r1"), at(5))
    assert judge.decide(alert("r2"), at(10)) == "refractory"
    assert judge.decide(alert("r1"), at(20)) == "raised"
    judge.learn(alert("r1"), at(4000))
    assert judge.decide(alert("r3"), at(3601)) == "raised"


def test_a_worker_that_takes_over_judges_as_the_one_before_whatever_comes_again():
    before, verdicts = suppressor(per_hour=3), {}
    ecgs = [alert(f"r{n}", subject=f"p{n % 3}", probability=0.5, onset=at(60 * n)) for n in range(9)]
    for one in ecgs:
        verdicts[one.identifier] = before.decide(one, one.onset)
    after = suppressor(per_hour=3)
    for one in sorted(ecgs, key=lambda one: one.subject):  # partition by partition
        if verdicts[one.identifier] == "raised":
            after.learn(one, at(600))
    assert {one.identifier: after.decide(one, one.onset) for one in ecgs} == verdicts
    assert after.decide(alert("new", subject="q"), at(600)) == "budget"


def test_of_the_budget_the_newest_alerts_count_in_whatever_order_they_are_learned():
    judge = suppressor(per_hour=2)
    for name, seconds in (("r1", 3000), ("r2", 3100), ("r3", -600), ("r4", -700)):
        judge.learn(alert(name, subject=name, onset=at(seconds)), at(3200))
    assert judge.decide(alert("r5", subject="q"), at(3200)) == "budget"


def test_an_alert_that_is_dated_ahead_silences_nobody_for_longer_than_the_window():
    judge = suppressor()
    judge.learn(alert("forged", onset=at(10**6)), NOW)
    assert judge.decide(alert("r1"), at(3599)) == "refractory"
    assert judge.decide(alert("r2"), at(3600)) == "raised"


def shelving(*, until_s=600.0, shelved_s=0.0, code="heart_failure", subject="p"):
    return encode_message(
        Shelving(
            shelving_id="s",
            subject=subject,
            code=code,
            until=at(until_s),
            reason="known, and treated",
            shelved_by="Dr. A",
            shelved_at=at(shelved_s),
        )
    )


def test_what_a_person_has_shelved_raises_no_alert_until_it_ends_by_itself_and_no_other_is_held_back():
    shelvings = Shelvings()
    judge = AlertSuppressor.from_settings(AlertSettings(), shelvings)
    shelvings.receive(shelving(), NOW)
    assert judge.decide(alert("r1", priority="high", probability=0.99), at(599)) == "shelved"
    assert judge.decide(alert("r2", code="pericarditis"), at(599)) == "raised"
    assert judge.decide(alert("r3", subject="q"), at(599)) == "raised"
    assert judge.decide(alert("r4", subject=None), at(599)) == "raised"
    assert judge.decide(alert("r5"), at(600)) == "raised"


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_shelvings_the_latest_holds_and_none_lasts_for_more_than_seven_days(order):
    shelvings = Shelvings()
    for value in (shelving(until_s=10**7), shelving(shelved_s=100, until_s=100))[::order]:
        shelvings.receive(value, at(100))
    assert not shelvings.holds(alert(), at(101))
    shelvings.receive(shelving(shelved_s=200, until_s=10**7), at(200))
    week = 7 * 86_400
    assert [shelvings.holds(alert(), at(200 + seconds)) for seconds in (1, week - 1, week)] == [True, True, False]
    assert [one.shelved_at for one in shelvings.at_present(at(300))] == [at(200)]


@pytest.mark.parametrize("value", [b"", None, b"{}", shelving(shelved_s=301)])
def test_a_shelving_that_cannot_be_read_or_is_of_the_future_is_refused(value):
    with pytest.raises(MalformedRecord):
        Shelvings().receive(value, NOW)
