"""Fits the expected cine of an embedding, in closed form, on a cohort that does not fit into memory.

The pixels are regressed on the principal axes of the embeddings, each scaled to deviation 1, so that a ridge regression
shrinks all axes alike. It needs only sums of products, which are gathered batch by batch. Its coefficients are cut to
their first singular directions (reduced-rank regression; Izenman, Journal of Multivariate Analysis 1975): the patterns
of the beat that the ECG tells most about.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch  # noqa: TID253 - on what networks answer
from torch import Tensor  # noqa: TID253

from inference.models.expected_cine import PATTERNS, ExpectedCine

SMALLEST_SHARE = 1e-4
"""Of the largest deviation: along an axis of less, embeddings differ by rounding."""


def fit_expectation(expected: ExpectedCine, embeddings: Tensor, cines: Iterable[Tensor], shrinkage: float) -> None:
    """Fit the regression.

    Args:
        expected: gets the fitted values.
        embeddings: (row, 256), all of the training fold.
        cines: the rows' cines in batches (k, frame, y, x) in [-1, 1], in the order of the embeddings.
        shrinkage: of the ridge regression, in rows: it acts like this many added hearts that show the mean.
    """
    mean_embedding = embeddings.mean(dim=0)
    _, spread, axes = torch.linalg.svd(embeddings - mean_embedding, full_matrices=False)
    deviations = spread / len(embeddings) ** 0.5
    kept = deviations > SMALLEST_SHARE * deviations[0]
    whitener = axes[kept].T / deviations[kept]
    white = (embeddings - mean_embedding) @ whitener
    products = torch.zeros(white.shape[1], expected.mean_cine.numel())
    total, start = torch.zeros(products.shape[1], dtype=torch.float64), 0
    for batch in cines:
        pixels = batch.flatten(1)
        products += white[start : start + len(pixels)].T @ pixels
        total += pixels.sum(dim=0, dtype=torch.float64)
        start += len(pixels)
    coefficients = products / (start + shrinkage)  # along each axis the embeddings' mean is 0: the pixels' drops out
    left, strengths, patterns = torch.linalg.svd(coefficients, full_matrices=False)
    count = min(PATTERNS, len(strengths))
    directions = whitener @ left[:, :count] * strengths[:count]
    expected.fit(mean_embedding, directions, (total / start).float(), patterns[:count])
