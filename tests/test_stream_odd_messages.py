"""Whatever lies on a topic or in Redis, the dashboard takes it in or says that it cannot: the twins of the fuzzer."""

import json

import pytest
from fuzz_json import odd_text
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_messages import check_cine, check_messages, cine_seeds, message_seeds


def odd_contents(seeds):
    """Draw contents: seeds with a few of their values changed, or any bytes."""

    @st.composite
    def changed_seed(draw):
        seed, random = draw(st.sampled_from(seeds)), draw(st.randoms(use_true_random=False))
        return seed[:1] + odd_text(json.loads(seed[1:]), random).encode("utf-8", "replace")

    return changed_seed() | st.binary(max_size=200)


@settings(deadline=None, max_examples=100)
@given(odd_contents(message_seeds()))
def test_a_message_of_any_content_is_shown_and_published_again_or_counted_as_unreadable(content):
    check_messages(content)


@settings(deadline=None, max_examples=200)
@given(odd_contents(cine_seeds()))
def test_fields_of_any_content_are_a_cine_of_the_record_or_said_to_be_none(content):
    check_cine(content)


@pytest.mark.parametrize("seed", cine_seeds())
def test_the_seeds_are_cines(seed):
    check_cine(seed)
