"""The baselines of a cine generator: three ways to answer with training cines, without seeing the true cine."""

from __future__ import annotations

import numpy as np

from training.arrays import Floats

from .similarity import Cines

MEAN, RANDOM, NEAREST = "mean_cine", "random_training_cine", "nearest_neighbour"
READABLE = {
    MEAN: "The mean training cine",
    RANDOM: "A random training cine",
    NEAREST: "The training cine of the nearest ECG",
}


def answer_with_training_cines(
    training: Cines, training_embeddings: Floats, embeddings: Floats, seed: int
) -> dict[str, Cines]:
    """Return cines (n, frames, rows, columns) by baseline.

    Args:
        training: (m, frames, rows, columns).
        training_embeddings: (m, 256) of their patients' ECGs, of length 1.
        embeddings: (n, 256) of the evaluated ECGs.
        seed: of the random one.
    """
    n = len(embeddings)
    mean = np.round(training.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    chosen = np.random.default_rng(seed).integers(len(training), size=n)
    nearest = (embeddings @ training_embeddings.T).argmax(axis=1)
    return {MEAN: np.broadcast_to(mean, (n, *mean.shape)), RANDOM: training[chosen], NEAREST: training[nearest]}
