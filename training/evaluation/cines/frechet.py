"""The Fréchet distance between true and drawn cines, in a space of features; and the joint one with their ECGs.

|m - n|² + tr(S + T - 2 (S T)^½) of means and covariances, as in Heusel et al., NeurIPS 2017. The features are those of
the segmenter (`CineSegmenter.features`), standardised and rotated to the principal axes of the training cines. The
number of axes is so low that a few hundred cines suffice for a covariance. Their total variance is 1, so that a
generator which draws the same cine for every ECG has a distance of 1 or more. Do not compare distances of different
numbers of patients: with fewer patients a distance is larger.

This distance does not see whether a cine belongs to its ECG: real cines in random order have a distance of 0. So there
is also the joint distance of features and embedding (DeVries et al., arXiv 1907.08175), both of total variance 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.evaluation.bootstrap import Estimate, bootstrap, estimate

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

CINE_AXES, ECG_AXES = 32, 16
"""Principal axes that are kept of the cines' features, and of the ECGs' embeddings."""


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """Principal axes of training data, scaled to a total variance of 1."""

    axes: Pipeline
    scale: float

    @classmethod
    def fit(cls, training: NDArray[np.floating[Any]], axes: int) -> FeatureSpace:
        """Return the space of training data (n, width)."""
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fitted = make_pipeline(StandardScaler(), PCA(min(axes, *training.shape), random_state=0))
        scores = fitted.fit_transform(training.astype(np.float64))
        return cls(fitted, float(np.sqrt(scores.var(axis=0).sum())))

    def place(self, values: NDArray[np.floating[Any]]) -> Floats:
        """Return (n, axes) for values (n, width)."""
        return np.asarray(self.axes.transform(values.astype(np.float64)) / self.scale)


def estimate_frechet(true: Floats, drawn: Floats, weights: NDArray[np.uint16]) -> tuple[Estimate, Floats]:
    """Return the distance of features (n, axes) of the same n patients with its interval, and that of each draw.

    A draw has fewer different patients than the sample, so its distance is larger. Draws are shifted by that amount.
    """
    value = frechet_distance(true, drawn)
    draws = bootstrap(lambda drawn_weights: _each_draw(true, drawn, drawn_weights), weights)
    draws += value - draws.mean()
    return estimate(value, np.maximum(draws, 0)), draws


def frechet_distance(true: Floats, drawn: Floats, weights: Floats | None = None) -> float:
    """Return the distance of the normal distributions of two samples, (n, axes) and (m, axes).

    Args:
        true, drawn: samples; of the same patients where there are weights.
        weights: (n,) how often each patient counts.
    """
    (mean, covariance), (other_mean, other_covariance) = (_moments(sample, weights) for sample in (true, drawn))
    return gaussian_distance(mean, covariance, other_mean, other_covariance)


def gaussian_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Return the Fréchet distance of two normal distributions (Dowson and Landau, 1982)."""
    # the trace of the product's square root: that of its eigenvalues, none of which is negative but by rounding
    common = np.sqrt(np.maximum(np.linalg.eigvals(covariance @ other_covariance).real, 0)).sum()
    apart = np.sum((mean - other_mean) ** 2) + np.trace(covariance) + np.trace(other_covariance) - 2 * common
    return float(max(apart, 0.0))


def _each_draw(true: Floats, drawn: Floats, weights: Floats) -> Floats:
    return np.array([frechet_distance(true, drawn, row) for row in weights])


def _moments(sample: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    counts = np.ones(len(sample)) if weights is None else weights
    mean = counts @ sample / counts.sum()
    centred = sample - mean
    return mean, (centred * counts[:, None]).T @ centred / counts.sum()
