"""The engine for an evaluation computes in float32 and agrees with the bundle's reference, or there is none."""

import shutil
from contextlib import closing

import pytest
from safetensors.numpy import load_file, save_file

from engines.catalog import find_entry
from inference.bundle import Bundle, default_bundle, load_bundle
from inference.manifest import PROBE
from inference.open_engine_for_bundle import open_float32_engine
from schemas.errors import EngineMismatch


def test_an_evaluation_runs_on_float32():
    with closing(open_float32_engine(load_bundle(default_bundle()))) as engine:
        assert find_entry(engine.name).precision == "float32"


def test_an_evaluation_refuses_engines_that_disagree_with_the_reference(tmp_path):
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    probe = tmp_path / "bundle" / PROBE
    tensors = load_file(probe)
    tensors["disease_logits"] += 1
    save_file(tensors, probe)

    with pytest.raises(EngineMismatch, match="disease_logits"):
        open_float32_engine(Bundle(tmp_path / "bundle", load_bundle(default_bundle()).manifest))
