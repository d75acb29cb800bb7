"""The figures of a model by sex, age, atrial fibrillation and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.messages import DISEASES
from training.arrays import Floats

from .agreement import agree
from .bootstrap import Estimate, estimate
from .discrimination import discriminate
from .predictions import Predictions
from .truth import Truth

AGE_BANDS = ((0, 50, "below 50"), (50, 60, "50-59"), (60, 70, "60-69"), (70, 200, "70 and above"))
TERTILES = ("quietest third", "middle third", "noisiest third")
FEWEST_POSITIVES = 5
"""With fewer, a disease's AUROC in a subgroup is mostly chance, and is left out."""
SUBGROUP_DRAWS = 400


@dataclass(frozen=True, slots=True)
class RankedGroup:
    """How well the diseases of one subgroup are told.

    Attributes:
        auroc: by disease, without diseases of which the subgroup has too few cases.
        macro_auroc: their mean. Compare subgroups by it only where they have the same diseases.
    """

    records: int
    auroc: dict[str, Estimate]
    macro_auroc: Estimate


@dataclass(frozen=True, slots=True)
class Subgroup(RankedGroup):
    """All figures of one subgroup."""

    mean_r2: Estimate


def measure_subgroups(
    predictions: Predictions, truth: Truth, weights: NDArray[np.uint16]
) -> dict[str, dict[str, Subgroup]]:
    """Return the figures by attribute and group, without attributes that are not known."""
    found: dict[str, dict[str, Subgroup]] = {}
    for attribute, group, members in groups_of(truth):
        if members.any():
            drawn = weights[:SUBGROUP_DRAWS, members]
            found.setdefault(attribute, {})[group] = _measure(predictions.take(members), truth.take(members), drawn)
    return found


def groups_of_persons(female: Floats, age_years: Floats) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield attribute, group and members (n,) by sex and by age. Whoever's is not known is in no group.

    Args:
        female: (n,) 1, 0, or NaN.
        age_years: (n,), NaN where it is not known.
    """
    yield "sex", "female", female == 1
    yield "sex", "male", female == 0
    for low, high, name in AGE_BANDS:
        yield "age", name, (age_years >= low) & (age_years < high)


def groups_of(truth: Truth) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield attribute, group and members (n,) by sex, age, atrial fibrillation and noise."""
    yield from groups_of_persons(truth.female, truth.age_years)
    yield "atrial fibrillation", "present", truth.atrial_fibrillation == 1
    yield "atrial fibrillation", "absent", truth.atrial_fibrillation == 0
    if len(known := truth.noise[np.isfinite(truth.noise)]):
        place = np.digitize(truth.noise, np.quantile(known, (1 / 3, 2 / 3)))
        for tertile, name in enumerate(TERTILES):
            yield "noise", name, (place == tertile) & np.isfinite(truth.noise)


def rank_diseases(
    probabilities: Floats, outcomes: Floats, weights: NDArray[np.uint16]
) -> tuple[dict[str, Estimate], Estimate]:
    """Return the AUROC of each disease that has enough cases, and their mean.

    Args:
        probabilities: (n, 5) in the order of `DISEASES`.
        outcomes: (n, 5) 0, 1, or NaN where it is not known.
        weights: (draws, n) of `draw_patients`.
    """
    auroc: dict[str, Estimate] = {}
    draws = []
    for place, disease in enumerate(DISEASES):
        known = np.isfinite(outcomes[:, place])
        ill = outcomes[:, place] == 1
        if min(ill.sum(), (known & ~ill).sum()) < FEWEST_POSITIVES:
            continue
        found, drawn = discriminate(probabilities[known, place], outcomes[known, place], weights[:, known])
        auroc[disease] = found.auroc
        draws.append(drawn)
    return auroc, _macro(auroc, draws)


def _measure(predictions: Predictions, truth: Truth, weights: NDArray[np.uint16]) -> Subgroup:
    auroc, macro = rank_diseases(predictions.probabilities, truth.diseases, weights)
    mean_r2 = agree(predictions.phenotypes, truth.phenotypes, weights)[0].mean_r2
    return Subgroup(len(truth), auroc, macro, mean_r2)


def _macro(auroc: dict[str, Estimate], draws: list[Floats]) -> Estimate:
    if not auroc:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return estimate(float(np.mean([one.value for one in auroc.values()])), np.mean(draws, axis=0))
