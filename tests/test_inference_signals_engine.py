"""A GPU preprocesses: an ECG has the same answer as by the processor's preprocessing, or goes that way."""

import logging
import sys
from contextlib import closing
from functools import partial

import msgspec
import numpy as np
import onnxruntime
import pytest
from fake_engine import ZeroEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import graph_of

from engines.catalog import ENGINES, find_entry, open_engine
from engines.nvidia import find_gpus
from engines.onnx_runtime import quiet_options
from engines.onnx_runtime_cuda import BoundSession
from engines.options import EngineOptions
from engines.padded import PaddedEngine
from engines.torch_engine import TORCH_ENGINES
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.open_engine_for_bundle import graphs_of
from inference.screener import Screener, Screening
from inference.signals_engine import (
    SignalsEngine,
    open_preprocessing,
    preprocesses,
    signals_of,
    with_preprocessing,
)
from inference.signals_graph import put_preprocessing_before, signals_graphs
from inference.waveform import preprocess_reference
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import EngineMismatch, EngineUnavailable
from schemas.messages import Quality
from training.simulation.ecg import generate_ecgs

pytestmark = pytest.mark.exports

LOGIT = 5e-5
"""How far the two ways may be apart. 1e-5 is found."""
DEVIATION = 3e-5
ROW = (12, 2250)
ECGS_500_HZ = list(generate_ecgs(6, seed=8))
STEPS = [np.frombuffer(ecg.samples, "<i2").reshape(12, -1) for ecg in ECGS_500_HZ]
GOOD = ECGS_500_HZ[0]


def changed(steps, ecg=GOOD, **fields):
    return msgspec.structs.replace(ecg, samples=np.ascontiguousarray(steps, "<i2").tobytes(), **fields)


def with_gap(start, stop, leads=slice(8, 9)):
    steps = STEPS[0].copy()
    steps[leads, start:stop] = MISSING_SAMPLE
    return changed(steps)


def at_rate(rate_hz, seconds=10.0, number=1):
    at = np.arange(round(rate_hz * seconds)) * 500 / rate_hz
    steps = np.rint([np.interp(at, np.arange(5000), lead) for lead in STEPS[number]])
    return changed(steps, ECGS_500_HZ[number], sample_rate_hz=float(rate_hz))


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def crops_engine(bundle):
    with closing(open_engine("onnxruntime", graphs_of(bundle))) as engine:
        yield engine


@pytest.fixture(scope="module")
def by_signals(bundle, crops_engine):
    return Screener(bundle, open_preprocessing(bundle, crops_engine, load_probe(bundle), EngineOptions(rows=12)))


@pytest.fixture(scope="module")
def by_crops(bundle, crops_engine):
    return Screener(bundle, crops_engine)


def preprocessing_alone(n_crops):
    """Return a function from signals to crops: the graph that is made, before a network that changes nothing."""
    graph = put_preprocessing_before(graph_of([("Identity", ["x"], ["y"])], row=ROW), n_crops)
    session = onnxruntime.InferenceSession(graph, quiet_options(2), providers=["CPUExecutionProvider"])
    return lambda signals: session.run(None, {"signals": signals})[0]


THREE_CROPS = preprocessing_alone(3)
SIGNALS = np.stack(STEPS[:3]).astype(np.float32) * np.float32(0.005)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 50), st.floats(-200, 200), st.integers(0, 99))
def test_the_graph_preprocesses_as_scipy_does_whatever_gain_and_offset(gain, offset, seed):
    noise = np.random.default_rng(seed).normal(0, 0.02, SIGNALS.shape)
    signals = (gain * (SIGNALS + noise) + offset).astype(np.float32)
    expected = preprocess_reference(signals, 500, 3)
    # Beside a large offset, float32 has fewer digits for the ECG, whoever preprocesses.
    bound = max(DEVIATION, 4 * np.finfo(np.float32).eps * abs(offset) / (gain * SIGNALS.std()))
    np.testing.assert_allclose(THREE_CROPS(signals), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("n_crops", [1, 2, 5])
def test_any_number_of_crops_is_cut_where_the_processor_cuts_them(n_crops):
    found = preprocessing_alone(n_crops)(SIGNALS)
    np.testing.assert_allclose(found, preprocess_reference(SIGNALS, 500, n_crops), rtol=0, atol=DEVIATION)


def test_a_still_record_becomes_zeros_and_one_that_is_not_a_number_leaves_its_neighbours_alone():
    signals = SIGNALS.copy()
    signals[0], signals[1, 3, 77] = 2.5, np.nan
    still, unknown, other = THREE_CROPS(signals)
    np.testing.assert_array_equal(still, 0)
    assert np.isnan(unknown).all()
    np.testing.assert_array_equal(other, THREE_CROPS(SIGNALS)[2])


def test_what_the_engine_of_a_gpu_is_made_of_answers_signals_in_any_number():
    graph = put_preprocessing_before(graph_of([("Identity", ["x"], ["y"])], row=ROW), 3)
    session = onnxruntime.InferenceSession(graph, quiet_options(2), providers=["CPUExecutionProvider"])
    engine = PaddedEngine("onnxruntime", lambda: BoundSession("onnxruntime", session, "cpu", 0), 2, 1)
    assert engine.sizes == (1, 2)
    with closing(engine):
        for count in (1, 2, 3):
            found = engine.run(SIGNALS[:count])["y"]
            np.testing.assert_allclose(found, THREE_CROPS(SIGNALS[:count]), rtol=0, atol=1e-6)


def logits_of(answers):
    assert all(isinstance(answer, Screening) for answer in answers)
    return np.array([answer.finding.logits for answer in answers])


SAME_WAY = {
    "simulated": ECGS_500_HZ,
    "other gains": [
        changed(STEPS[0] * 5, microvolts_per_step=0.9766),
        changed(STEPS[1] // 3, microvolts_per_step=15.2588),
    ],
    "an offset in each lead": [changed(STEPS[0] + np.arange(-6, 6)[:, None] * 2000)],
    "missing samples": [with_gap(2000, 2003), with_gap(1000, 1080), with_gap(1000, 1060, slice(None)), GOOD],
    "leads in another order": [changed(STEPS[0][::-1], leads=LEADS[::-1])],
    "derived leads": [changed(STEPS[0][[0, 1, *range(6, 12)]], leads=("I", "II", *LEADS[6:]))],
    "longer than 10 s": [changed(np.hstack([STEPS[0], STEPS[1]]))],
    "usable later": [changed(np.hstack([np.full((12, 900), MISSING_SAMPLE), STEPS[1]]))],
}


@pytest.mark.parametrize("items", SAME_WAY.values(), ids=SAME_WAY)
def test_the_same_ecg_has_the_same_answer_by_signals_as_by_crops(by_signals, by_crops, items):
    prepared = by_signals.prepare(items)
    assert prepared.inputs.shape == (len(items), 12, 5000)
    found, expected = by_signals.run(prepared), by_crops.screen(items)
    np.testing.assert_allclose(logits_of(found), logits_of(expected), rtol=0, atol=LOGIT)
    assert [one.finding.flagged_diseases for one in found] == [one.finding.flagged_diseases for one in expected]
    assert [(one.quality, one.measurements) for one in found] == [(one.quality, one.measurements) for one in expected]


@pytest.mark.parametrize("other", [at_rate(400), at_rate(1000), at_rate(250), at_rate(500, 9.5)])
def test_a_batch_with_another_rate_or_length_is_preprocessed_by_the_processor_as_ever(by_signals, by_crops, other):
    items = [GOOD, other, ECGS_500_HZ[2]]
    prepared, expected = by_signals.prepare(items), by_crops.prepare(items)
    np.testing.assert_array_equal(prepared.inputs, expected.inputs)
    np.testing.assert_array_equal(logits_of(by_signals.run(prepared)), logits_of(by_crops.run(expected)))


def test_a_refused_ecg_of_another_rate_does_not_change_the_way_of_the_others(by_signals):
    flat = changed(np.zeros((12, 4000)), sample_rate_hz=400.0)
    prepared = by_signals.prepare([GOOD, flat, ECGS_500_HZ[1]])
    assert prepared.inputs.shape == (2, 12, 5000)
    assert [isinstance(outcome, Quality) for outcome in prepared.outcomes] == [True, False, True]


def test_a_batch_without_an_ecg_that_can_be_screened_needs_no_engine(by_signals):
    assert by_signals.screen([]) == []
    (refusal,) = by_signals.screen([changed(np.zeros((12, 5000)))])
    assert refusal.error.wire_code == "flat_lead"


def test_the_probe_becomes_signals_that_look_like_its_crops(bundle):
    crops = load_probe(bundle).inputs
    signals = signals_of(crops)
    assert signals.shape == (len(crops), 12, 5000)
    np.testing.assert_allclose(signals[:, :, 250:4750:2], crops, atol=0.05)


def test_the_engines_of_a_gpu_preprocess_but_not_in_tf32_and_no_others_do():
    on_gpus = {name for name in ENGINES if find_entry(name).device == "gpu"}
    assert {name for name in (*ENGINES, *TORCH_ENGINES) if preprocesses(name)} == {
        name for name in on_gpus if not name.endswith("tf32")
    }


def test_an_engine_of_a_processor_is_returned_as_it_is(bundle, crops_engine):
    assert with_preprocessing(bundle, crops_engine, load_probe(bundle), EngineOptions()) is crops_engine


class Named(ZeroEngine):
    """An engine that answers zeros under another one's name."""

    def __init__(self, manifest, name):
        super().__init__(manifest)
        self.name, self.output_names = name, tuple(self._sizes)


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["onnxruntime-cuda", "tensorrt-rtx-fp16"])
def test_where_the_gpu_cannot_preprocess_the_processor_does_and_the_log_says_why(bundle, name, caplog):
    engine = Named(bundle.manifest, name)
    with caplog.at_level(logging.WARNING):
        assert with_preprocessing(bundle, engine, load_probe(bundle), EngineOptions()) is engine
    assert f"the processor preprocesses for {name}: " in caplog.text


def test_a_preprocessing_that_differs_from_the_processors_is_refused(bundle):
    engine = Named(bundle.manifest, "onnxruntime")
    with pytest.raises(EngineMismatch, match="the preprocessing of onnxruntime differs from the reference in disease"):
        open_preprocessing(bundle, engine, load_probe(bundle), EngineOptions(rows=6))


def test_without_onnx_the_graph_is_refused_with_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineUnavailable, match="needs onnx: pip install onnx"):
        signals_graphs(bundle).float32.make()


def test_a_graph_is_known_by_what_it_is_made_of(bundle):
    made = signals_graphs(bundle)
    assert made.float32.fingerprint == signals_graphs(bundle).float32.fingerprint != made.float16.fingerprint
    one_crop = msgspec.structs.replace(bundle.manifest.input, n_crops=1)
    other = type(bundle)(bundle.folder, msgspec.structs.replace(bundle.manifest, input=one_crop))
    assert signals_graphs(other).float32.fingerprint != made.float32.fingerprint
    assert signals_graphs(without_half(bundle)).float16 is None


def without_half(bundle):
    files = {name: digest for name, digest in bundle.manifest.files.items() if "float16" not in name}
    return type(bundle)(bundle.folder, msgspec.structs.replace(bundle.manifest, files=files))


def test_both_engines_are_warmed_up_and_closed(bundle):
    done = []

    class Noting(Named):
        def __init__(self, word):
            super().__init__(bundle.manifest, "onnxruntime")
            self.warm_up, self.close = lambda rows: done.append((word, rows)), partial(done.append, word)

    engine = SignalsEngine(Noting("crops"), Noting("signals"), 3)
    engine.warm_up(96)
    engine.close()
    assert done == [("crops", 96), ("signals", 32), "signals", "crops"]
