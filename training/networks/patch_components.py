"""Principal components of the patches of cines: a sixtieth of the numbers, and nearly the whole picture.

A patch of 50 frames and 16 × 16 pixels has 12,800 values. The first 192 components of the patches of simulated hearts
hold 98 % of the variance; the rest is mostly the noise of the scanner. With components a step of masked modelling is
several times cheaper. As the axes are orthonormal, its loss equals the loss of the pixels without that rest (Parseval).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 - a network is torch
from numpy.typing import NDArray
from torch import Tensor, nn  # noqa: TID253

from .cmr_encoder import N_PATCHES, PATCH_VALUES, WHITE, scale_cines, split_cine
from .principal_axes import PrincipalAxes, find_axes

CINES_AT_ONCE = 50
PROCESSOR = torch.device("cpu")
READ_AT_ONCE = 4
"""On a processor, so that the pixels stay in the cache between two passes over them."""
FITTED_CINES = 700
"""On their patches the axes are fitted: 25,200 patches, 1.3 GB."""


@dataclass(frozen=True, slots=True)
class PatchComponents:
    """The principal axes of patches, and the root mean square over all components as their unit."""

    principal: PrincipalAxes
    unit: Tensor

    def read(self, cines: Tensor) -> Tensor:
        """Return (row, 36, k) for uint8 cines (row, 50, 96, 96)."""
        # `scale_cines` is folded into the axes: a pass over all pixels costs as much as the product with them.
        axes = self.principal.axes / self.unit
        offset = (1 + self.principal.mean) @ axes
        return split_cine(cines).float() @ (axes / WHITE) - offset

    def on(self, device: torch.device) -> PatchComponents:
        """Return the same on a device; these stay where they are."""
        return PatchComponents(copy.deepcopy(self.principal).to(device), self.unit.to(device))

    def embed_pixels(self, embedding: nn.Linear) -> nn.Linear:
        """Return the layer that does to pixels what `embedding` does to their components."""
        from_pixels = nn.Linear(PATCH_VALUES, embedding.out_features)
        with torch.no_grad():
            weight = embedding.weight @ self.principal.axes.T / self.unit
            from_pixels.weight.copy_(weight)
            from_pixels.bias.copy_(embedding.bias - weight @ self.principal.mean)
        return from_pixels


def fit_components(cines: NDArray[np.uint8], scans: NDArray[np.intp], count: int, seed: int) -> PatchComponents:
    """Fit the axes on the patches of some of the scans.

    Args:
        cines: (m, 50, 96, 96).
        scans: places in `cines`, of the training fold alone.
        count: of components; fewer where there are fewer patches.
        seed: of the choice of scans, and of the search for the axes.
    """
    looked_at = np.sort(np.random.default_rng(seed).permutation(scans)[:FITTED_CINES])
    patches = torch.cat(
        [
            split_cine(scale_cines(torch.from_numpy(cines[looked_at[start : start + CINES_AT_ONCE]]))).flatten(0, 1)
            for start in range(0, len(looked_at), CINES_AT_ONCE)
        ]
    )
    principal, variances = find_axes(patches, count, seed)
    return PatchComponents(principal, variances.mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny))


def read_components(
    components: PatchComponents, cines: NDArray[np.uint8], scans: NDArray[np.intp], device: torch.device = PROCESSOR
) -> NDArray[np.float32]:
    """Return the components (m, 36, k) of the scans of `cines` (m, 50, 96, 96); NaN for the others."""
    table = np.full((len(cines), N_PATCHES, components.principal.count), np.nan, np.float32)
    reader = components.on(device)
    at_once = READ_AT_ONCE if device == PROCESSOR else CINES_AT_ONCE
    with torch.inference_mode():
        for start in range(0, len(scans), at_once):
            some = scans[start : start + at_once]
            table[some] = reader.read(torch.from_numpy(cines[some]).to(device)).cpu().numpy()
    return table
