"""Bundles: what is altered, missing, unlisted or contradictory is refused before anything is read from it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needed import each_engine
from safetensors.numpy import load_file, save_file

from engines.catalog import open_engine
from engines.choice import check_engine
from engines.options import EngineOptions
from inference.bundle import BUNDLES, default_bundle, load_bundle, load_probe, write_bundle
from inference.export import untrained_manifest
from inference.manifest import (
    GRAPH,
    HALF_GRAPH,
    MODEL_FILES,
    DiseaseHead,
    IsotonicCalibration,
    Manifest,
    contradictions,
)
from inference.open_engine_for_bundle import graphs_of
from inference.phenotypes import MEASUREMENTS
from inference.verified_folder import MAX_FILE_BYTES, MAX_MANIFEST_BYTES
from schemas.errors import CorruptBundle, InvalidSettings
from schemas.messages import DISEASES

A_GRAPH, ANOTHER_GRAPH = b"\x12\x07a graph", b"\x12\x0danother graph"
"""Graphs of nothing but the name of the program that wrote them."""
OUTPUTS = {"disease_logits": 5, "phenotypes": 82, "subtype_logits": 3, "embedding": 256}


@pytest.fixture
def folder(tmp_path):
    """A bundle whose model files are small; nothing here runs them."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "network.onnx").write_bytes(A_GRAPH)
    (folder / "weights.safetensors").write_bytes(b"weights")
    draw = np.random.default_rng(0)
    probe = {"crops": (2, 12, 2250)} | {name: (2, size) for name, size in OUTPUTS.items()}
    save_file(
        {name: draw.standard_normal(shape).astype(np.float32) for name, shape in probe.items()},
        folder / "probe.safetensors",
    )
    write_bundle(folder, untrained_manifest("reference", n_crops=3))
    return folder


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_bundle_is_loaded_as_it_was_written(folder):
    bundle = load_bundle(folder)

    assert bundle.graph.read_bytes() == A_GRAPH
    assert bundle.manifest.input.n_crops == 3
    assert (bundle.reference.trained, bundle.reference.weights) == (False, "untrained")
    assert bundle.reference.version.startswith("0.1.0+")


def test_the_probe_is_handed_out_as_engines_are_checked(folder):
    probe = load_probe(load_bundle(folder))

    assert probe.inputs.shape == (2, 12, 2250)
    assert {name: answer.shape[1] for name, answer in probe.expected.items()} == OUTPUTS


@pytest.mark.parametrize("name", ["network.onnx", "weights.safetensors", "probe.safetensors"])
def test_one_altered_byte_in_any_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["network.onnx", "weights.safetensors", "probe.safetensors", "manifest.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(CorruptBundle, match=name):
        load_bundle(folder)


def test_a_folder_that_is_not_there_is_no_bundle(tmp_path):
    with pytest.raises(CorruptBundle, match="is not a model bundle"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["other.onnx", "network.onnx.data", "weights.PT", "cmr.safetensors", "x.py", "weights"]
)
def test_a_file_that_the_manifest_does_not_list_is_refused(folder, name):
    (folder / name).write_bytes(b"?")

    with pytest.raises(CorruptBundle, match="does not belong there"):
        load_bundle(folder)


def test_a_folder_in_a_bundle_is_no_document(folder):
    (folder / "notes.txt").mkdir()
    with pytest.raises(CorruptBundle, match="does not belong there"):
        load_bundle(folder)


def test_a_replacement_that_fails_leaves_the_bundle_as_it_was(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail():
        with BUNDLES.replacing(folder) as stage:
            (stage / GRAPH).write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert load_bundle(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_in_the_place_of_a_bundle_is_a_misuse(tmp_path):
    (tmp_path / "b").write_text("a file")
    with pytest.raises(InvalidSettings, match="cannot be written to"), BUNDLES.replacing(tmp_path / "b"):
        pass


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "notes.txt"])
def test_documents_lie_beside_the_model_listed_and_verified(folder, name):
    manifest = load_bundle(folder).manifest
    (folder / name).write_text("words")
    assert name in write_bundle(folder, manifest).manifest.files
    assert load_bundle(folder)

    (folder / name).write_text("other words")

    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "notes.txt", ".gitattributes", ".weights", "read me.txt"])
def test_nothing_that_no_digest_covers_lies_in_a_bundle(folder, name):
    (folder / name).write_text("words")

    with pytest.raises(CorruptBundle, match="does not belong there"):
        load_bundle(folder)


@pytest.mark.parametrize("location", [".weights", "README.txt", "../above.bin"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "branch", "function", "sparse"])
def test_a_graph_that_keeps_tensors_in_another_file_is_refused_when_it_is_written_and_when_it_is_read(
    folder, location, place
):
    manifest = load_bundle(folder).manifest
    (folder / "network.onnx").write_bytes(graph_with_external_data(location, place))

    with pytest.raises(CorruptBundle, match="keeps tensors in another file"):
        write_bundle(folder, manifest)
    # The manifest fits its files all the same: as if somebody else had written it.
    with pytest.raises(CorruptBundle, match="keeps tensors in another file"):
        load_bundle(folder)


def graph_with_external_data(location, place):
    onnx = pytest.importorskip("onnx", reason="needs onnx, to write a graph")
    helper, elsewhere = onnx.helper, onnx.TensorProto(name="w", data_type=1, dims=[12], data_location=1)
    elsewhere.external_data.add(key="location", value=location)
    node = helper.make_node("Constant", [], ["y"], value=elsewhere)
    inner = helper.make_graph([node], "inner", [], [])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner)
    sparse = onnx.SparseTensorProto(values=elsewhere)
    graphs = {
        "initializer": helper.make_graph([], "g", [], [], [elsewhere]),
        "attribute": helper.make_graph([node], "g", [], []),
        "branch": helper.make_graph([branch], "g", [], []),
        "function": helper.make_graph([], "g", [], []),
        "sparse": helper.make_graph([], "g", [], [], sparse_initializer=[sparse]),
    }
    function = helper.make_function("own", "f", [], ["y"], [node], []) if place == "function" else None
    return helper.make_model(graphs[place], functions=[function] if function else []).SerializeToString()


@pytest.mark.parametrize(
    "content", [b"a graph", b"\x3a\xff\xff\xff\xff\x0f", b"<?xml version='1.0'?>", b"ORTM", b"\x80" * 20]
)
def test_a_graph_that_is_none_is_refused_before_a_library_reads_it(folder, content):
    manifest = load_bundle(folder).manifest
    (folder / "network.onnx").write_bytes(content)
    bundle = write_bundle(folder, manifest)

    with pytest.raises(CorruptBundle, match="not an ONNX graph"):
        bundle.read("network.onnx")


def test_a_graph_that_is_nested_without_end_is_refused_at_once(folder):
    manifest, content = load_bundle(folder).manifest, b""
    for _ in range(2000):  # a graph in an attribute of a node of a graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            content = tag + encoded_length(len(content)) + content
    (folder / "network.onnx").write_bytes(b"\x3a" + encoded_length(len(content)) + content)
    bundle = write_bundle(folder, manifest)

    with pytest.raises(CorruptBundle, match="too deep"):
        bundle.read("network.onnx")


def encoded_length(length):
    parts = []
    while True:
        parts.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(parts)


@pytest.mark.parametrize("name", ["network.onnx", "weights.safetensors", "probe.safetensors", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_is_no_regular_file_is_refused_and_never_opened(folder, name, kind):
    (folder / name).unlink()
    with special(folder / name, kind), pytest.raises(CorruptBundle, match=r"never opened|cannot be read"):
        load_bundle(folder)


@contextmanager
def special(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "socket":
            here = Path.cwd()
            os.chdir(path.parent)  # an address of a socket has room for 107 characters
            listening.bind(path.name)
            os.chdir(here)
        yield


def test_a_file_beyond_the_bound_is_refused_before_it_is_read(folder):
    with (folder / "weights.safetensors").open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: it takes no room

    with pytest.raises(CorruptBundle, match="at most"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"files"', '"files": {}, "files"'),
        ('"files"', '"\\u0066iles": {}, "files"'),
        ('"network.onnx"', '"network.onnx": "", "network.onnx"'),
        ('"threshold"', '"threshold": 0.9, "threshold"'),
    ],
)
def test_a_manifest_that_says_something_twice_is_refused(folder, old, new):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace(old, new, 1))

    with pytest.raises(CorruptBundle, match=r"twice|not a manifest"):
        load_bundle(folder)


def test_what_was_verified_is_what_is_used_even_if_a_file_changes_in_between(folder):
    bundle = load_bundle(folder)
    (folder / "network.onnx").write_bytes(ANOTHER_GRAPH)
    (folder / "probe.safetensors").write_bytes(b"")

    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        bundle.read("network.onnx")
    with pytest.raises(CorruptBundle, match="is not the file that the manifest describes"):
        load_probe(bundle)


@pytest.mark.parametrize("name", ["../network.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", "a\\b", "", "x\n"])
def test_a_file_name_that_leaves_the_folder_is_refused(folder, name):
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: "0" * 64}))

    with pytest.raises(CorruptBundle, match="not a manifest"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["diseases"][0].update(threshold=float("nan")),
        lambda m: m["diseases"][0].update(threshold=1.5),
        lambda m: m["diseases"].pop(),
        lambda m: m["diseases"].reverse(),
        lambda m: m["diseases"][0].update(calibration={"method": "temperature", "temperature": 0}),
        lambda m: m["diseases"][0].update(calibration={"method": "magic"}),
        lambda m: m["phenotypes"].pop(),
        lambda m: m["phenotypes"][0].update(unit="L"),
        lambda m: m["phenotypes"][0].update(sd=0),
        lambda m: m["phenotypes"][0].update(mean=float("inf")),
        lambda m: m["subtypes"].reverse(),
        lambda m: m["input"].update(n_crops=0),
        lambda m: m["input"].update(sample_rate_hz=500),
        lambda m: m["input"]["leads"].reverse(),
        lambda m: m.update(embedding_size=128),
        lambda m: m.update(format_version=2),
        lambda m: m.update(surprise=1),
        lambda m: m.pop("trained"),
        lambda m: m["files"].pop("network.onnx"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(folder, change):
    edit_manifest(folder, change)

    with pytest.raises(CorruptBundle, match="manifest"):
        load_bundle(folder)


def test_a_change_of_meaning_must_change_the_version_and_the_error_says_to_what(folder):
    edit_manifest(folder, lambda m: m["diseases"][0].update(threshold=0.25))
    with pytest.raises(CorruptBundle, match="set the version to") as refusal:
        load_bundle(folder)
    version = str(refusal.value).split()[-1]

    edit_manifest(folder, lambda m: m.update(version=version))

    assert load_bundle(folder).reference.version == version


def test_the_version_follows_the_model_and_not_the_probe(folder):
    before = load_bundle(folder).manifest
    probe = load_file(folder / "probe.safetensors")
    save_file({name: tensor * np.float32(0.5) for name, tensor in probe.items()}, folder / "probe.safetensors")
    with_other_probe = write_bundle(folder, before).manifest
    (folder / "network.onnx").write_bytes(ANOTHER_GRAPH)
    with_other_graph = write_bundle(folder, with_other_probe).manifest

    assert with_other_probe.version == before.version
    assert with_other_graph.version != before.version


def test_a_manifest_of_megabytes_is_not_even_parsed(folder):
    (folder / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))

    with pytest.raises(CorruptBundle, match="larger than"):
        load_bundle(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(text=st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"files":' * 50_000, b"null", b"\xff"]))
def test_any_bytes_for_a_manifest_give_a_corrupt_bundle_and_no_other_error(folder, text):
    (folder / "manifest.json").write_bytes(text)

    with pytest.raises(CorruptBundle):
        load_bundle(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda probe: probe.pop("crops"),
        lambda probe: probe.pop("embedding"),
        lambda probe: probe.update(crops=probe["crops"][:1]),
        lambda probe: probe.update(crops=probe["crops"].astype(np.float64)),
        lambda probe: probe["phenotypes"].fill(np.nan),
        lambda probe: probe.update({name: tensor[:0] for name, tensor in probe.items()}),
    ],
)
def test_a_probe_that_could_not_check_an_engine_is_refused(folder, damage):
    probe = load_file(folder / "probe.safetensors")
    damage(probe)
    save_file(probe, folder / "probe.safetensors")
    bundle = write_bundle(folder, load_bundle_manifest(folder))

    with pytest.raises(CorruptBundle, match="probe"):
        load_probe(bundle)


def load_bundle_manifest(folder):
    return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)


def test_a_nan_threshold_cannot_be_written_either(folder):
    manifest = load_bundle_manifest(folder)
    diseases = (DiseaseHead(name=DISEASES[0], threshold=float("nan")), *manifest.diseases[1:])

    with pytest.raises(CorruptBundle):
        write_bundle(folder, msgspec.structs.replace(manifest, diseases=diseases))


@pytest.mark.parametrize(
    ("logits", "probabilities"),
    [((0.0, 1.0), (0.5, 0.4)), ((1.0, 1.0), (0.1, 0.2)), ((0.0, 1.0, 2.0), (0.1, 0.2))],
)
def test_a_calibration_that_falls_is_a_contradiction(logits, probabilities):
    manifest = untrained_manifest("reference", n_crops=3)
    calibration = IsotonicCalibration(logits=logits, probabilities=probabilities)
    heads = (DiseaseHead(name=DISEASES[0], threshold=0.5, calibration=calibration), *manifest.diseases[1:])
    manifest = msgspec.structs.replace(manifest, diseases=heads)

    assert any(DISEASES[0] in problem for problem in contradictions(manifest))


def test_the_shipped_bundle_says_that_its_weights_are_for_demonstration_and_is_small():
    bundle = load_bundle(default_bundle())

    assert bundle.reference.trained
    assert bundle.reference.weights == "demonstration weights, simulated cohort"
    assert "says nothing of a person" in bundle.manifest.notes
    assert all(head.calibration and head.operating_points for head in bundle.manifest.diseases)
    assert len(bundle.manifest.phenotypes) == len(MEASUREMENTS)
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) < 8e6


@pytest.mark.parametrize("name", each_engine(but=["openvino-bf16"]))
def test_the_shipped_bundle_is_answered_as_torch_answered_it(name):
    bundle = load_bundle(default_bundle())
    probe = load_probe(bundle)
    engine = open_engine(name, bundle.graph, EngineOptions(threads=2))
    try:
        differences = check_engine(engine, probe)
    finally:
        engine.close()

    assert set(differences) == set(OUTPUTS)
    assert max(differences.values()) < 1e-4


def test_the_shipped_probe_is_worth_checking_against():
    probe = load_probe(load_bundle(default_bundle()))

    assert len(probe.inputs) == 6
    np.testing.assert_allclose(probe.inputs.std(axis=(1, 2)), 1, atol=1e-3)
    assert (probe.expected["disease_logits"].std(axis=0) > 0.1).all()


def test_a_bundle_is_loaded_and_probed_without_torch(folder):
    code = (
        "import sys; from pathlib import Path; from inference.bundle import load_bundle, load_probe;"
        "from inference.readout import Readout; import inference.report;"
        f"bundle = load_bundle(Path({str(folder)!r})); load_probe(bundle); Readout(bundle.manifest);"
        "assert not {'torch', 'onnx', 'einops', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_can_be_moved(folder, tmp_path):
    version = load_bundle(folder).reference.version

    assert load_bundle(shutil.move(folder, tmp_path / "elsewhere")).reference.version == version


def test_the_float16_graph_of_a_bundle_is_optional_verified_and_no_other_model(tmp_path):
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    with_it = load_bundle(tmp_path / "bundle")
    assert HALF_GRAPH in with_it.manifest.files
    (tmp_path / "bundle" / HALF_GRAPH).unlink()
    with pytest.raises(CorruptBundle, match="network.float16.onnx cannot be read"):
        load_bundle(tmp_path / "bundle")
    without_it = write_bundle(tmp_path / "bundle", with_it.manifest)
    assert HALF_GRAPH not in without_it.manifest.files
    assert without_it.reference == with_it.reference
    assert graphs_of(load_bundle(default_bundle())).float16
    assert graphs_of(without_it).float16 is None


def test_a_bundle_that_is_packaged_without_a_float16_graph_keeps_none_of_before(tmp_path):
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    with BUNDLES.replacing(tmp_path / "bundle") as stage:
        for name in MODEL_FILES:
            shutil.copy(default_bundle() / name, stage)
    assert not (tmp_path / "bundle" / HALF_GRAPH).exists()
    with BUNDLES.replacing(tmp_path / "bundle") as stage:
        for name in (*MODEL_FILES, HALF_GRAPH):
            shutil.copy(default_bundle() / name, stage)
    assert (tmp_path / "bundle" / HALF_GRAPH).exists()
