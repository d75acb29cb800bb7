"""The networks of learning: nothing hidden is seen, and the contrastive loss is the published one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from inference.models.encoder import EcgEncoder
from inference.models.presets import Preset
from training.networks.alignment import CmrProjection, contrast, weigh_negatives
from training.networks.cmr_encoder import (
    CMR_PRESETS,
    N_PATCHES,
    PATCH_VALUES,
    CmrEncoder,
    CmrTower,
    scale_cines,
    split_cine,
)
from training.networks.kept_patches import N_ALL, draw_order, encode_kept, encode_pooled, split_patches, take
from training.networks.masked_cmr import MaskedCmr
from training.networks.masked_ecg import MaskedEcg, Reconstruction, normalise_patches
from training.networks.patch_components import fit_components, read_components
from training.networks.principal_axes import PrincipalAxes

TINY = Preset("tiny", width=16, depth=2, heads=2, mlp_width=32)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def naive_contrast(ecg, cmr, weights, temperature):
    """The paper's formula, written down term by term."""
    n, total = len(ecg), 0.0
    for first, second in ((ecg, cmr), (cmr, ecg)):
        for i in range(n):
            similarity = [math.exp(float(first[i] @ second[k]) / temperature) for k in range(n)]
            others = sum(float(weights[i, k]) * similarity[k] for k in range(n) if k != i)
            total -= math.log(similarity[i] / (similarity[i] + others))
    return total / (2 * n)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10_000))
def test_the_contrastive_loss_is_the_published_formula(rows, seed):
    draw = torch.Generator().manual_seed(seed)
    ecg, cmr = (normalize(torch.randn(rows, 8, generator=draw, dtype=torch.float64), dim=1) for _ in range(2))
    weights = weigh_negatives(torch.randn(rows, 3, generator=draw, dtype=torch.float64) / 4)

    found = contrast(ecg, cmr, weights.clone(), temperature=0.05)

    assert float(found) == pytest.approx(naive_contrast(ecg, cmr, weights, 0.05), rel=1e-9)


def test_a_twin_is_no_negative_and_a_stranger_is_a_whole_one():
    components = torch.tensor([[0.0, 0.0], [0.0, 0.0], [30.0, 0.0]])
    weights = weigh_negatives(components)

    assert weights[0, 1] == 0
    assert weights[0, 2] == 1
    assert float(weigh_negatives(torch.tensor([[0.0], [0.5]]))[0, 1]) == pytest.approx(1 - math.exp(-1))


def test_rows_that_share_a_scan_give_a_finite_loss_and_gradient():
    ecg = normalize(torch.randn(4, 8), dim=1).requires_grad_()
    cmr = normalize(torch.randn(2, 8), dim=1).repeat_interleave(2, dim=0)
    loss = contrast(ecg, cmr, weigh_negatives(torch.tensor([[0.0], [0.0], [1.0], [1.0]])))
    loss.backward()

    assert loss.isfinite()
    assert ecg.grad.isfinite().all()


def test_all_patches_kept_in_any_order_are_the_plain_encoder():
    encoder, crops = EcgEncoder(TINY).eval(), torch.randn(2, 12, 2250)
    with torch.no_grad():
        _, tokens = encode_kept(encoder, split_patches(crops), draw_order(2, N_ALL, crops.device))
        torch.testing.assert_close(encoder.norm(tokens.mean(dim=1)), encoder(crops), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encode_pooled(encoder, crops, 1.0), encoder(crops))


def test_a_share_of_the_patches_gives_nearly_the_same_vector_and_trains_every_parameter():
    encoder, crops = EcgEncoder(TINY), torch.randn(2, 12, 2250)
    pooled = encode_pooled(encoder, crops, 0.5)
    (pooled * torch.randn(pooled.shape)).sum().backward()

    assert float(torch.cosine_similarity(pooled, encoder(crops)).detach().min()) > 0.9
    assert [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().max() > 0] == []


def test_what_is_masked_of_an_ecg_never_reaches_the_encoder():
    network, crops = MaskedEcg(TINY), torch.randn(2, 12, 2250)
    order = draw_order(2, N_ALL, crops.device)
    kept, hidden = order[:, : network.n_kept], order[:, network.n_kept :]
    patches = split_patches(crops)
    changed = patches.scatter(1, hidden[..., None].expand(-1, -1, 75), 1e3)
    with torch.no_grad():
        before, after = encode_kept(network.encoder, patches, kept), encode_kept(network.encoder, changed, kept)

    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(take(patches, hidden), take(changed, hidden))


def test_a_visible_patch_does_reach_the_encoder():
    network, crops = MaskedEcg(TINY), torch.randn(1, 12, 2250)
    kept = draw_order(1, N_ALL, crops.device)[:, : network.n_kept]
    changed = split_patches(crops).clone()
    changed[0, kept[0, 0]] += torch.randn(75)
    with torch.no_grad():
        before, after = (encode_kept(network.encoder, p, kept)[1] for p in (split_patches(crops), changed))

    assert not torch.equal(before, after)


def test_what_is_drawn_depends_on_the_visible_patches_alone_and_is_compared_in_its_place():
    network, crops = MaskedEcg(TINY).eval(), torch.randn(1, 12, 2250)

    def reconstruct(values):
        torch.manual_seed(8)
        with torch.no_grad():
            return network(values)

    torch.manual_seed(8)
    hidden = draw_order(1, N_ALL, crops.device)[:, network.n_kept :]
    changed = split_patches(crops).clone()
    changed[0, hidden[0]] = torch.randn(len(hidden[0]), 75)
    first, second = reconstruct(crops), reconstruct(changed.reshape(1, 12, 2250))

    assert torch.equal(first.drawn, second.drawn)
    torch.testing.assert_close(second.target, normalise_patches(changed[0, hidden[0]])[None])
    assert first.drawn.shape == (1, 270, 75)


def test_three_quarters_are_masked_and_every_parameter_that_learns_has_a_gradient():
    network = MaskedEcg(TINY)
    network(torch.randn(2, 12, 2250)).loss.backward()

    assert network.n_kept == 90
    learning = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert [name for name, parameter in learning if not parameter.grad.abs().max() > 0] == []


def test_a_reconstruction_of_nothing_costs_one_and_a_perfect_one_nothing():
    target = normalise_patches(torch.randn(4, 7, 75), floor=0)

    assert float(Reconstruction(torch.zeros_like(target), target).loss) == pytest.approx(1, abs=1e-3)
    assert float(Reconstruction(target, target).loss) == 0


def test_the_noise_between_two_beats_is_a_small_part_of_the_loss():
    noise, beat = normalise_patches(torch.randn(75) * 0.05), normalise_patches(torch.randn(75))

    assert noise.square().mean() < 0.15
    assert beat.square().mean() > 0.9


def test_a_cine_is_cut_into_patches_of_all_frames():
    cines = torch.arange(50 * 96 * 96).reshape(1, 50, 96, 96)
    patches = split_cine(cines)

    assert patches.shape == (1, N_PATCHES, PATCH_VALUES)
    expected = cines[0, :, 16:32, 32:48]  # second row, third column
    assert torch.equal(patches[0, 6 + 2].reshape(50, 16, 16), expected)


def test_pixels_are_scaled_to_minus_one_to_one():
    assert scale_cines(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_what_is_masked_of_a_cine_never_reaches_the_encoder():
    network = MaskedCmr(TINY, n_components=5)

    def drawn(patches):
        torch.manual_seed(5)
        with torch.no_grad():
            return network(patches)

    patches = torch.randn(1, N_PATCHES, 5)
    torch.manual_seed(5)
    hidden = draw_order(1, N_PATCHES, patches.device)[0, network.n_kept :]
    changed = patches.clone()
    changed[:, hidden] = 9
    first, second = drawn(patches), drawn(changed)

    assert torch.equal(first.drawn, second.drawn)
    assert not torch.equal(first.target, second.target)
    assert len(hidden) == 27


def low_rank_cines(n_cines, rank=3):
    """Cines whose every patch is a mixture of the same few, and which patches they are."""
    rng = np.random.default_rng(4)
    basis, shares = rng.normal(size=(rank, 50, 16, 16)), rng.normal(size=(n_cines, 6, 6, rank))
    cines = np.einsum("nyxr,rtij->ntyixj", shares, basis).reshape(n_cines, 50, 96, 96)
    return np.clip(128 + 12 * cines, 0, 255).astype(np.uint8)


def test_components_hold_what_patches_show_and_lengths_are_kept():
    cines = low_rank_cines(6)
    fitted = fit_components(cines, np.arange(4), count=3, seed=0)
    patches = split_cine(scale_cines(torch.from_numpy(cines)))
    components = torch.from_numpy(read_components(fitted, cines, np.array([0, 5])))

    assert components[1:5].isnan().all()
    drawn = components[5] * fitted.unit @ fitted.principal.axes.T + fitted.principal.mean
    assert (drawn - patches[5]).square().mean() < 0.01 * (patches[5] - fitted.principal.mean).square().mean()
    torch.testing.assert_close(fitted.principal.axes.T @ fitted.principal.axes, torch.eye(3), atol=1e-5, rtol=0)
    within = (patches[5] - fitted.principal.mean).square().sum() / fitted.unit.square()
    torch.testing.assert_close(components[5].square().sum(), within, rtol=0.01, atol=0)  # Parseval


def test_fewer_patches_than_components_give_one_less_than_there_are():
    fitted = fit_components(low_rank_cines(1), np.arange(1), count=192, seed=0)
    assert fitted.principal.axes.shape == (PATCH_VALUES, N_PATCHES - 1)


def test_an_encoder_that_learned_from_components_answers_the_same_to_pixels():
    cines = low_rank_cines(3)
    fitted = fit_components(cines, np.arange(3), count=4, seed=0)
    encoder = CmrEncoder(TINY, patch_values=4).eval()
    with torch.no_grad():
        expected = encoder.encode_all(torch.from_numpy(read_components(fitted, cines, np.arange(3))))
        encoder.patch_embedding = fitted.embed_pixels(encoder.patch_embedding)
        answers = encoder(scale_cines(torch.from_numpy(cines)))
    torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-3)


def test_the_cmr_encoder_of_the_paper_has_the_size_of_vit_b_16():
    encoder = CmrEncoder(CMR_PRESETS["paper"])
    blocks = sum(parameter.numel() for parameter in encoder.blocks.parameters())

    assert blocks == 85_054_464  # timm's vit_base_patch16: 12 blocks
    assert encoder.positions.shape == (1, 37, 768)


def test_the_features_are_where_all_tokens_lie_along_the_axes():
    encoder, cines = CmrEncoder(TINY).eval(), torch.rand(2, 50, 96, 96)
    readout = PrincipalAxes(37 * 16, 2)
    readout.mean[3], readout.axes[3, 0], readout.axes[-1, 1] = 0.5, 2, 1  # of the first token, of the last
    with torch.no_grad():
        tokens, features = encoder(cines), CmrTower(encoder, readout)(cines)

    assert tokens.shape == (2, 37, 16)
    torch.testing.assert_close(features, torch.stack([2 * (tokens[:, 0, 3] - 0.5), tokens[:, 36, 15]], dim=1))


def test_the_projection_standardises_by_what_it_was_fitted_on():
    projection, features = CmrProjection(4), torch.randn(50, 4) * torch.tensor([1.0, 5, 0.1, 1]) + 7
    features[:, 3] = 2  # a feature that never varies
    projection.fit_scale(features)
    with torch.no_grad():
        embedded = projection(features)

    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(50))
    np.testing.assert_allclose(projection.mean.numpy(), features.mean(dim=0).numpy(), rtol=1e-5)
