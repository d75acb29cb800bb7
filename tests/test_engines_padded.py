"""Batches of any size on a device that knows a few sizes: cut, padded, and put together again."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE_S

from engines.padded import PaddedEngine, parts_of, size_for, sizes_up_to
from schemas.errors import EngineFailed, EngineUnavailable


class Doubling:
    """A network that doubles rows of three numbers, and notes what it was asked and by which thread."""

    output_names = ("twice",)
    row_shape = (3,)

    def __init__(self):
        self.batches, self.prepared, self.threads, self.closed = [], [], set(), threading.Event()

    def prepare(self, size):
        self.threads.add(threading.current_thread())
        self.prepared.append(size)

    def run(self, batch):
        self.threads.add(threading.current_thread())
        assert len(batch) in self.prepared
        assert batch.flags.c_contiguous
        self.batches.append(batch.copy())
        return {"twice": 2 * batch}

    def close(self):
        self.threads.add(threading.current_thread())
        self.closed.set()


def rows(count):
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


@pytest.mark.parametrize(("most", "sizes"), [(96, (3, 6, 12, 24, 48, 96)), (7, (3, 4, 7)), (2, (2,)), (1, (1,))])
def test_the_sizes_are_the_biggest_batch_its_half_and_so_on(most, sizes):
    assert sizes_up_to(most, 3) == sizes


@given(st.integers(1, 500), st.integers(1, 200))
def test_every_row_is_in_one_part_and_at_most_half_of_a_part_is_padding(count, most):
    sizes = sizes_up_to(most, 3)
    parts = list(parts_of(count, sizes))
    assert [row for part, _ in parts for row in range(count)[part]] == list(range(count))
    for part, size in parts:
        held = len(range(count)[part])
        assert size in sizes
        assert held <= size
        assert size <= 3 or 2 * held >= size - 1


def test_a_batch_is_answered_in_parts_of_which_the_last_is_padded():
    network = Doubling()
    engine = PaddedEngine("onnxruntime", lambda: network, 8, 3)
    np.testing.assert_array_equal(engine.run(rows(19))["twice"], 2 * rows(19))
    assert [len(batch) for batch in network.batches] == [8, 8, 3]
    np.testing.assert_array_equal(engine.run(rows(5))["twice"], 2 * rows(5))
    np.testing.assert_array_equal(network.batches[-1][5:], np.zeros((3, 3)))
    engine.close()


def test_warming_up_prepares_the_sizes_that_may_come_each_once():
    network = Doubling()
    engine = PaddedEngine("onnxruntime", lambda: network, 24, 3)
    engine.warm_up(5)
    assert network.prepared == [3, 6]
    engine.warm_up(100)
    assert network.prepared == [3, 6, 12, 24]
    assert size_for(100, engine.sizes) == 24
    engine.close()


def test_one_thread_does_all_that_concerns_the_device_and_closes_it():
    network, makers = Doubling(), []

    def opened():
        makers.append(threading.current_thread())
        return network

    engine = PaddedEngine("onnxruntime", opened, 6, 3)
    callers = [threading.Thread(target=engine.run, args=(rows(4),)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    engine.close()
    assert network.closed.wait(PATIENCE_S)
    assert network.threads == set(makers)
    assert threading.current_thread() not in network.threads


def test_closing_waits_for_nobody_and_the_call_that_runs_still_gets_its_answer():
    begun, may_end, answers = threading.Event(), threading.Event(), []

    class Slow(Doubling):
        def run(self, batch):
            begun.set()
            assert may_end.wait(PATIENCE_S)
            assert not self.closed.is_set()
            return super().run(batch)

    network = Slow()
    engine = PaddedEngine("onnxruntime", lambda: network, 6, 3)
    caller = threading.Thread(target=lambda: answers.append(engine.run(rows(3))["twice"]))
    caller.start()
    assert begun.wait(PATIENCE_S)
    engine.close()
    may_end.set()
    caller.join(PATIENCE_S)
    np.testing.assert_array_equal(answers[0], 2 * rows(3))
    assert network.closed.wait(PATIENCE_S)


def test_a_network_that_cannot_be_opened_or_whose_rows_have_no_fixed_size_is_refused():
    def fail():
        raise EngineUnavailable("no such device")

    with pytest.raises(EngineUnavailable, match="no such device"):
        PaddedEngine("onnxruntime", fail, 6, 3)

    class Free(Doubling):
        row_shape = (3, None)

    with pytest.raises(EngineUnavailable, match="only the number of rows is free"):
        PaddedEngine("onnxruntime", Free, 6, 3)


def test_a_size_whose_preparation_failed_is_prepared_again_by_the_next_batch():
    class Shy(Doubling):
        def prepare(self, size):
            super().prepare(size)
            if len(self.prepared) == 1:
                raise MemoryError("not now")

    engine = PaddedEngine("onnxruntime", Shy, 6, 3)
    with pytest.raises(EngineFailed, match="onnxruntime failed: not now"):
        engine.run(rows(3))
    np.testing.assert_array_equal(engine.run(rows(3))["twice"], 2 * rows(3))
    engine.close()
