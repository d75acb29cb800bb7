"""Released weights: they answer as before, and what is not exactly their layout is refused by name."""

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as fn
from typer.testing import CliRunner

from engines.torch_engine import TorchEngine
from inference import released_weights
from inference.bounded_child import BoundedChild, Limits
from inference.bundle import load_bundle
from inference.export import OUTPUTS, restore_network
from inference.models.network import EcgNetwork
from inference.models.presets import PAPER, REFERENCE
from inference.phenotypes import MEASUREMENTS
from inference.readout import Readout
from inference.released_weights import (
    LIMITS,
    import_bundle,
    join_checkpoints,
    name_heads,
    open_checkpoint,
    read_scales,
    released_manifest,
)
from schemas.errors import CorruptBundle, EngineFailed, InvalidSettings
from schemas.messages import DISEASES
from stream.cli import app

pytestmark = pytest.mark.exports

TINY = REFERENCE
WIDTH, LAST = TINY.width, TINY.depth - 1


def draw_network(seed=0, preset=TINY):
    """A network none of whose tensors is all zeros or ones, so that exchanged ones are noticed."""
    torch.manual_seed(seed)
    network = EcgNetwork(preset).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def crops_of(rows, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, 12, 2250)).astype(np.float32)


def released_state(network, head, row=0):
    """The network's encoder and one head under the published names, written down from MODEL.md."""
    encoder, state = network.encoder, {}

    def put(name, layer, rows=slice(None)):
        state[f"{name}.weight"], state[f"{name}.bias"] = layer.weight.data[rows], layer.bias.data[rows]

    state["pos_embedding"], state["sep_embedding"] = encoder.positions.data, encoder.separator.data
    for i, embedding in enumerate(encoder.lead_embeddings):
        state[f"lead_embeddings.{i}"] = embedding.data
    for i in (1, 2, 3):
        put(f"to_patch_embedding.{i}", encoder.patch_embedding[i])
    for i, block in enumerate(encoder.blocks):
        put(f"block{i}.attn.norm", block.attention_norm)
        put(f"block{i}.attn.fn.to_qkv", block.attention.qkv)
        put(f"block{i}.attn.fn.to_out.0", block.attention.output)
        put(f"block{i}.ff.norm", block.mlp_norm)
        put(f"block{i}.ff.fn.net.0", block.mlp[0])
        put(f"block{i}.ff.fn.net.3", block.mlp[2])
    put("norm", encoder.norm)
    if head == "disease":
        put("head", network.disease, slice(row, row + 1))
    elif head == "subtype":
        put("head", network.subtype)
    else:
        for i in (0, 2, 4):
            put(f"head.{i}", network.phenotypes[i])
    return {name: tensor.clone() for name, tensor in state.items()}


def published_answer(state, crops, heads):
    """What the publication says such a state dict answers: written as functions, sharing no code with our network."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attend(x, name):
        rows, tokens, width = x.shape
        q, k, v = (
            part.reshape(rows, tokens, heads, width // heads).transpose(1, 2)
            for part in linear(x, f"{name}.to_qkv").chunk(3, dim=-1)
        )
        weights = (q @ k.transpose(-1, -2) * (width // heads) ** -0.5).softmax(-1)
        return linear((weights @ v).transpose(1, 2).reshape(rows, tokens, width), f"{name}.to_out.0")

    leads = []
    for lead in range(12):
        patches = norm(crops[:, lead].reshape(len(crops), 30, 75), "to_patch_embedding.1")
        patches = norm(linear(patches, "to_patch_embedding.2"), "to_patch_embedding.3")
        separator = state["sep_embedding"].expand(len(crops), 1, -1)
        tokens = torch.cat([separator, patches, separator], dim=1)
        leads.append(tokens + state["pos_embedding"] + state[f"lead_embeddings.{lead}"])
    x = torch.cat(leads, dim=1)
    for i in range(sum(name.endswith("attn.norm.weight") for name in state)):
        x = x + attend(norm(x, f"block{i}.attn.norm"), f"block{i}.attn.fn")
        hidden = fn.gelu(linear(norm(x, f"block{i}.ff.norm"), f"block{i}.ff.fn.net.0"))
        x = x + linear(hidden, f"block{i}.ff.fn.net.3")
    is_patch = torch.tensor([0 < token % 32 < 31 for token in range(384)])
    x = norm(x[:, is_patch].mean(dim=1), "norm")
    if "head.weight" in state:
        return linear(x, "head")
    return linear(fn.gelu(linear(fn.gelu(linear(x, "head.0")), "head.2")), "head.4")


def write_checkpoint(path, state, **others):
    """Write a checkpoint with all that lies beside the weights in a released one."""
    optimizer = {"state": {0: {"step": torch.tensor(9.0), "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 5e-5}]}
    content = {"epoch": 17, "model": state, "optimizer": optimizer, "scaler": {"scale": 65536.0}}
    torch.save(content | {"config": {"model": {"name": "vit_base"}, "seed": 0}} | others, path)
    return path


def imported(path, *diseases, preset=TINY):
    checkpoints = [open_checkpoint(path, preset)]
    return join_checkpoints(checkpoints, name_heads(checkpoints, diseases), preset)


def answers_of(network, crops):
    with torch.inference_mode():
        return {name: answer.numpy() for name, answer in network(torch.tensor(crops)).items()}


@pytest.fixture(scope="module")
def network():
    return draw_network()


@pytest.fixture
def disease_file(network, tmp_path):
    return write_checkpoint(tmp_path / "checkpoint.pth", released_state(network, "disease", row=2))


@pytest.mark.parametrize(
    ("head", "output", "diseases"),
    [
        ("disease", "disease_logits", ["heart_failure"]),
        ("phenotypes", "phenotypes", []),
        ("subtype", "subtype_logits", []),
    ],
)
def test_imported_weights_answer_as_the_publication_says(network, tmp_path, head, output, diseases):
    state, crops = released_state(network, head, row=2), crops_of(3)
    path = write_checkpoint(tmp_path / "c.pth", state)
    answers = answers_of(imported(path, *diseases), crops)

    with torch.inference_mode():
        expected = published_answer(state, torch.tensor(crops), TINY.heads).numpy()
    assert np.ptp(expected, axis=0).min() > 1e-4
    found = answers[output][:, [2]] if diseases else answers[output]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        found, answers_of(network, crops)[output][:, [2] if diseases else slice(None)], atol=1e-6
    )


def test_the_papers_network_answers_the_same_before_and_after(tmp_path):
    original, crops = draw_network(preset=PAPER), crops_of(2)
    before = answers_of(original, crops)["disease_logits"]
    path = write_checkpoint(tmp_path / "c.pth", released_state(original, "disease", row=0))
    del original
    after = answers_of(imported(path, "coronary_artery_disease", preset=PAPER), crops)["disease_logits"]

    assert abs(before[0, 0] - before[1, 0]) > 1e-4
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-6, rtol=0)
    path.unlink()


def test_heads_that_no_checkpoint_brought_answer_a_constant(disease_file):
    answers = answers_of(imported(disease_file, "heart_failure"), crops_of(2))

    assert not answers["disease_logits"][:, [0, 1, 3, 4]].any()
    assert answers["disease_logits"][:, 2].all()
    assert not answers["phenotypes"].any()
    assert not answers["subtype_logits"].any()
    np.testing.assert_allclose(answers["embedding"], 1 / 16, atol=1e-6)


def test_checkpoints_of_one_encoder_join_into_one_bundle_that_serves(network, tmp_path):
    paths = [
        write_checkpoint(tmp_path / f"{i}.pth", released_state(network, head, row))
        for i, (head, row) in enumerate([("disease", 3), ("phenotypes", 0), ("disease", 1), ("subtype", 0)])
    ]
    scales = {known.name: {"mean": 50 + i, "sd": 2} for i, known in enumerate(MEASUREMENTS)}
    (tmp_path / "scaler.json").write_text(json.dumps(scales))
    bundle = import_bundle(
        tmp_path / "bundle",
        paths,
        probe_crops=crops_of(2),
        diseases=["pulmonary_hypertension", "cardiomyopathy"],
        scales=read_scales(tmp_path / "scaler.json"),
        preset=TINY,
    )

    answers = TorchEngine(restore_network(load_bundle(bundle.folder)), OUTPUTS).run(crops_of(2))
    expected = answers_of(network, crops_of(2))
    np.testing.assert_allclose(answers["disease_logits"][:, [1, 3]], expected["disease_logits"][:, [1, 3]], atol=1e-6)
    np.testing.assert_allclose(answers["subtype_logits"], expected["subtype_logits"], atol=1e-6)
    finding, _ = Readout(bundle.manifest).read(answers, n_crops=1)
    z_scores = expected["phenotypes"][0]
    values = [phenotype.value for phenotype in finding.phenotypes]
    np.testing.assert_allclose(values, 50 + np.arange(82) + 2 * z_scores, atol=1e-3)
    assert "z-scores" not in bundle.manifest.notes
    assert bundle.reference.trained
    assert bundle.reference.weights.endswith(
        "imported by you: pulmonary_hypertension, phenotypes, cardiomyopathy, subtype; absent, and answered by a "
        "constant: coronary_artery_disease, heart_failure, pericarditis, embedding"
    )


def test_an_absent_disease_is_never_flagged_and_every_report_names_it(disease_file):
    answers = answers_of(imported(disease_file, "heart_failure"), crops_of(4))
    answers["disease_logits"][:, 2] = 9
    manifest = released_manifest(["heart_failure"], [disease_file], None, TINY)
    findings = Readout(manifest).read(answers, n_crops=1)

    assert not any(isinstance(finding, EngineFailed) for finding in findings)
    assert {finding.flagged_diseases for finding in findings} == {("heart_failure",)}
    assert {risk.probability for risk in findings[0].risks if risk.disease != "heart_failure"} == {0.5}
    absent = "coronary_artery_disease, cardiomyopathy, pulmonary_hypertension, pericarditis, phenotypes, subtype"
    assert absent in manifest.reference.weights
    for statement in ("embedding is the same for every ECG", "phenotypes are 0 for every ECG", "calibrate before use"):
        assert statement in manifest.notes
    assert hashlib.sha256(disease_file.read_bytes()).hexdigest() in manifest.notes


def test_the_notes_say_what_is_missing_from_what_was_imported(disease_file):
    phenotypes, subtype = (released_manifest([head], [disease_file], None, TINY) for head in ("phenotypes", "subtype"))

    assert "plain z-scores" in phenotypes.notes
    assert "0 for every ECG" not in phenotypes.notes
    assert {head.threshold for head in phenotypes.diseases} == {1.0}
    assert "subtype is never reported" in subtype.notes


def test_half_precision_is_read_as_float32(network, tmp_path):
    state = {name: tensor.half() for name, tensor in released_state(network, "subtype").items()}
    answers = answers_of(imported(write_checkpoint(tmp_path / "c.pth", state)), crops_of(2))

    np.testing.assert_allclose(answers["subtype_logits"], answers_of(network, crops_of(2))["subtype_logits"], atol=0.05)
    assert answers["subtype_logits"].dtype == np.float32


def test_every_unknown_missing_and_wrong_key_is_named_at_once(network, tmp_path):
    state = released_state(network, "phenotypes")
    del state["sep_embedding"], state[f"block{LAST}.ff.norm.bias"]
    state |= {"module.norm.weight": torch.zeros(1), f"block{LAST + 1}.attn.norm.bias": torch.zeros(WIDTH)}
    state["pos_embedding"] = state["pos_embedding"][:, :31]
    state["norm.weight"] = torch.full((WIDTH,), torch.nan)
    state["norm.bias"] = "nothing"
    state["lead_embeddings.0"] = torch.zeros(WIDTH, dtype=torch.int64)

    with pytest.raises(CorruptBundle) as refusal:
        open_checkpoint(write_checkpoint(tmp_path / "c.pth", state), TINY)
    for part in (
        f"unknown: module.norm.weight, block{LAST + 1}.attn.norm.bias;",
        f"missing: sep_embedding, block{LAST}.ff.norm.bias;",
        f"pos_embedding has the shape (1, 31, {WIDTH}) instead of (1, 32, {WIDTH})",
        "norm.weight has other values",
        "norm.bias is no plain tensor",
        "lead_embeddings.0 has other values",
    ):
        assert part in str(refusal.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_single_change_of_a_layout_passes_unnamed(network, tmp_path, data):
    state = released_state(network, data.draw(st.sampled_from(["disease", "phenotypes", "subtype"])))
    name = data.draw(st.sampled_from(sorted(state)))
    change = data.draw(st.sampled_from(["remove", "rename", "reshape", "transpose"]))
    tensor = state.pop(name)
    if change == "rename":
        state[f"{name}x"] = tensor
    elif change == "reshape":
        state[name] = tensor[None]
    elif change == "transpose":
        state[name] = torch.cat([tensor, tensor])

    with pytest.raises(CorruptBundle, match=name.replace(".", r"\.")):
        open_checkpoint(write_checkpoint(tmp_path / "c.pth", state), TINY)


@pytest.mark.parametrize("rows", [2, 5, 82])
def test_a_head_of_another_size_is_refused(network, tmp_path, rows):
    state = released_state(network, "disease")
    state |= {"head.weight": torch.ones(rows, WIDTH), "head.bias": torch.ones(rows)}

    with pytest.raises(CorruptBundle, match=rf"head\.weight has the shape \({rows}, {WIDTH}\)"):
        open_checkpoint(write_checkpoint(tmp_path / "c.pth", state), TINY)


def test_the_published_sizes_are_expected_by_default(disease_file):
    with pytest.raises(CorruptBundle, match=r"missing: .*block11\.ff\.fn\.net\.3\.bias"):
        open_checkpoint(disease_file)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["config", "model", "plain pickle", "old format"])
def test_code_in_a_file_is_refused_and_not_run(network, tmp_path, where):
    state, mark, path = released_state(network, "disease"), tmp_path / "ran", tmp_path / "c.pth"
    if where == "plain pickle":
        path.write_bytes(pickle.dumps({"model": Payload(mark)}))
    elif where == "old format":
        torch.save({"model": Payload(mark)}, path, _use_new_zipfile_serialization=False)
    else:
        write_checkpoint(path, state, **{where: Payload(mark)})

    with pytest.raises(CorruptBundle, match="not run" if where in {"config", "model"} else "not a checkpoint"):
        open_checkpoint(path, TINY)
    assert not mark.exists()
    if where == "plain pickle":
        pickle.loads(path.read_bytes())  # the test can fail: the code does run where it is let
        assert mark.exists()


def pickled_text(text):
    return b"X" + struct.pack("<I", len(text)) + text


def test_a_key_that_takes_for_ever_to_hash_hangs_nobody(tmp_path):
    """Tuples that share their parts: small to write, 2^40 steps to hash, in C."""
    begin, end = b"(K\x01K\x02tq\x03", b"t" + pickled_text(b"model") + b"}q\x02h\x2bK\x00su."
    tuples = begin + b"".join(bytes([0x68, 3 + n, 0x68, 3 + n, 0x86, 0x71, 4 + n]) for n in range(40))
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00(" + pickled_text(b"x") + b"(" + tuples + end)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")

    limits = Limits(memory=LIMITS.memory, processor_s=8, wall_s=300.0, written=0)
    with closing(BoundedChild(limits)) as child, pytest.raises(CorruptBundle, match="takes longer than"):
        open_checkpoint(tmp_path / "c.pth", TINY, child)


def test_names_without_end_are_not_all_listed(tmp_path):
    state = {f"{n}{'k' * 10_000}": torch.zeros(1) for n in range(1000)}

    with pytest.raises(CorruptBundle, match="and 800 more") as refusal:
        open_checkpoint(write_checkpoint(tmp_path / "c.pth", state), TINY)
    assert len(str(refusal.value)) < 100_000


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "c.pth")

    with pytest.raises(InvalidSettings, match="no file"):
        open_checkpoint(tmp_path / "c.pth", TINY)


def test_files_that_are_no_checkpoint_are_refused(network, tmp_path):
    whole = write_checkpoint(tmp_path / "whole.pth", released_state(network, "disease")).read_bytes()
    contents = {"empty": b"", "text": b"hello", "cut": whole[:-1000], "begun": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorruptBundle, match=name):
            open_checkpoint(tmp_path / name, TINY)


def test_archives_that_are_no_checkpoint_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    with pytest.raises(CorruptBundle, match="not a checkpoint"):
        open_checkpoint(tmp_path / "a.pth", TINY)
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(CorruptBundle, match="no state dict under 'model'"):
        open_checkpoint(tmp_path / "list.pth", TINY)


def test_an_archive_that_would_unfold_is_refused(disease_file, tmp_path):
    with (
        zipfile.ZipFile(disease_file) as source,
        zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for entry in source.infolist():
            copy.writestr(entry.filename, source.read(entry))
    with pytest.raises(CorruptBundle, match="compressed"):
        open_checkpoint(tmp_path / "z.pth", TINY)


def test_what_is_too_large_is_not_read(disease_file, monkeypatch):
    monkeypatch.setattr(released_weights, "MAX_PICKLE_BYTES", 100)
    with pytest.raises(CorruptBundle, match="more than 100 bytes"):
        open_checkpoint(disease_file, TINY)
    monkeypatch.setattr(released_weights, "MAX_CHECKPOINT_BYTES", 1000)
    with pytest.raises(InvalidSettings, match="at most 1000"):
        open_checkpoint(disease_file, TINY)


@pytest.mark.parametrize("path", ["", "nowhere.pth", "/"])
def test_a_path_without_a_file_is_a_misuse(path):
    with pytest.raises(InvalidSettings, match="there is no file"):
        open_checkpoint(Path(path), TINY)


def test_checkpoints_of_different_encoders_are_not_joined(network, disease_file, tmp_path):
    state = released_state(network, "subtype")
    state["block1.ff.norm.bias"][5] += 1e-6
    other = write_checkpoint(tmp_path / "other.pth", state)

    with pytest.raises(InvalidSettings, match=r"different encoders \(1 tensors, the first is .*blocks\.1\.mlp_norm"):
        import_bundle(
            tmp_path / "b", [disease_file, other], probe_crops=crops_of(2), diseases=["heart_failure"], preset=TINY
        )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("diseases", "sentence"),
    [
        ([], "name one for each"),
        (["heart_failure", "cardiomyopathy"], "name one for each"),
        (["gout"], "no disease gout"),
    ],
)
def test_the_diseases_must_be_those_of_the_heads(disease_file, diseases, sentence):
    with pytest.raises(InvalidSettings, match=sentence):
        imported(disease_file, *diseases)


def test_one_head_is_not_given_twice(disease_file):
    checkpoints = [open_checkpoint(disease_file, TINY)] * 2
    with pytest.raises(InvalidSettings, match="several checkpoints have a head for heart_failure"):
        name_heads(checkpoints, ["heart_failure", "heart_failure"])


def test_a_scaler_without_phenotypes_is_a_misuse(disease_file, tmp_path):
    with pytest.raises(InvalidSettings, match="no use"):
        import_bundle(
            tmp_path / "b",
            [disease_file],
            probe_crops=crops_of(2),
            diseases=["heart_failure"],
            scales={known.name: released_weights.Scale(0, 1) for known in MEASUREMENTS},
            preset=TINY,
        )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "must hold"),
        ('{"LVEDV": {"mean": 1, "sd": 0}}', "must hold"),
        ('{"LVEDV": {"mean": 1, "sd": 2}, "BMI": {"mean": 1, "sd": 2}}', r"unknown: BMI; missing: LVESV, LVSV"),
    ],
)
def test_a_scaler_must_hold_exactly_the_82_phenotypes(tmp_path, content, sentence):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(InvalidSettings, match=sentence):
        read_scales(tmp_path / "s.json")


def test_the_command_refuses_another_layout(disease_file, tmp_path):
    arguments = ["bundle", "import", str(disease_file), "--out", str(tmp_path / "b"), "--disease", DISEASES[2]]
    result = CliRunner().invoke(app, arguments)

    assert isinstance(result.exception, CorruptBundle)
    assert "instead of (1, 32, 768)" in str(result.exception)
    assert not (tmp_path / "b").exists()


def test_without_torch_the_error_says_what_to_install(disease_file):
    code = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from inference.released_weights import open_checkpoint
from schemas.errors import EngineUnavailable
try:
    open_checkpoint(Path({str(disease_file)!r}))
except EngineUnavailable as error:
    print(error)
"""
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'cardiacnets[train]'" in finished.stdout
