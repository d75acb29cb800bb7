"""The preprocessing is the published one: the operator agrees with SciPy, whatever the rate and the length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
from inference.waveform import (
    CHUNK_RECORDS,
    CROP_SAMPLES,
    SPAN,
    crop_offsets,
    filter_operator,
    preprocess,
    preprocess_reference,
    standardise,
)
from training.simulation.ecg import generate_ecgs

RATES = (100, 125, 240, 250, 257, 360, 400, 500, 512, 1000)


def ecg_like(rate_hz, seconds, seed=0, records=2):
    """Return synthetic ECGs stretched to a rate and a length, with baselines far from zero."""
    samples = round(rate_hz * seconds)
    rng = np.random.default_rng(seed)
    signals = []
    for ecg in generate_ecgs(records, seed):
        steps = np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * 0.005
        at = np.linspace(0, steps.shape[1] - 1, samples)
        signals.append([np.interp(at, np.arange(steps.shape[1]), lead) for lead in steps])
    return (np.array(signals) + rng.normal(0, 2, (records, 12, 1))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(RATES), st.floats(9.01, 12), st.integers(1, 5), st.integers(0, 99))
def test_the_operator_agrees_with_scipy_to_a_hundred_thousandth(rate_hz, seconds, n_crops, seed):
    signals = ecg_like(rate_hz, seconds, seed)
    expected = preprocess_reference(signals, rate_hz, n_crops)
    assert np.abs(preprocess(signals, rate_hz, n_crops) - expected).max() < 1e-5


@needs_real_ecgs
def test_it_agrees_on_real_records_too():
    paths = list(find_ecgs([ECGS / "wfdb"]))[::12]
    for record in map(read_ecg, paths):
        steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
        signals = (steps[None] * (record.microvolts_per_step / 1e3)).astype(np.float32)
        expected = preprocess_reference(signals, record.sample_rate_hz, 3)
        assert np.abs(preprocess(signals, record.sample_rate_hz, 3) - expected).max() < 1e-5, record.record_id


def test_three_crops_of_ten_seconds_start_where_the_paper_says():
    assert crop_offsets(2500, 3) == [0, 125, 250]
    assert crop_offsets(CROP_SAMPLES, 3) == [0, 0, 0]


def test_less_than_a_crop_is_an_error():
    with pytest.raises(ValueError, match="2249"):
        crop_offsets(2249, 1)


def test_crops_have_mean_zero_and_deviation_one():
    crops = preprocess(ecg_like(500, 10), 500, 3)
    assert crops.shape == (2, 3, 12, CROP_SAMPLES)
    assert crops.dtype == np.float32
    np.testing.assert_allclose(crops.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(crops.std(axis=(2, 3)), 1, atol=1e-5)


def test_what_does_not_vary_becomes_zeros():
    assert not preprocess(np.full((1, 12, 5000), 1.5, np.float32), 500, 2).any()


def test_rows_of_a_batch_do_not_touch_each_other():
    signals = ecg_like(500, 10, records=7)
    together = preprocess(signals, 500, 3)
    alone = np.concatenate([preprocess(signals[index : index + 1], 500, 3) for index in range(7)])
    np.testing.assert_allclose(together, alone, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_gain_and_offset_leave_no_trace(gain, offset):
    signals = ecg_like(500, 10, records=1)
    changed = (signals * np.float32(gain) + np.float32(offset)).astype(np.float32)
    np.testing.assert_allclose(preprocess(changed, 500, 1), preprocess(signals, 500, 1), atol=2e-3)


def test_only_the_first_ten_seconds_count():
    signals = ecg_like(500, 20, records=1)
    np.testing.assert_array_equal(preprocess(signals, 500, 3), preprocess(signals[..., :5000], 500, 3))


def test_no_matrix_product_is_large_enough_for_openblas_to_share_among_spinning_threads():
    operator = filter_operator()
    blocks, rank, block_samples = operator.patterns.shape
    assert (blocks * block_samples, rank) == (CROP_SAMPLES, 20)
    assert CHUNK_RECORDS * 12 * block_samples * rank <= 2**18
    assert operator.edges.shape == (SPAN, rank)
    assert CHUNK_RECORDS * 12 * (SPAN + 2) // blocks * rank <= 2**18


def test_a_crop_that_only_rounding_moves_becomes_zeros():
    signals = ecg_like(250, 10, records=1)
    signals[..., :CROP_SAMPLES] = 1.5
    first, last = preprocess(signals, 250, 2)[0]
    assert not first.any()
    assert last.any()


@settings(max_examples=20, deadline=None)
@given(st.floats(100, 1000), st.integers(0, 99))
def test_ten_seconds_at_any_rate_fit_the_circle(rate_hz, seed):
    assert np.isfinite(preprocess(ecg_like(rate_hz, 11, seed, records=1), rate_hz, 3)).all()


def test_the_operator_filters_single_crops_as_scipy_does():
    crops = ecg_like(250, 9)
    expected = preprocess_reference(crops, 250, 1)[:, 0]
    assert np.abs(standardise(filter_operator().apply(crops)) - expected).max() < 1e-4
