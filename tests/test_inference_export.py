"""The export: the graph answers as torch does, and the same weights give the same bytes."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from needed import each_engine
from safetensors.numpy import load_file, save_file

from engines.catalog import open_engine
from engines.options import EngineOptions
from engines.torch_engine import TorchEngine
from inference.bundle import load_bundle, load_probe, write_bundle
from inference.export import (
    OUTPUTS,
    create_bundle,
    export_network,
    package_network,
    restore_network,
    untrained_manifest,
)
from inference.models.network import EcgNetwork
from inference.models.presets import REFERENCE
from schemas.errors import CorruptBundle, InvalidSettings

pytestmark = pytest.mark.exports


def crops_of(rows, seed=0):
    draw = np.random.default_rng(seed)
    beats = np.convolve(draw.random(2250) < 0.006, np.hanning(25), mode="same")
    crops = draw.standard_normal((rows, 12, 1)) * beats + 0.1 * draw.standard_normal((rows, 12, 2250))
    return (crops / crops.std(axis=(1, 2), keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return create_bundle(tmp_path_factory.mktemp("bundle"), preset="reference", seed=4, probe_crops=crops_of(4))


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize("name", each_engine(but=["openvino-bf16"]))
def test_the_graph_answers_as_torch_does(bundle, name, rows):
    crops = crops_of(rows, seed=rows)
    expected = TorchEngine(restore_network(bundle), OUTPUTS).run(crops)
    engine = open_engine(name, bundle.graph, EngineOptions(threads=2))
    try:
        answers = engine.run(crops)
    finally:
        engine.close()

    assert tuple(answers) == OUTPUTS
    for output, answer in answers.items():
        np.testing.assert_allclose(answer, expected[output], atol=1e-4, rtol=0, err_msg=output)


def test_the_probe_holds_what_torch_answers(bundle):
    probe = load_probe(bundle)
    answers = TorchEngine(restore_network(bundle), OUTPUTS).run(probe.inputs)

    for output, answer in answers.items():
        np.testing.assert_allclose(answer, probe.expected[output], atol=1e-5, err_msg=output)


def test_the_graph_takes_any_number_of_rows_and_names_its_axes(bundle):
    graph = onnx.load(bundle.graph).graph

    assert [value.name for value in graph.input] == ["crops"]
    assert [value.name for value in graph.output] == list(OUTPUTS)
    rows, leads, samples = graph.input[0].type.tensor_type.shape.dim
    assert (rows.dim_param, leads.dim_value, samples.dim_value) == ("rows", 12, 2250)


def test_the_graph_tells_nothing_of_the_machine_that_wrote_it(bundle):
    content = bundle.graph.read_bytes()

    assert b".py" not in content
    assert os.fsencode(Path.cwd()) not in content
    assert torch.__version__.encode() not in content


def test_another_process_writes_the_same_bundle_to_the_byte(bundle, tmp_path):
    np.save(tmp_path / "crops.npy", load_probe(bundle).inputs)
    code = (
        "import numpy; from pathlib import Path; from inference.export import create_bundle;"
        f"here = Path({str(tmp_path)!r});"
        "create_bundle(here / 'again', preset='reference', seed=4, probe_crops=numpy.load(here / 'crops.npy'))"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    for path in bundle.folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    assert (finished.stdout, finished.stderr) == ("", "")


def test_other_weights_are_another_version(bundle, tmp_path):
    torch.manual_seed(5)
    manifest = untrained_manifest("reference", n_crops=1)
    other = package_network(tmp_path, EcgNetwork(REFERENCE), manifest, crops_of(2))

    assert other.reference.version != bundle.reference.version
    assert other.manifest.input.n_crops == 1


def test_a_restored_network_exports_to_the_same_graph_without_a_word(bundle, tmp_path):
    network = restore_network(bundle)
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        export_network(network, tmp_path / "again.onnx")

    assert not network.training
    assert (tmp_path / "again.onnx").read_bytes() == bundle.graph.read_bytes()
    assert seen == []
    assert warnings.filters == filters


def test_weights_of_another_architecture_are_not_restored(tmp_path, bundle):
    for path in bundle.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "weights.safetensors")
    del weights["encoder.separator"]
    save_file(weights, tmp_path / "weights.safetensors")

    with pytest.raises(CorruptBundle, match=r"encoder\.separator"):
        restore_network(write_bundle(tmp_path, bundle.manifest))


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.docx").write_bytes(b"years of work")

    with pytest.raises(CorruptBundle, match=r"thesis\.docx"):
        package_network(tmp_path, EcgNetwork(REFERENCE), untrained_manifest("reference", 1), crops_of(2))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_an_unknown_preset_is_a_misuse(tmp_path):
    with pytest.raises(InvalidSettings, match="no preset"):
        create_bundle(tmp_path, preset="colossal", seed=0, probe_crops=crops_of(2))


def test_without_torch_the_error_says_what_to_install(tmp_path):
    code = f"""
import sys
sys.modules["torch"] = None
import numpy
from pathlib import Path
from inference.bundle import default_bundle, load_bundle
from inference.export import create_bundle, restore_network
from schemas.errors import EngineUnavailable

def create():
    create_bundle(Path({str(tmp_path)!r}), preset="reference", seed=0, probe_crops=numpy.zeros((2, 12, 2250)))

def restore():
    restore_network(load_bundle(default_bundle()))

for work in (create, restore):
    try:
        work()
    except EngineUnavailable as error:
        print(error)
"""
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert finished.stdout.count("pip install 'cardiacnets[train]'") == 2
