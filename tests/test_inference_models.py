"""The network against the published shapes, to the last parameter, and against what its architecture promises."""

import pytest
import torch

from inference.models.encoder import EcgEncoder
from inference.models.network import EcgNetwork
from inference.models.presets import PAPER, PRESETS, REFERENCE, find_preset
from inference.models.untrained import draw_network
from schemas.errors import InvalidSettings

WIDTH, MLP = 768, 3072


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def linear(inputs, outputs):
    return inputs * outputs + outputs


def norm(width):
    return 2 * width


@pytest.fixture(scope="module")
def paper():
    return EcgNetwork(PAPER)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return EcgNetwork(REFERENCE).eval()


@pytest.fixture(scope="module")
def crops():
    return torch.randn(3, 12, 2250, generator=torch.Generator().manual_seed(5))


def test_the_paper_preset_has_the_published_parameters_in_every_part(paper):
    encoder = paper.encoder
    block = norm(WIDTH) + linear(WIDTH, 3 * WIDTH) + linear(WIDTH, WIDTH) + norm(WIDTH)
    block += linear(WIDTH, MLP) + linear(MLP, WIDTH)

    assert count(encoder.patch_embedding) == norm(75) + linear(75, WIDTH) + norm(WIDTH)
    assert encoder.positions.shape == (1, 32, WIDTH)
    assert encoder.separator.shape == (WIDTH,)
    assert count(encoder.lead_embeddings) == 12 * WIDTH
    assert [count(part) for part in encoder.blocks] == 12 * [block]
    assert count(encoder.norm) == norm(WIDTH)
    assert count(encoder) == 85_150_614  # the published 85.2 million


def test_the_heads_have_the_published_shapes(paper):
    assert count(paper.disease) == linear(WIDTH, 5)
    assert count(paper.phenotypes) == linear(WIDTH, 256) + linear(256, 128) + linear(128, 82)
    assert count(paper.subtype) == linear(WIDTH, 3)
    assert count(paper.alignment) == linear(WIDTH, 256)


def test_the_parameters_map_one_to_one_onto_the_released_checkpoint(paper):
    released = {"pos_embedding": (1, 32, 768), "sep_embedding": (768,)}
    released |= {f"lead_embeddings.{i}": (768,) for i in range(12)}
    released |= {f"to_patch_embedding.{i}.{kind}": None for i in (1, 2, 3) for kind in ("weight", "bias")}
    for i in range(12):
        for part in ("attn.norm", "attn.fn.to_qkv", "attn.fn.to_out.0", "ff.norm", "ff.fn.net.0", "ff.fn.net.3"):
            released |= {f"block{i}.{part}.{kind}": None for kind in ("weight", "bias")}
    released |= {"norm.weight": (768,), "norm.bias": (768,)}

    assert {released_name(name) for name in paper.encoder.state_dict()} == set(released)
    assert len(paper.encoder.state_dict()) == len(released)


def released_name(name):
    """The mapping that an import of the released weights will use."""
    for ours, theirs in {
        "positions": "pos_embedding",
        "separator": "sep_embedding",
        "patch_embedding": "to_patch_embedding",
        "blocks.": "block",
        "attention_norm": "attn.norm",
        "attention.qkv": "attn.fn.to_qkv",
        "attention.output": "attn.fn.to_out.0",
        "mlp_norm": "ff.norm",
        "mlp.0": "ff.fn.net.0",
        "mlp.2": "ff.fn.net.3",
    }.items():
        name = name.replace(ours, theirs)
    return name


def test_the_reference_preset_is_the_same_architecture_in_small(network):
    assert [name.split(".")[0] for name, _ in network.encoder.named_children()] == [
        name for name, _ in EcgEncoder(REFERENCE).named_children()
    ]
    assert 250_000 < count(network) < 350_000
    assert REFERENCE.width % REFERENCE.heads == PAPER.width % PAPER.heads == 0


def test_the_answers_have_their_shapes_and_the_embedding_has_length_one(network, crops):
    with torch.no_grad():
        answers = network(crops)

    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "disease_logits": (3, 5),
        "phenotypes": (3, 82),
        "subtype_logits": (3, 3),
        "embedding": (3, 256),
    }
    torch.testing.assert_close(answers["embedding"].norm(dim=1), torch.ones(3))


def test_rows_do_not_see_each_other(network, crops):
    with torch.no_grad():
        together, alone = network(crops), network(crops[1:2])

    for name, answer in alone.items():
        torch.testing.assert_close(answer[0], together[name][1], atol=1e-5, rtol=1e-5)


def test_the_network_tells_leads_and_times_apart(network, crops):
    with torch.no_grad():
        plain = network.encoder(crops)
        leads_swapped = network.encoder(crops[:, [1, 0, *range(2, 12)]])
        patches_swapped = network.encoder(torch.roll(crops, shifts=75, dims=2))

    assert (plain - leads_swapped).abs().max() > 1e-3
    assert (plain - patches_swapped).abs().max() > 1e-3


def test_every_token_attends_across_leads(network, crops):
    changed = crops[:1].clone()
    changed[0, 11] += torch.randn(2250, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        before, after = (network.encoder.embed(x).flatten(1, 2) for x in (crops[:1], changed))
        first = network.encoder.blocks[0]
        difference = (first(before) - first(after)).abs().amax(dim=-1)[0]

    assert torch.equal(before[0, : 11 * 32], after[0, : 11 * 32])
    assert (difference[: 11 * 32] > 1e-6).all()


def test_the_pooled_vector_is_the_mean_of_the_patches_without_separators(network):
    tokens = torch.zeros(1, 384, REFERENCE.width)
    slots = tokens.view(1, 12, 32, REFERENCE.width)
    slots[:, :, 1:31] = torch.arange(REFERENCE.width, dtype=torch.float32)
    slots[:, :, [0, 31]] = 1e6 * torch.randn(1, 12, 2, REFERENCE.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled = network.encoder.pool(tokens)
        expected = network.encoder.norm(torch.arange(REFERENCE.width, dtype=torch.float32))[None]

    torch.testing.assert_close(pooled, expected)


def test_every_parameter_takes_part_in_the_answers(crops):
    network = EcgNetwork(REFERENCE)
    draw = torch.Generator().manual_seed(2)
    # a random direction: the length of a unit vector and the sum of a normalised one have no gradient
    sum((answer * torch.randn(answer.shape, generator=draw)).sum() for answer in network(crops).values()).backward()

    assert [name for name, parameter in network.named_parameters() if not parameter.grad.abs().max() > 0] == []


def test_an_untrained_network_tells_records_apart_and_the_seed_decides_its_weights(crops):
    first, again, other = (draw_network(REFERENCE, seed, crops) for seed in (1, 1, 2))

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.encoder.positions, other.encoder.positions)
    with torch.no_grad():
        logits = first(crops)["disease_logits"]
    assert 0.2 < logits.std() < 0.8
    torch.testing.assert_close(logits.mean(dim=0), torch.full((5,), -0.6), atol=1e-4, rtol=0)


def test_drawing_weights_leaves_torchs_own_randomness_alone(crops):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    draw_network(REFERENCE, 1, crops)

    assert torch.equal(torch.rand(1), expected)


def test_the_weights_that_were_drawn_can_be_trained(crops):
    network = draw_network(REFERENCE, 1, crops)
    network(crops)["disease_logits"].sum().backward()

    assert network.encoder.positions.grad.abs().max() > 0


def test_a_preset_is_found_by_name_and_an_unknown_one_names_the_known():
    assert all(find_preset(name).name == name for name in PRESETS)
    with pytest.raises(InvalidSettings, match="paper, reference"):
        find_preset("huge")
