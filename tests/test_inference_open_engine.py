"""The engine for an evaluation computes in float32 and agrees with the bundle's reference, or there is none."""

import shutil
from contextlib import closing
from functools import partial

import pytest
from safetensors.numpy import load_file, save_file

from engines.catalog import find_entry
from engines.nvidia import find_gpus
from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle, write_bundle
from inference.manifest import GRAPH, PROBE
from inference.open_engine_for_bundle import open_chosen_engine, open_float32_engine
from inference.screener import Screener
from schemas.errors import CorruptBundle, EngineMismatch, EngineUnavailable


def test_an_evaluation_runs_on_float32():
    with closing(open_float32_engine(load_bundle(default_bundle()))) as engine:
        assert find_entry(engine.name).precision == "float32"


def test_an_evaluation_refuses_engines_that_disagree_with_the_reference(tmp_path):
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    probe = tmp_path / "bundle" / PROBE
    tensors = load_file(probe)
    tensors["disease_logits"] += 1
    save_file(tensors, probe)
    bundle = write_bundle(tmp_path / "bundle", load_bundle(default_bundle()).manifest)

    with pytest.raises(EngineMismatch, match="disease_logits"):
        open_float32_engine(bundle)


@pytest.mark.parametrize("name", [None, "onnxruntime", "torch"])
def test_an_engine_is_checked_at_every_start_even_where_the_choice_is_remembered(tmp_path, name):
    if name == "torch":
        pytest.importorskip("torch")
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    options = EngineOptions(threads=1, cache_folder=tmp_path / "cache")
    opened = partial(open_chosen_engine, name=name, options=options, rows=1)
    with closing(opened(bundle)):
        pass
    probe = tmp_path / "bundle" / PROBE
    tensors = load_file(probe)
    tensors["disease_logits"] += 1  # as if the engine answered otherwise than when it was chosen
    save_file(tensors, probe)
    bundle = write_bundle(tmp_path / "bundle", bundle.manifest)

    with pytest.raises(EngineMismatch, match="disease_logits"):
        opened(bundle)


def test_the_graph_that_runs_is_the_graph_that_was_verified(tmp_path):
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / GRAPH).write_bytes(b"")

    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        open_chosen_engine(bundle, "onnxruntime", EngineOptions(threads=1), rows=1)


@pytest.mark.parametrize(("name", "records"), [("onnxruntime", 16), ("one of my own", 16), ("tensorrt-fp16", 32)])
def test_a_batch_has_as_many_records_as_the_device_of_the_engine_wants(name, records):
    assert Screener(load_bundle(default_bundle()), Named(name)).records_wanted == records


class Named:
    """An engine that has a name and does nothing."""

    def __init__(self, name):
        self.name = name


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
def test_the_reference_on_a_gpu_is_refused_where_torch_has_none():
    pytest.importorskip("torch")
    with pytest.raises(
        EngineUnavailable, match=r"torch-cuda cannot be used: torch \S+ (was built for the CPU|finds no)"
    ):
        open_chosen_engine(load_bundle(default_bundle()), "torch-cuda", EngineOptions())
