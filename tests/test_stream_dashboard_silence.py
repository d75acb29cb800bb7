"""ECGs that arrive while nobody answers are noticed, and nothing else is."""

from stream.dashboard.silence import Silence


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
