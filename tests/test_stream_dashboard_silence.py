"""ECGs that arrive while nobody answers are noticed, and nothing else is."""

from stream.dashboard.unanswered_input import Silence


def test_ecgs_that_arrive_and_are_not_answered_are_told_after_two_minutes():
    silence = Silence()
    for at, ends in ((100, {0: 5}), (103, {0: 5, 1: 900}), (106, {0: 6, 1: 900}), (109, {0: 7, 1: 901})):
        silence.see(ends, at)  # that a partition comes to be known is no arrival
    assert silence.since(226) is None
    assert silence.since(226.1) == 106
    silence.answered(230)
    assert silence.since(10_000) is None


def test_an_ecg_whose_answer_came_before_its_arrival_was_seen_does_not_wait():
    silence = Silence()
    for at in range(100, 200, 3):
        silence.see({0: at}, at)
        silence.answered(at + 1)
    silence.see({0: 202}, 202)
    assert silence.since(10_000) is None
    silence.see({0: 205}, 205)
    assert silence.since(10_000) == 205


def test_a_clock_that_is_set_back_hides_no_silence_and_invents_none():
    silence = Silence()
    for at in (9_000, 9_003):
        silence.see({0: at}, at)
    silence.answered(9_004)
    for at in (100, 103, 106):  # ECGs go on to arrive, and nobody answers
        silence.see({0: 9_000 + at}, at)
    assert silence.since(227) == 106
    for at, ends in ((9_000, {0: 9_200}), (50, {0: 9_200})):  # while one waits
        silence.see(ends, at)
    assert (silence.since(160), silence.since(171)) == (None, 50)
    silence.answered(200)
    for at in (20, 23):
        silence.see({0: 9_300}, at)
    silence.answered(24)
    silence.see({0: 9_400}, 26)
    assert silence.since(10_000) is None
