"""The cine generator: what its graphs say, what its seeds decide, what its folder must be."""

import json
import math
import re
import shutil

import msgspec
import numpy as np
import pytest
import torch
from needed import needs_engine
from safetensors.numpy import load_file, save_file
from tiny_generator import SMALL, draw_networks, small_manifest

from engines.nvidia import find_gpus
from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle
from inference.cine import CineGeometry
from inference.generator import (
    CineGenerator,
    as_pixels,
    join_tokens,
    plan_diffusion,
    plan_steps,
    reduce_cines,
)
from inference.generator_export import describe_untrained, package_generator
from inference.generator_manifest import (
    DECODER,
    EXPECTED,
    GRAPHS,
    check_embedding,
    default_generator,
    load_folder,
    write_folder,
)
from inference.manifest import PROBE, fingerprint
from inference.models.cine_mar import CineMar, split_latents
from inference.models.cine_presets import PAPER, REFERENCE, find_cine_preset
from inference.models.cine_vae import CineVae, LatentMeans
from inference.models.expected_cine import PATTERNS, ExpectedCine
from inference.models.token_diffusion import TokenDenoiser, diffusion_loss
from inference.verified_folder import MANIFEST
from schemas.errors import (
    CorruptBundle,
    DeploymentError,
    EngineFailed,
    EngineMismatch,
    EngineUnavailable,
    ForeignEmbedding,
    InvalidSettings,
)
from stream.cines.open_generator import open_generator
from stream.settings import Settings, load_settings

pytestmark = pytest.mark.exports


@pytest.fixture(scope="module")
def networks():
    return draw_networks()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, networks):
    path = tmp_path_factory.mktemp("generator")
    package_generator(path, *networks, small_manifest())
    return path


@pytest.fixture(scope="module")
def generator(folder):
    generator = CineGenerator.load(folder, options=EngineOptions(threads=1))
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def embeddings():
    return draw_embeddings(3)


def draw_embeddings(count):
    drawn = np.random.default_rng(0).normal(size=(count, 256))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def resampled(folder, path, **sampling):
    """The same generator with other ways of sampling."""
    shutil.copytree(folder, path, dirs_exist_ok=True)
    manifest = load_folder(folder).manifest
    changed = msgspec.structs.replace(manifest.sampling, **sampling)
    write_folder(path, msgspec.structs.replace(manifest, sampling=changed))
    return CineGenerator.load(path, options=EngineOptions(threads=1))


# ------------------------------------------------------------------------------------------------------ the networks


def test_the_papers_shapes_are_the_publications():
    with torch.device("meta"):
        vae, mar = CineVae(PAPER), CineMar(PAPER)
        mean, log_variance = vae.encode(torch.empty(1, 1, 50, 96, 96))
        cine = vae.decode(mean)
        tokens = split_latents(mean, PAPER)
        told = mar.transformer(
            tokens[:, :50], torch.zeros(1, 180, dtype=torch.int64), torch.empty(1, 256), torch.ones(1)
        )
        velocity = mar.denoiser(tokens[0], torch.ones(180), torch.empty(180, 768))
    assert mean.shape == log_variance.shape == (1, 16, 25, 12, 12)
    assert cine.shape == (1, 1, 50, 96, 96)
    assert tokens.shape == (1, 180, 320)
    assert told.shape == (1, 130, 768)
    assert velocity.shape == (180, 320)
    assert (PAPER.n_tokens, PAPER.token_size) == (180, 320)
    assert len(mar.transformer.encoder) == len(mar.transformer.decoder) == 12
    assert mar.transformer.encoder_positions.shape == (64 + 180, 768)
    assert len(mar.denoiser.blocks) == 3
    assert mar.denoiser.entry.out_features == 1024
    assert (PAPER.steps, PAPER.diffusion_steps, PAPER.guidance) == (16, 100, 3.0)
    widths = [layer.out_channels for layer in vae.encoder.layers if isinstance(layer, torch.nn.Conv3d)]
    assert widths == [128, 256, 512, 512]


def test_a_dropped_embedding_says_nothing_and_the_other_rows_do_not_notice(networks):
    transformer = networks[1].transformer
    order = torch.arange(SMALL.n_tokens).repeat(2, 1)
    known = torch.zeros(2, 0, SMALL.token_size)
    first, second = torch.from_numpy(draw_embeddings(2))
    guided, dropped = torch.ones(2), torch.tensor([1.0, 0.0])
    with torch.inference_mode():
        told = transformer(known, order, torch.stack([first, first]), dropped)
        other = transformer(known, order, torch.stack([first, second]), dropped)
        both = transformer(known, order, torch.stack([first, second]), guided)
    torch.testing.assert_close(told, other)
    assert (both[1] - told[1]).abs().max() > 1e-3
    torch.testing.assert_close(both[0], told[0])


def test_the_order_in_which_tokens_became_known_does_not_matter(networks):
    transformer = networks[1].transformer
    order = torch.randperm(SMALL.n_tokens, generator=torch.Generator().manual_seed(1))[None]
    known = torch.randn(1, 3, SMALL.token_size, generator=torch.Generator().manual_seed(2))
    swapped = torch.cat([order[:, [2, 0, 1]], order[:, 3:]], dim=1)
    embedding = torch.from_numpy(draw_embeddings(1))
    with torch.inference_mode():
        told = transformer(known, order, embedding, torch.ones(1))
        again = transformer(known[:, [2, 0, 1]], swapped, embedding, torch.ones(1))
        other = transformer(known[:, [2, 0, 1]], order, embedding, torch.ones(1))
    torch.testing.assert_close(told, again, atol=1e-5, rtol=1e-4)
    assert (told - other).abs().max() > 1e-4


def test_a_fresh_denoiser_says_nothing_so_its_loss_is_the_variance_of_the_velocity():
    torch.manual_seed(0)
    with torch.inference_mode():
        loss = diffusion_loss(TokenDenoiser(8, 4, 16, 1), torch.randn(4096, 8), torch.randn(4096, 4))
    assert float(loss) == pytest.approx(1, abs=0.05)


def test_tokens_joined_are_the_latent_they_were_split_from():
    latents = small_manifest(means=(1.0, -2.0), deviations=(0.5, 3.0)).latents
    latent = torch.randn(1, *latents.shape)
    tokens = split_latents(latent, SMALL)[0].numpy()
    expected = latent[0].numpy() * np.array([0.5, 3])[:, None, None, None] + np.array([1, -2])[:, None, None, None]
    np.testing.assert_allclose(join_tokens(tokens, latents), expected, rtol=1e-5)


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(InvalidSettings, match="paper, reference"):
        find_cine_preset("huge")


# --------------------------------------------------------------------------------------------------------- the graphs


def test_the_graphs_say_what_torch_says(generator, networks):
    vae, mar, expected = networks
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(2, *SMALL.latent)).astype(np.float32)
    cines = rng.uniform(-1, 1, (2, 1, *SMALL.cine)).astype(np.float32)
    noisy = rng.normal(size=(5, SMALL.token_size)).astype(np.float32)
    known = rng.normal(size=(5, SMALL.mar.blocks.width)).astype(np.float32)
    times = rng.random(5, np.float32)
    pairs = [
        ("decoder.onnx", vae.decoder, (latents,)),
        ("encoder.onnx", LatentMeans(vae), (cines,)),
        ("denoiser.onnx", mar.denoiser, (noisy, times, known)),
        ("expected.onnx", expected, (draw_embeddings(2),)),
    ]
    for count in (0, 1, 3):
        tokens = rng.normal(size=(2, count, SMALL.token_size)).astype(np.float32)
        order = np.stack([rng.permutation(SMALL.n_tokens) for _ in range(2)])
        guided = np.array([1, 0], np.float32)
        pairs.append(("transformer.onnx", mar.transformer, (tokens, order, draw_embeddings(2), guided)))
    for name, network, inputs in pairs:
        with torch.inference_mode():
            expected = network(*(torch.from_numpy(value) for value in inputs)).numpy()
        assert expected.std() > 1e-3
        np.testing.assert_allclose(generator._run(name, *inputs), expected, atol=1e-4)


def test_a_cine_is_of_the_generators_geometry(generator, embeddings):
    cines = generator.draw(embeddings, [1, 2, 3])
    assert cines.shape == (3, *SMALL.cine)
    assert cines.dtype == np.uint8
    assert generator.geometry == CineGeometry(*SMALL.cine, pixel_mm=2.35 * SMALL.reduction[1])
    assert not generator.reference.trained
    assert generator.draw(embeddings[:0], []).shape == (0, *SMALL.cine)


def test_embedding_and_seed_decide_a_cine_and_its_neighbours_do_not(folder, generator, embeddings):
    together = generator.draw(embeddings, [5, 6, 5])
    alone = generator.draw(embeddings[1:2], [6])
    again = CineGenerator.load(folder, options=EngineOptions(threads=2)).draw(embeddings[::-1], [5, 6, 5])

    np.testing.assert_array_equal(together[1], alone[0])
    np.testing.assert_array_equal(together, again[::-1])
    assert (together[0] != together[2]).any()
    assert (generator.draw(embeddings[:1], [6]) != together[:1]).any()


def test_without_guidance_it_is_the_conditional_model_asked_once(folder, tmp_path, embeddings):
    plain = resampled(folder, tmp_path / "plain", guidance=1.0)
    nearly = resampled(folder, tmp_path / "nearly", guidance=1.0 + 1e-9)  # asks twice
    far = resampled(folder, tmp_path / "far", guidance=5.0)
    latents = [one.draw_latent(embeddings[0], 3) for one in (plain, nearly, far)]
    np.testing.assert_allclose(latents[0], latents[1], atol=1e-4)
    assert np.abs(latents[2] - latents[0]).max() > 1e-2


def test_guidance_of_nothing_forgets_the_embedding(folder, tmp_path, embeddings):
    forgetful = resampled(folder, tmp_path, guidance=0.0)
    first, second = forgetful.draw(embeddings[:2], [4, 4])
    np.testing.assert_array_equal(first, second)


def test_at_no_temperature_the_answer_is_the_expected_cine_whatever_the_seed(folder, tmp_path, embeddings, networks):
    cold = resampled(folder, tmp_path / "cold", temperature=0.0)
    first, second, other = cold.draw(embeddings[[0, 0, 1]], [1, 2, 1])
    with torch.inference_mode():
        expected = networks[2](torch.from_numpy(embeddings[:1]))[0, 0].numpy()
    np.testing.assert_array_equal(first, second)
    assert np.abs(first.astype(int) - as_pixels(expected)).max() <= 1  # a grey level, where rounding differs
    assert np.abs(first.astype(int) - other).max() > 10


def test_a_pattern_is_kept_to_a_hundredth_of_its_largest_pixel():
    expected = ExpectedCine(SMALL.cine)
    pixels = expected.mean_cine.numel()
    torch.manual_seed(0)
    patterns, mean = torch.randn(3, pixels), torch.randn(pixels)  # fewer than there is room for
    expected.fit(torch.full((256,), 0.1), torch.eye(256)[:, :3], mean, patterns)
    embedding = torch.full((1, 256), 0.1)
    embedding[0, 1] += 2
    np.testing.assert_allclose(expected(embedding).flatten(), mean + 2 * patterns[1], atol=0.01 * 2 * 4)
    assert len(expected.patterns) == PATTERNS


def test_the_autoencoder_answers_for_cines(generator):
    cines = np.random.default_rng(0).integers(0, 256, (9, *SMALL.cine), np.uint8)
    assert generator.reconstruct(cines).shape == cines.shape
    np.testing.assert_array_equal(generator.reconstruct(cines)[8:], generator.reconstruct(cines[8:]))


def test_a_closed_generator_draws_nothing(folder, embeddings):
    generator = CineGenerator.load(folder, options=EngineOptions(threads=1))
    generator.close()
    generator.close()
    with pytest.raises(EngineFailed, match="closed"):
        generator.draw(embeddings[:1], [1])


@pytest.mark.parametrize(
    ("shape", "seeds", "spoil"),
    [((2, 256), [1], 0), ((1, 255), [1], 0), ((1, 256), [-1], 0), ((1, 256), [1], math.nan)],
)
def test_a_request_that_makes_no_sense_is_refused(generator, shape, seeds, spoil):
    with pytest.raises(InvalidSettings):
        generator.draw(np.full(shape, 0.1 + spoil, np.float32), seeds)


@needs_engine("onnxruntime-cuda")
def test_cuda_draws_the_same_hearts(folder, generator, embeddings):
    on_gpu = CineGenerator.load(folder, engine="onnxruntime-cuda", options=EngineOptions())
    found, expected = (one.draw(embeddings, [5, 6, 7]).astype(int) for one in (on_gpu, generator))
    assert np.abs(found - expected).max() <= 2  # grey levels of 255: steps of sampling add up


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ("openvino", "openvino runs only networks of one input; graphs of several are run by onnxruntime, onnx"),
        ("tensorrt-rtx", "runs only networks of one input|needs an NVIDIA GPU|needs tensorrt_rtx"),
        ("onnxruntime-cuda-tf32", "runs only networks of one input|needs an NVIDIA GPU"),
        ("tensorflow", "no engine is called 'tensorflow'; the engines are "),
    ],
)
def test_an_engine_that_cannot_draw_is_refused_with_what_it_lacks(folder, engine, why):
    with pytest.raises(EngineUnavailable, match=rf"{re.escape(str(folder))}/\w+\.onnx: .*({why})"):
        CineGenerator.load(folder, engine=engine)


@pytest.mark.skipif(bool(find_gpus()), reason="needs a machine without a GPU")
def test_the_engine_that_draws_is_the_one_that_is_set():
    settings = load_settings({"CARDIACNETS_CINE_ENGINE": "onnxruntime-cuda", "CARDIACNETS_ENGINE": "openvino"})
    with pytest.raises(EngineUnavailable, match="onnxruntime-cuda needs an NVIDIA GPU"):
        open_generator(settings)
    open_generator(Settings()).close()


def test_the_shipped_generator_draws_in_its_geometry(embeddings):
    generator = CineGenerator.load(options=EngineOptions(threads=1))
    assert generator.geometry.shape == REFERENCE.cine
    assert generator.draw(embeddings[:1], [1]).shape == (1, *REFERENCE.cine)
    size = sum(path.stat().st_size for path in default_generator().iterdir())
    assert size < 20 * 2**20


def test_the_shipped_generator_reads_the_shipped_models_embeddings_and_no_others():
    named = load_folder(default_generator()).manifest.ecg_model
    model = load_bundle(default_bundle()).reference
    check_embedding(named, model)
    with pytest.raises(ForeignEmbedding, match=re.escape(model.version)):
        check_embedding(named, msgspec.structs.replace(model, version="0.0.0"))
    check_embedding(None, model)


# ---------------------------------------------------------------------------------------------------- sampling's plans


@pytest.mark.parametrize(("n_tokens", "steps"), [(180, 16), (36, 12), (4, 9), (1, 1), (5, 1)])
def test_each_step_draws_something_and_all_is_drawn(n_tokens, steps):
    counts = plan_steps(n_tokens, steps)
    assert sum(counts) == n_tokens
    assert min(counts) >= 1
    assert len(counts) == min(steps, n_tokens)


def test_early_steps_draw_fewer_than_late_ones():
    counts = plan_steps(180, 16)
    assert counts[0] < counts[8] < counts[-1]


def test_denoising_turns_noise_into_what_a_perfect_denoiser_knows():
    """Of a normal distribution the best denoiser is known; what is drawn has its mean and deviation."""
    mean, deviation = 2.0, 0.5
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20_000)
    for step in plan_diffusion(60):
        signal, noise = step.signal, step.noise
        variance = signal**2 * deviation**2 + noise**2
        expected = mean + signal * deviation**2 / variance * (x - signal * mean)
        velocity = (signal * x - expected) / noise
        clean = signal * x - noise * velocity
        x = step.keep * x + step.clean * clean + step.spread * rng.standard_normal(len(x))
    assert x.mean() == pytest.approx(mean, abs=0.02)
    assert x.std() == pytest.approx(deviation, abs=0.03)


def test_frames_and_pixels_are_means_of_their_neighbours():
    cines = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 9), np.uint8)
    reduced = reduce_cines(cines, (2, 2, 3))
    assert reduced.shape == (2, 2, 3, 3)
    assert reduced[1, 1, 2, 0] == round(float(cines[1, 2:4, 4:6, 0:3].mean()))
    assert reduce_cines(cines, (1, 1, 1)) is cines


def test_grey_levels_are_clamped_and_rounded():
    assert as_pixels(np.array([-7, -1, 0, 1, 3], np.float32)).tolist() == [0, 0, 128, 255, 255]


# ---------------------------------------------------------------------------------------------------------- the folder


def edited(folder, path, change):
    """A copy whose manifest was changed, its version made to fit."""
    shutil.copytree(folder, path)
    raw = json.loads((path / MANIFEST).read_text())
    change(raw)
    (path / MANIFEST).write_text(json.dumps(raw))
    return path


def test_an_altered_file_is_refused_by_name(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    altered = bytearray((copy / "decoder.onnx").read_bytes())
    altered[-1] ^= 1
    (copy / "decoder.onnx").write_bytes(altered)
    with pytest.raises(CorruptBundle, match=r"decoder\.onnx is not the file"):
        CineGenerator.load(copy)


@pytest.mark.parametrize("name", [MANIFEST, *GRAPHS])
def test_a_missing_file_is_refused(folder, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).unlink()
    with pytest.raises(DeploymentError, match="cannot be read"):
        CineGenerator.load(copy)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_answers_otherwise_than_when_it_was_packaged_is_refused_at_the_start(folder, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    probe = load_file(copy / PROBE)
    probe[f"{name}/answer"] = probe[f"{name}/answer"] + np.float32(0.5)
    save_file(probe, copy / PROBE)
    write_folder(copy, load_folder(folder).manifest)

    with pytest.raises(EngineMismatch):
        CineGenerator.load(copy, options=EngineOptions(threads=1))


@pytest.mark.parametrize(
    "damage", [lambda p: p.clear(), lambda p: p.pop("decoder.onnx/answer"), lambda p: p.pop("transformer.onnx/0")]
)
def test_a_probe_that_could_not_check_a_generator_is_refused(folder, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    probe = load_file(copy / PROBE)
    damage(probe)
    save_file(probe, copy / PROBE)
    write_folder(copy, load_folder(folder).manifest)

    with pytest.raises(CorruptBundle, match="no finite answers"):
        CineGenerator.load(copy, options=EngineOptions(threads=1))


def test_a_generator_that_was_packaged_without_a_probe_still_loads(folder, tmp_path):
    copy = edited(folder, tmp_path / "copy", lambda raw: raw["files"].pop(PROBE))
    (copy / PROBE).unlink()

    CineGenerator.load(copy, options=EngineOptions(threads=1)).close()


def test_the_probe_does_not_change_the_version(folder):
    assert PROBE in load_folder(folder).manifest.files
    assert PROBE in load_folder(folder).manifest.evidence


def test_a_graph_that_is_exchanged_after_the_check_is_never_opened(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    verified = load_folder(copy)
    shutil.copy(copy / DECODER, copy / EXPECTED)

    with pytest.raises(CorruptBundle, match=r"expected\.onnx is not the file"):
        CineGenerator(verified, "onnxruntime", EngineOptions(threads=1))


def test_a_stranger_in_the_folder_is_refused(folder, tmp_path):
    copy = edited(folder, tmp_path / "copy", lambda raw: None)
    (copy / "extra.pt").write_bytes(b"")
    with pytest.raises(CorruptBundle, match=r"extra\.pt does not belong"):
        CineGenerator.load(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda raw: raw.update(trained=True), "changed but not its version"),
        (lambda raw: raw["sampling"].update(guidance=9.0), "changed but not its version"),
        (lambda raw: raw.update(surprise=1), "has the field surprise, which this program does not know"),
        (lambda raw: raw["latents"].update(means=[0.0]), "as many means"),
        (lambda raw: raw["latents"].update(patch=[2, 2, 3]), "whole patches"),
        (lambda raw: raw.update(embedding_size=8), "must have 256"),
        (lambda raw: raw["files"].pop("decoder.onnx"), "does not list decoder"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(folder, tmp_path, change, sentence):
    with pytest.raises(CorruptBundle, match=sentence):
        CineGenerator.load(edited(folder, tmp_path / "copy", change))


def test_graphs_of_other_shapes_than_the_manifests_are_refused(folder, tmp_path):
    def claim(raw):
        raw["cine"]["rows"] = 4096

    copy = edited(folder, tmp_path / "copy", claim)
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes(), type=type(load_folder(folder).manifest))
    write_folder(copy, manifest)
    with pytest.raises(CorruptBundle, match="by its manifest should have"):
        CineGenerator.load(copy)


def test_the_version_changes_with_whatever_changes_a_cine(folder):
    manifest = load_folder(folder).manifest
    warmer = msgspec.structs.replace(manifest, sampling=msgspec.structs.replace(manifest.sampling, temperature=0.9))
    text = (folder / MANIFEST).read_bytes()
    assert manifest.version.endswith(fingerprint(text, manifest.evidence))
    assert fingerprint(msgspec.json.encode(warmer), warmer.evidence) != fingerprint(text, manifest.evidence)


def test_the_reference_manifest_names_what_was_reduced():
    manifest = describe_untrained(REFERENCE, (0.0,) * 4, (1.0,) * 4)
    assert manifest.cine.reduction == (2, 1, 1)
    assert not manifest.trained
    assert "random" in manifest.notes
