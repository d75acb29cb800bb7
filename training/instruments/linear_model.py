"""Linear models on a table of features, fitted by scikit-learn and kept as plain numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.whole_file import whole_file
from schemas.errors import InvalidSettings
from training.arrays import Floats

ALPHAS = (1.0, 10.0, 100.0, 1000.0)
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse penalties of the logistic regressions that cross-validation chooses from."""
FEWEST_POSITIVES = 10
FEWEST_ROWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """A linear model: missing features become the mean, then standardised features times weights plus intercepts.

    Attributes:
        inputs: (k,) names of the features.
        outputs: (m,) names.
        means, deviations: (k,) of the features.
        weights: (k, m).
        intercepts: (m,).
    """

    inputs: NDArray[np.str_]
    outputs: NDArray[np.str_]
    means: Floats
    deviations: Floats
    weights: Floats
    intercepts: Floats

    def predict(self, features: NDArray[np.floating]) -> Floats:
        """Return (n, m): values, or logits; features (n, k) may be NaN."""
        return np.asarray(_standardise(features, self.means, self.deviations) @ self.weights + self.intercepts)

    def save(self, path: Path) -> None:
        """Write the model as one .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished, unfinished.open("wb") as file:  # given a path, `savez` would add a suffix
            np.savez(file, allow_pickle=False, **asdict(self))


def load_linear(path: Path) -> LinearModel:
    """Return the model of a file.

    Raises:
        InvalidSettings: the file cannot be read, or its parts do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as parts:
            model = LinearModel(**{part.name: parts[part.name] for part in fields(LinearModel)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidSettings(
            f"{path} is not a linear model: {error}; fit it again with `cardiacnets train`"
        ) from error
    k, m = len(model.inputs), len(model.outputs)
    shapes = model.means.shape, model.deviations.shape, model.weights.shape, model.intercepts.shape
    if shapes != ((k,), (k,), (k, m), (m,)):
        raise InvalidSettings(f"{path} is not a linear model: its parts have the shapes {shapes}")
    return model


def fit_ridge(
    features: NDArray[np.floating], targets: NDArray[np.floating], inputs: Sequence[str], outputs: Sequence[str]
) -> LinearModel:
    """Fit a ridge regression a target, its penalty chosen by leave-one-out.

    Args:
        features: (n, k), NaN where not known.
        targets: (n, m), NaN where not known; a target that nearly no row has is answered by 0.
    """
    from sklearn.linear_model import RidgeCV

    means, deviations = _scale(features)
    table = _standardise(features, means, deviations)
    weights, intercepts = np.zeros((len(inputs), len(outputs))), np.zeros(len(outputs))
    known = np.isfinite(targets)
    for columns in _alike(known):
        rows = known[:, columns[0]]
        if rows.sum() < FEWEST_ROWS:
            continue
        ridge = RidgeCV(ALPHAS, alpha_per_target=True).fit(table[rows], targets[rows][:, columns])
        weights[:, columns] = np.reshape(ridge.coef_, (len(columns), -1)).T
        intercepts[columns] = ridge.intercept_
    return LinearModel(np.array(inputs), np.array(outputs), means, deviations, weights, intercepts)


def fit_logistic(
    features: NDArray[np.floating], outcomes: NDArray[np.floating], inputs: Sequence[str], outputs: Sequence[str]
) -> LinearModel:
    """Fit a logistic regression an outcome, its penalty chosen by cross-validation; `predict` returns logits.

    Args:
        features: (n, k), NaN where not known.
        outcomes: (n, m) 0, 1, or NaN where not known; for a very rare outcome the answer is its prevalence.
    """
    means, deviations = _scale(features)
    table = _standardise(features, means, deviations)
    weights, intercepts = np.zeros((len(inputs), len(outputs))), np.zeros(len(outputs))
    for place, column in enumerate(outcomes.T):
        rows = np.isfinite(column)
        weights[:, place], intercepts[place] = _logistic(table[rows], column[rows])
    return LinearModel(np.array(inputs), np.array(outputs), means, deviations, weights, intercepts)


def _logistic(table: Floats, outcomes: NDArray[np.floating]) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    positives = outcomes.sum()
    if min(positives, len(outcomes) - positives) < FEWEST_POSITIVES:
        prevalence = (positives + 0.5) / (len(outcomes) + 1)
        return np.zeros(table.shape[1]), float(np.log(prevalence / (1 - prevalence)))
    regression = LogisticRegression(solver="newton-cholesky")
    search = GridSearchCV(regression, {"C": STRENGTHS}, scoring="neg_log_loss", cv=5).fit(table, outcomes.astype(int))
    return search.best_estimator_.coef_[0], float(search.best_estimator_.intercept_[0])


def _scale(features: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return mean and deviation of each feature where it is known; 0 and 1 where it never is, or never varies."""
    known = np.isfinite(features)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, features, 0.0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, features - means, 0.0) ** 2).sum(axis=0) / counts)
    return means, np.where(deviations > 1e-9 * (1 + np.abs(means)), deviations, 1.0)


def _standardise(features: NDArray[np.floating], means: Floats, deviations: Floats) -> Floats:
    return np.where(np.isfinite(features), (features - means) / deviations, 0.0)


def _alike(known: NDArray[np.bool_]) -> list[list[int]]:
    """Return the columns in groups. The columns of a group are known of the same rows."""
    groups: dict[bytes, list[int]] = {}
    for place, column in enumerate(known.T):
        groups.setdefault(column.tobytes(), []).append(place)
    return list(groups.values())
