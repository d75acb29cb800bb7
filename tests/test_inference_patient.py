"""What files say of a patient in words is understood, with its negations and its units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.reading.pacing import paced_in_statements, paced_in_words
from inference.reading.patient import years_of

PACED = [
    "Electronic ventricular pacemaker",
    "AV sequential or dual chamber electronic pacemaker",
    "ATRIAL-SENSED VENTRICULAR-PACED RHYTHM",
    "Ventricular-paced complexes, no further rhythm analysis attempted",
    "No further rhythm analysis attempted due to paced rhythm",
    "Demand pacemaker; interpretation is based on intrinsic rhythm",
    "UNIpolar ventricular pacing.",
    "Pacemaker rhythm",
    "Pacemaker spikes noted",
    "pacemaker: yes",
    "Not sinus rhythm: AV dual-paced rhythm",
    "Paced rhythm, pacing spikes not followed by QRS",
    "Pacing spikes not followed by QRS",
]
NOT_PACED = [
    "not paced",
    "No pacing",
    "Rhythm is not paced.",
    "non-paced rhythm",
    "not a ventricular-paced rhythm",
    "No longer paced",
    "no evidence of pacing",
    "without electronic ventricular pacemaker",
    "Paced: no",
    "paced: false",
    "Pacing = 0",
    "pacemaker: N",
    "Pacing spikes not seen",
    "Pacing is absent",
]
SILENT = [
    "",
    "Sinus rhythm",
    "Wandering atrial pacemaker",
    "Ectopic atrial pacemaker rhythm",
    "with a competing junctional pacemaker",
    "Spaced electrodes",
    "pacing status unknown",
    "Pacemaker: unknown",
    "space",
]


@pytest.mark.parametrize("statement", PACED)
def test_a_paced_heart_is_known_by_the_statement(statement):
    assert paced_in_words(statement) is True
    assert paced_in_words(statement.upper()) is True


@pytest.mark.parametrize("statement", NOT_PACED)
def test_not_paced_is_not_paced(statement):
    assert paced_in_words(statement) is False
    assert paced_in_words(statement.upper()) is False


@pytest.mark.parametrize("statement", SILENT)
def test_what_says_nothing_of_a_device_is_not_known(statement):
    assert paced_in_words(statement) is None


def test_one_statement_of_pacing_among_denials_is_heard():
    assert paced_in_statements(["Previously not paced", "Atrial-paced rhythm"]) is True


def test_a_denial_of_many_short_words_is_answered_at_once():
    assert paced_in_words(f"no {'a ' * 50}visible paced beat") is False
    assert paced_in_words(f"no {'a ' * 50}rhythm but that of a paced heart") is True
    assert paced_in_words(f"no {'a ' * 50}x paced") is True


@given(st.lists(st.text(st.sampled_from(" nopacedmkrtigwuv-:.,ot0")), max_size=5))
def test_any_text_is_answered(statements):
    assert paced_in_statements(statements) in {True, False, None}


@pytest.mark.parametrize(
    ("value", "unit", "years"),
    [
        (61, "YEARS", 61),
        (18, "MONTHS", 1.5),
        (2, "a", 2),
        (730.5, "d", 2),
        (61, "", None),
        (61, "?", None),
        (None, "a", None),
    ],
)
def test_an_age_is_in_the_unit_that_the_file_says(value, unit, years):
    assert years_of(value, unit) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(("value", "unit"), [(300, "years"), (-1, "years")])
def test_an_age_that_nobody_has_is_left_out(value, unit):
    assert years_of(value, unit) is None
