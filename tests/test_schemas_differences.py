"""NumPy and plain Python write the same differences, and read the same samples back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import differences
from schemas.ecg_record import MISSING_SAMPLE

WAYS = {
    "numpy": (differences._differences_by_numpy, differences._samples_by_numpy),
    "python": (differences._differences_by_python, differences._samples_by_python),
}
STEPS = st.integers(min_value=MISSING_SAMPLE, max_value=32767)


def as_bytes(*steps):
    return b"".join(step.to_bytes(2, "little", signed=True) for step in steps)


@st.composite
def samples(draw):
    """Return samples of some leads of one length, and how many leads there are."""
    n_leads, n_samples = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    return as_bytes(*draw(st.lists(STEPS, min_size=n_leads * n_samples, max_size=n_leads * n_samples))), n_leads


@pytest.mark.parametrize("way", WAYS)
def test_each_lead_begins_with_its_first_sample_and_differences_wrap(way):
    forth, _ = WAYS[way]
    assert forth(as_bytes(5, 7, 4, 32767, -32768, 0), n_leads=2) == as_bytes(5, 2, -3, 32767, 1, -32768)


@given(samples())
def test_numpy_and_python_write_the_same_bytes_and_both_read_them_back(drawn):
    values, n_leads = drawn
    written = {forth(values, n_leads) for forth, _ in WAYS.values()}
    assert len(written) == 1
    assert {back(*written, n_leads) for _, back in WAYS.values()} == {values}


@given(samples())
def test_what_is_used_here_undoes_itself(drawn):
    values, n_leads = drawn
    assert differences.from_differences(differences.to_differences(values, n_leads), n_leads) == values
