"""The ECG encoder on a part of the patches. Dropped patches are not computed.

Masked modelling hides three quarters of the patches (He et al., "Masked autoencoders are scalable vision learners",
CVPR 2022); dropping a half while aligning and fine-tuning halves their cost and regularises (Li et al., "Scaling
language-image pre-training via masking", CVPR 2023; Liu et al., "PatchDropout", WACV 2023).
"""

from __future__ import annotations

import torch  # noqa: TID253 - a network is torch
from einops import rearrange, reduce, repeat
from torch import Tensor  # noqa: TID253

from inference.models.encoder import N_LEADS, N_PATCHES, N_SLOTS, PATCH_SAMPLES, EcgEncoder

N_ALL = N_LEADS * N_PATCHES
"""Patches of a crop: lead after lead, in the order of time."""
N_SEPARATORS = 2 * N_LEADS


def split_patches(crops: Tensor) -> Tensor:
    """Return (row, 360, 75) for (row, 12, 2250)."""
    return rearrange(crops, "row lead (patch sample) -> row (lead patch) sample", sample=PATCH_SAMPLES)


def draw_order(rows: int, places: int, device: torch.device) -> Tensor:
    """Return a random permutation of the places for each row, (row, place) int64: the first are kept."""
    return torch.rand(rows, places, device=device).argsort(dim=1)


def take(values: Tensor, places: Tensor) -> Tensor:
    """Return (row, k, …) of (row, place, …), at the places (row, k)."""
    return values.gather(1, repeat(places, "row k -> row k size", size=values.shape[2]))


def encode_kept(encoder: EcgEncoder, patches: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Encode the kept patches and all separators.

    Args:
        encoder: its last norm, which follows the pooling, is not applied.
        patches: (row, 360, 75).
        kept: (row, k), places in 0-359; the other patches are not read.

    Returns:
        the separators (row, 24, width) and the kept patches (row, k, width).
    """
    leads = rearrange(torch.stack(list(encoder.lead_embeddings)), "lead width -> lead 1 width")
    positions = encoder.positions + leads  # (12, 32, width)
    places = rearrange(positions[:, 1:-1], "lead patch width -> 1 (lead patch) width").expand(len(patches), -1, -1)
    separators = rearrange(positions[:, :: N_SLOTS - 1] + encoder.separator, "lead side width -> 1 (lead side) width")
    # a stride takes the first and the last slot; an index list would be copied from the host in each step
    # the first layer of the embedding cuts the patches, which are cut already
    embedded = encoder.patch_embedding[1:](take(patches, kept)) + take(places, kept)
    tokens = torch.cat([separators.expand(len(patches), -1, -1), embedded], dim=1)
    for block in encoder.blocks:
        tokens = block(tokens)
    return tokens[:, :N_SEPARATORS], tokens[:, N_SEPARATORS:]


def encode_pooled(encoder: EcgEncoder, crops: Tensor, keep: float) -> Tensor:
    """Return (row, width), pooled over a random share of the patches: all of them when `keep` is 1."""
    if keep >= 1:
        pooled: Tensor = encoder(crops)
        return pooled
    kept = draw_order(len(crops), N_ALL, crops.device)[:, : round(keep * N_ALL)]
    _, tokens = encode_kept(encoder, split_patches(crops), kept)
    mean: Tensor = encoder.norm(reduce(tokens, "row k width -> row width", "mean"))
    return mean
