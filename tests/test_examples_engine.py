"""The example engine is an engine: the contract suite of the catalog's engines runs over it."""

# ruff: noqa: F401, F811 -- pytest collects what is imported, and fixtures are known by their names

from pathlib import Path

import pytest
from test_engines_contract import (
    TOLERANCE,
    graph,
    network,
    reference,
    test_a_closed_engine_says_so_and_may_be_closed_again,
    test_a_row_that_is_not_a_number_leaves_its_neighbours_alone,
    test_calls_from_several_threads_get_their_own_answers,
    test_closing_under_a_running_call_neither_crashes_nor_hangs,
    test_inputs_of_the_wrong_shape_are_refused_with_both_shapes,
    test_inputs_of_the_wrong_type_are_refused,
    test_it_agrees_with_torch_for_any_number_of_rows,
    test_the_caller_owns_the_outputs,
    test_the_inputs_are_only_read,
    test_the_inputs_need_not_be_contiguous,
    test_warming_up_changes_no_answer,
)

pytestmark = pytest.mark.exports

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def engine(graph, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from custom_engine import NumpyEngine

    opened = NumpyEngine(graph)
    yield opened
    opened.close()


@pytest.fixture
def tolerance():
    return TOLERANCE["float32"]
