"""One loop over files: the next batch is read while the engine runs, answers stay in order, a broken file costs one."""

import threading

import msgspec
import numpy as np
import pytest
from fake_engine import ZeroEngine
from waiting import PATIENCE_S

from inference.bundle import default_bundle, load_bundle
from inference.screen_files import screen_files, screen_sources
from inference.screener import Screener, Screening
from schemas.ecg_record import LEADS
from schemas.errors import EngineFailed, UnreadableFile
from training.simulation.ecg import generate_ecgs


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def ecg():
    return next(generate_ecgs(1, 0))


def screener_with(bundle, before=lambda: None):
    return Screener(bundle, ZeroEngine(bundle.manifest, before))


def write_wfdb(folder, ecg):
    """Write an ECG by hand as a WFDB record, and return its header's path."""
    steps = np.frombuffer(ecg.samples, "<i2").reshape(12, -1)
    name = ecg.record_id
    lines = [f"{name}.dat 16 {1000 / ecg.microvolts_per_step:g}(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    header = folder / f"{name}.hea"
    header.write_text("\n".join([f"{name} 12 500 {steps.shape[1]}", *lines, ""]))
    header.with_suffix(".dat").write_bytes(steps.T.astype("<i2").tobytes())
    return header


def test_the_next_batch_is_read_while_the_engine_runs(bundle, ecg):
    last_is_read, waits = threading.Event(), []

    def read(number):
        if number == 3:
            last_is_read.set()
        return ecg

    def wait_for_the_reader():
        waits.append(last_is_read.wait(PATIENCE_S))  # without an overlap nobody reads on, and this ends with False

    answers = list(screen_sources(screener_with(bundle, wait_for_the_reader), range(4), read, records_a_batch=2))
    assert waits == [True, True]
    assert [source for source, _ in answers] == [0, 1, 2, 3]


def test_one_batch_at_most_is_read_ahead(bundle, ecg):
    read, seen = [], []

    def remember(number):
        read.append(number)
        return ecg

    screener = screener_with(bundle, lambda: seen.append(len(read)))
    for done, _ in enumerate(screen_sources(screener, range(12), remember, records_a_batch=2), start=1):
        assert len(read) <= 2 * ((done + 1) // 2 + 1)
    assert all(count <= 2 * (batch + 2) for batch, count in enumerate(seen))
    assert len(seen) == 6


def test_answers_come_in_the_order_of_the_sources_and_broken_ones_stop_nobody(bundle, ecg):
    def read(number):
        if number % 3 == 1:
            return UnreadableFile(f"{number} is broken")
        return msgspec.structs.replace(ecg, record_id=str(number))

    answers = list(screen_sources(screener_with(bundle), range(20), read))
    assert [source for source, _ in answers] == list(range(20))
    for source, outcome in answers:
        if source % 3 == 1:
            assert str(outcome.error) == f"{source} is broken"
        else:
            assert outcome.record.record_id == str(source)


def test_a_broken_file_is_an_answer_and_the_files_around_it_are_screened(bundle, ecg, tmp_path):
    paths = [write_wfdb(tmp_path, msgspec.structs.replace(ecg, record_id=str(number))) for number in range(10)]
    paths[4].with_suffix(".dat").write_bytes(b"cut short")
    paths[9].unlink()
    answers = list(screen_files(screener_with(bundle), paths))
    assert [answer.source for answer in answers] == list(map(str, paths))
    assert [n for n, answer in enumerate(answers) if answer.status == "rejected"] == [4, 9]
    assert answers[4].code in ("unreadable_file", "reader_failed")
    assert answers[9].code == "missing_file"
    assert [answer.record_id for answer in answers if answer.status == "screened"] == list("01235678")


def test_a_bug_of_the_reader_comes_to_the_caller_after_the_answers_before_it(bundle, ecg):
    def read(number):
        if number == 4:
            raise ZeroDivisionError
        return ecg

    answers = screen_sources(screener_with(bundle), range(6), read, records_a_batch=2)
    assert [next(answers)[0] for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_an_engine_that_fails_for_a_batch_ends_the_loop_and_leaves_no_thread(bundle, ecg):
    def fail():
        raise EngineFailed("out of memory")

    with pytest.raises(EngineFailed, match="out of memory"):
        list(screen_sources(screener_with(bundle, fail), range(20), lambda _: ecg))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ecg-reader")]


def test_a_caller_that_has_seen_enough_leaves_no_thread(bundle, ecg):
    answers = screen_sources(screener_with(bundle), range(10_000), lambda _: ecg, records_a_batch=2)
    assert isinstance(next(answers)[1], Screening)
    answers.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ecg-reader")]


def test_no_files_are_no_answers(bundle):
    assert list(screen_files(screener_with(bundle), [])) == []
