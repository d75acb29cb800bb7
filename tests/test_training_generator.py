"""The stages that teach the generator to draw, on a tiny cohort and with tiny networks."""

import json
import shutil

import msgspec
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from tiny_cohort import write_tiny_cohort
from tiny_generator import SMALL
from typer.testing import CliRunner

from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle
from inference.generator import CineGenerator
from inference.generator_manifest import check_embedding, load_folder
from inference.models import cine_presets
from inference.models.cine_mar import CineMar
from inference.models.cine_presets import PAPER, REFERENCE
from inference.models.expected_cine import ExpectedCine
from schemas.errors import InvalidSettings
from stream.cli import app
from training.networks.cine_losses import edge_loss
from training.networks.expectation import fit_expectation
from training.networks.weights_files import load_weights
from training.stages.cine_autoencoder import TrainVae, VaeLearner, train_vae
from training.stages.cine_generator import (
    GeneratorLearner,
    TrainGenerator,
    draw_mask_share,
    embed_ecgs,
    fit_scaling,
    open_ecg_network,
    train_generator,
)
from training.stages.crops import iterate_screened
from training.stages.generator_costs import count_costs
from training.stages.package_generator import package_cines
from training.stages.settings import Hardware, Learning

pytestmark = [pytest.mark.learns, pytest.mark.exports]

CPU = Hardware(device="cpu")
LEARNING = Learning(epochs=2, batch_size=6, learning_rate=1e-3)
FOLDS = {"train": 12, "development": 6, "test": 4}
STAGES = ("vae/weights.safetensors", "generator/weights.safetensors", "generator/scaling.json", "generator/result.json")


@pytest.fixture(scope="module", autouse=True)
def small_preset():
    """One more preset, which learns in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cine_presets.CINE_PRESETS, "small", SMALL)
        yield


def learn_all(out, *, test_seed=0):
    cohort = write_tiny_cohort(out / "cohort", folds=FOLDS, test_seed=test_seed)
    train_vae(cohort, out / "vae", TrainVae(preset="small", learning=LEARNING), CPU)
    settings = TrainGenerator(learning=LEARNING)
    train_generator(cohort, out / "generator", settings, CPU, vae=out / "vae", ecg=default_bundle())
    return cohort


@pytest.fixture(scope="module")
def learned(tmp_path_factory, small_preset):
    out = tmp_path_factory.mktemp("learned")
    learn_all(out)
    return out


@pytest.fixture(scope="module")
def cohort(learned):
    from training.cohort.layout import open_cohort

    return open_cohort(learned / "cohort")


SAMPLING = {"guidance": 1.5, "temperature": 0.8, "steps": 1, "diffusion_steps": 2}


@pytest.fixture(scope="module")
def served(learned, cohort, tmp_path_factory):
    """What was learned, packaged by the command."""
    out = tmp_path_factory.mktemp("served") / "generator"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SAMPLING.items()]
    packaging = ["train", "package-generator", "--cohort", str(cohort.folder), "--ecg", str(default_bundle())]
    run = CliRunner().invoke(app, [*packaging, "--generator", str(learned / "generator"), "--out", str(out), *options])
    assert run.exit_code == 0, run.output
    return out


def test_the_test_fold_decides_nothing_and_a_seed_decides_everything(learned, tmp_path):
    learn_all(tmp_path, test_seed=1)
    for name in STAGES:
        assert (learned / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_latents_and_embeddings_of_the_test_fold_are_never_computed(learned, cohort):
    for name in ("latents.npy", "embeddings.npy"):
        kept = np.load(learned / "generator" / name)
        known = np.isfinite(kept.reshape(len(kept), -1)).all(axis=1)
        assert known[:18].all(), name
        assert not known[18:].any(), name
    lengths = np.linalg.norm(np.load(learned / "generator" / "embeddings.npy")[:18], axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_a_finished_stage_is_not_done_again_and_another_is_refused(learned, cohort):
    weights = learned / "generator" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    inputs = {"vae": learned / "vae", "ecg": default_bundle()}
    train_generator(cohort, learned / "generator", TrainGenerator(learning=LEARNING), CPU, **inputs)
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(InvalidSettings, match=r"settings\.noises 2 → 3"):
        train_generator(cohort, learned / "generator", TrainGenerator(learning=LEARNING, noises=3), CPU, **inputs)


def test_an_interrupted_generator_goes_on_to_the_same_weights(learned, cohort, tmp_path, monkeypatch):
    step = GeneratorLearner.training_step

    def fail(learner, batch, place):
        if learner.current_epoch == 1:
            raise RuntimeError("power cut")
        return step(learner, batch, place)

    settings, inputs = TrainGenerator(learning=LEARNING), {"vae": learned / "vae", "ecg": default_bundle()}
    monkeypatch.setattr(GeneratorLearner, "training_step", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        train_generator(cohort, tmp_path, settings, CPU, **inputs)
    monkeypatch.setattr(GeneratorLearner, "training_step", step)
    assert not (tmp_path / "result.json").exists()
    train_generator(cohort, tmp_path, settings, CPU, **inputs)
    whole, resumed = (load_weights(path / "weights.safetensors") for path in (learned / "generator", tmp_path))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_what_was_learned_serves_without_torchs_weights(learned, cohort, served):
    generator = CineGenerator.load(served, options=EngineOptions(threads=1))
    manifest = load_folder(served).manifest
    scaling = json.loads((learned / "generator" / "scaling.json").read_text())

    assert generator.reference.trained
    check_embedding(generator.ecg_model, load_bundle(default_bundle()).reference)
    assert "22 patients (12 train" in manifest.trained_on
    assert msgspec.structs.asdict(manifest.sampling).items() >= SAMPLING.items()
    assert list(manifest.latents.means) == scaling["means"]
    truth = generator.reduce(cohort.cines[:3])
    latents = generator._run("encoder.onnx", truth[:, None].astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(latents, np.load(learned / "generator" / "latents.npy")[:3], atol=1e-4)
    embeddings = np.load(learned / "generator" / "embeddings.npy")[:2]
    assert generator.draw(embeddings, [0, 1]).shape == (2, *SMALL.cine)
    mean = generator._run("expected.onnx", np.load(learned / "generator" / "embeddings.npy")[:12]).mean(axis=(0, 1))
    of_training = generator.reduce(cohort.cines[cohort.cine[cohort.select("train")]]) / 127.5 - 1
    np.testing.assert_allclose(mean, of_training.mean(axis=0), atol=0.01)


def test_the_embeddings_are_those_of_the_reports(cohort):
    from inference.readout import Readout

    network, n_crops = open_ecg_network(default_bundle())
    rows = np.arange(3)
    (crops,) = iterate_screened(cohort, rows, n_crops, torch.device("cpu"))
    with torch.inference_mode():
        answers = {name: value.numpy() for name, value in network(crops).items()}
    found = Readout(load_bundle(default_bundle()).manifest).read(answers, n_crops)
    expected = np.array([finding.embedding for finding in found])
    np.testing.assert_allclose(embed_ecgs(network, cohort, rows, n_crops, torch.device("cpu")), expected, atol=2e-6)


def test_the_autoencoder_learns(cohort):
    torch.manual_seed(0)
    learner = VaeLearner(TrainVae(preset="small"))
    cines = torch.from_numpy(np.array(cohort.cines[:6, ::5, ::3, ::3]))
    optimizer = torch.optim.Adam(learner.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = learner.losses({"cines": cines}, training=True)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_embeddings_are_standardised_by_those_that_were_fitted():
    embeddings = 0.9 + 0.03 * torch.randn(50, 256)
    embeddings[:, 7] = 0.5  # one that never varies
    transformer = CineMar(SMALL).transformer.eval()
    order = torch.arange(SMALL.n_tokens).expand(4, -1)

    def ask(some):
        with torch.inference_mode():
            return transformer(torch.empty(4, 0, SMALL.token_size), order, some, torch.ones(4))

    standard = (embeddings - embeddings.mean(dim=0)) / embeddings.std(dim=0, correction=0).clamp_min(1e-6)
    expected = ask(standard[:4])
    transformer.embedding_scale.fit_scale(embeddings)

    torch.testing.assert_close(ask(embeddings[:4]), expected, atol=1e-4, rtol=1e-3)


def draw_hearts(count, rank):
    """Embeddings close together, as real ones are, and cines that `rank` of their directions decide, and noise."""
    rng = np.random.default_rng(0)
    causes = rng.standard_normal((count, rank))
    embeddings = 0.06 + 0.03 * causes @ rng.standard_normal((rank, 256)) / 16
    cines = 0.2 * causes @ rng.standard_normal((rank, 10 * 32 * 32)) / rank
    cines += 0.1 * rng.standard_normal(cines.shape)
    return embeddings.astype(np.float32), cines.reshape(count, *SMALL.cine).astype(np.float32)


def test_the_expected_cine_is_a_ridge_regression_on_the_embeddings_principal_axes():
    embeddings, cines = draw_hearts(60, rank=4)
    expected = ExpectedCine(SMALL.cine)
    batches = [torch.from_numpy(cines[start : start + 25]) for start in range(0, 60, 25)]
    fit_expectation(expected, torch.from_numpy(embeddings), batches, shrinkage=30.0)

    centred = embeddings - embeddings.mean(axis=0)
    left, spread, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    white = left[:, spread > 1e-4 * spread[0]] * np.sqrt(60)
    ridge = Ridge(alpha=30.0).fit(white, cines.reshape(60, -1))
    with torch.inference_mode():
        found = expected(torch.from_numpy(embeddings)).flatten(1)
    np.testing.assert_allclose(found, ridge.predict(white), atol=0.01)


def test_the_expected_cine_of_strangers_is_nearer_than_the_mean_cine():
    embeddings, cines = draw_hearts(300, rank=4)
    expected = ExpectedCine(SMALL.cine)
    fit_expectation(expected, torch.from_numpy(embeddings[:200]), [torch.from_numpy(cines[:200])], shrinkage=10.0)
    with torch.inference_mode():
        found = expected(torch.from_numpy(embeddings[200:]))[:, 0].numpy()
    error, of_mean = (np.square(guess - cines[200:]).mean() for guess in (found, cines[:200].mean(axis=0)))
    assert error < 0.9 * of_mean
    assert error == pytest.approx(0.1**2, rel=0.2)


def test_the_generator_learns_to_obey_the_embedding():
    """Two hearts, two embeddings: after a little learning each embedding draws its own."""
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(2, 256), dim=1)
    learner = GeneratorLearner(TrainGenerator(dropped=0.1), SMALL, embeddings)
    hearts = torch.randn(2, *SMALL.latent)
    batch = {"latents": hearts.repeat(32, 1, 1, 1, 1), "embeddings": embeddings.repeat(32, 1)}
    optimizer = torch.optim.Adam(learner.parameters(), 3e-3)
    losses = []
    for _ in range(250):
        loss = learner.losses(batch, training=True)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.inference_mode():
        told = float(learner.losses(batch, training=False)["loss"])
        swapped = float(learner.losses({**batch, "embeddings": batch["embeddings"].flip(0)}, training=False)["loss"])
    assert told < 0.7 * losses[0]
    assert told < 0.8 * swapped


def test_masks_hide_at_least_the_least_and_never_more_than_all():
    torch.manual_seed(0)
    shares = np.array([draw_mask_share(0.7) for _ in range(500)])
    assert shares.min() >= 0.7
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(0.864, abs=0.01)  # a normal about 1, deviation 0.25, cut at 0.7 and 1


def test_the_scaling_is_of_the_training_fold_alone():
    latents = np.random.default_rng(0).normal(3, 2, (20, 2, 2, 4, 4)).astype(np.float32)
    latents[:, 1] *= 10
    scaling = fit_scaling(latents, np.arange(10), "small")
    latents[10:] = np.nan
    assert scaling == fit_scaling(latents, np.arange(10), "small")
    scaled = scaling.apply(latents[:10])
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3, 4)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3, 4)), 1, atol=1e-4)


def test_edges_that_are_where_they_should_be_cost_nothing_however_bright():
    cine = torch.rand(1, 1, 4, 8, 8)
    assert float(edge_loss(cine + 0.3, cine)) == pytest.approx(0, abs=1e-6)
    assert float(edge_loss(cine.roll(2, dims=3), cine)) > 0.05


def test_a_cohort_without_cines_teaches_no_drawing(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 2, "development": 2}, cines=False)
    with pytest.raises(InvalidSettings, match="no cines"):
        train_vae(cohort, tmp_path / "v", TrainVae(), CPU)
    with pytest.raises(InvalidSettings, match="no cines"):
        train_generator(cohort, tmp_path / "g", TrainGenerator(), CPU, vae=tmp_path, ecg=tmp_path)


def test_a_generator_names_no_model_but_the_one_it_learned_with(learned, cohort, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(learned / "vae" / "weights.safetensors", tmp_path / "other")
    with pytest.raises(InvalidSettings, match="was not made with"):
        package_cines(tmp_path / "out", learned / "generator", cohort, ecg=tmp_path / "other")


def test_the_costs_are_counted_for_both_presets():
    """The denoiser's by hand: two rows, each matrix once a token and diffusion step."""
    for preset in (REFERENCE, PAPER):
        costs = count_costs(preset)
        width, size = preset.mar.denoiser_width, preset.token_size
        depth, known = preset.mar.denoiser_depth, preset.mar.blocks.width
        products = (size + 256 + width + known + 5 * depth * width + 2 * width + size) * width
        assert costs["denoiser"].operations == 2 * 2 * products * preset.n_tokens * preset.diffusion_steps
        stages = ("transformer", "denoiser", "decoder")
        assert costs["cine"].operations == sum(costs[stage].operations for stage in stages)
        assert costs["denoiser"].calls == preset.steps * preset.diffusion_steps


def test_the_commands_hand_their_options_to_the_stages(cohort, served, tmp_path):
    vae, drawn = (str(tmp_path / name) for name in ("vae", "generator"))
    common = ["train", "--device", "cpu"]
    options = ["--cohort", str(cohort.folder), "--epochs", "1", "--batch-size", "6", "--seed", "3", "--out"]
    for arguments in (
        [*common, "train-vae", *options, vae, "--preset", "small"],
        [*common, "train-generator", *options, drawn, "--vae", vae, "--ecg", str(default_bundle())],
    ):
        run = CliRunner().invoke(app, arguments)
        assert run.exit_code == 0, run.output
    for folder in (vae, drawn):
        settings = json.loads((tmp_path / folder / "config.json").read_text())["settings"]
        assert (settings["seed"], settings["learning"]["epochs"], settings["learning"]["batch_size"]) == (3, 1, 6)
    assert CineGenerator.load(served, options=EngineOptions(threads=1)).reference.trained


def test_the_costs_are_printed_as_json():
    run = CliRunner().invoke(app, ["train", "generator-costs"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["decoder"]["calls"] == 1
