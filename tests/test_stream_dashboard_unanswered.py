"""ECGs that arrive while nobody answers are noticed, and nothing else is."""

from stream.dashboard.unanswered_input import UnansweredInput


def test_ecgs_that_arrive_and_are_not_answered_are_told_after_two_minutes():
    unanswered = UnansweredInput()
    for at, ends in ((100, {0: 5}), (103, {0: 5, 1: 900}), (106, {0: 6, 1: 900}), (109, {0: 7, 1: 901})):
        unanswered.note_ends(ends, at)  # that a partition comes to be known is no arrival
    assert unanswered.since(226) is None
    assert unanswered.since(226.1) == 106
    unanswered.note_answer(230)
    assert unanswered.since(10_000) is None


def test_an_ecg_whose_answer_came_before_its_arrival_was_seen_does_not_wait():
    unanswered = UnansweredInput()
    for at in range(100, 200, 3):
        unanswered.note_ends({0: at}, at)
        unanswered.note_answer(at + 1)
    unanswered.note_ends({0: 202}, 202)
    assert unanswered.since(10_000) is None
    unanswered.note_ends({0: 205}, 205)
    assert unanswered.since(10_000) == 205


def test_a_clock_that_is_set_back_hides_no_silence_and_invents_none():
    unanswered = UnansweredInput()
    for at in (9_000, 9_003):
        unanswered.note_ends({0: at}, at)
    unanswered.note_answer(9_004)
    for at in (100, 103, 106):  # ECGs go on to arrive, and nobody answers
        unanswered.note_ends({0: 9_000 + at}, at)
    assert unanswered.since(227) == 106
    for at, ends in ((9_000, {0: 9_200}), (50, {0: 9_200})):  # while one waits
        unanswered.note_ends(ends, at)
    assert (unanswered.since(160), unanswered.since(171)) == (None, 50)
    unanswered.note_answer(200)
    for at in (20, 23):
        unanswered.note_ends({0: 9_300}, at)
    unanswered.note_answer(24)
    unanswered.note_ends({0: 9_400}, 26)
    assert unanswered.since(10_000) is None
