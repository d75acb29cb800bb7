"""How a model ranks the superclasses of PTB-XL, which are not the diseases that the model knows.

A statement on an ECG (hypertrophy, a conduction disturbance) is no diagnosis of a patient. So the figures are ranks
alone: neither a threshold nor a calibration of a disease can be judged by a superclass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.manifest import DiseaseHead
from schemas.messages import DISEASES
from training.arrays import Floats
from training.evaluation.bootstrap import Estimate
from training.evaluation.discrimination import discriminate
from training.evaluation.subgroups import FEWEST_POSITIVES, SUBGROUP_DRAWS, groups_of_persons
from training.instruments.rounding import rounded

from .layouts import SUPERCLASSES
from .people import People, describe_people
from .sample import Sample

NORMAL, ABNORMAL = "NORM", "any other"
HIGHEST = "highest"
"""The score that is the highest of the five probabilities."""
SCORES = (HIGHEST, *DISEASES)
NEAREST = {"MI": "coronary_artery_disease", "HYP": "cardiomyopathy"}
"""The disease that a superclass comes nearest to. Repolarisation and conduction have none among the five."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The ECGs of a superclass against the ECGs that are normal and nothing else.

    Attributes:
        auroc: by score; empty where there are too few of either kind.
        flagged_share: of the superclass's ECGs, those that the model flags for at least one disease.
    """

    positives: int
    negatives: int
    auroc: dict[str, Estimate]
    flagged_share: float


@dataclass(frozen=True, slots=True, eq=False)
class SuperclassFigures:
    """All figures on one sample.

    Attributes:
        draws: of the bootstrap.
        normal_flagged_share: of the normal ECGs, those that the model flags for at least one disease.
        contrasts: by superclass, and of all that are not normal.
        subgroups: the AUROC of the highest probability for ECGs that are not normal; without groups that have too few.
    """

    records: int
    patients: int
    draws: int
    people: People
    normal_flagged_share: float
    contrasts: dict[str, Contrast]
    subgroups: dict[str, dict[str, Estimate]]


def judge_superclasses(sample: Sample, heads: tuple[DiseaseHead, ...], draws: int) -> SuperclassFigures:
    """Return the figures of a sample.

    Args:
        sample: of the judged folds.
        heads: of the bundle, with its thresholds.
        draws: of the bootstrap, at most.
    """
    weights = sample.draw(draws)
    scores = np.column_stack([sample.probabilities.max(axis=1), sample.probabilities])
    flagged = np.asarray((sample.probabilities >= [head.threshold for head in heads]).any(axis=1))
    has = {name: sample.outcomes[:, place] == 1 for place, name in enumerate(SUPERCLASSES)}
    other = np.asarray(np.stack([has[name] for name in SUPERCLASSES if name != NORMAL]).any(axis=0))
    normal = has[NORMAL] & ~other
    abnormal = {name: has[name] for name in SUPERCLASSES if name != NORMAL} | {ABNORMAL: other}
    return SuperclassFigures(
        records=len(sample),
        patients=len(np.unique(sample.patients)),
        draws=len(weights),
        people=describe_people(sample, SUPERCLASSES),
        normal_flagged_share=_share(flagged[normal]),
        contrasts={
            name: Contrast(
                positives=int(ill.sum()),
                negatives=int(normal.sum()),
                auroc={
                    score: auroc
                    for place, score in enumerate(SCORES)
                    if (auroc := _rank(scores[:, place], ill, normal, weights)) is not None
                },
                flagged_share=_share(flagged[ill]),
            )
            for name, ill in abnormal.items()
        },
        subgroups=_measure_groups(sample, scores[:, 0], other, normal, weights[:SUBGROUP_DRAWS]),
    )


def _measure_groups(
    sample: Sample, scores: Floats, ill: NDArray[np.bool_], normal: NDArray[np.bool_], weights: NDArray[np.uint16]
) -> dict[str, dict[str, Estimate]]:
    found: dict[str, dict[str, Estimate]] = {}
    for attribute, group, members in groups_of_persons(sample.female, sample.age_years):
        auroc = _rank(scores, ill & members, normal & members, weights)
        if auroc is not None:
            found.setdefault(attribute, {})[group] = auroc
    return found


def _rank(
    scores: Floats, ill: NDArray[np.bool_], normal: NDArray[np.bool_], weights: NDArray[np.uint16]
) -> Estimate | None:
    """Return the AUROC of the scores, or None where there are too few of either kind."""
    if min(ill.sum(), normal.sum()) < FEWEST_POSITIVES:
        return None
    members = ill | normal
    return discriminate(scores[members], ill[members].astype(np.float64), weights[:, members])[0].auroc


def _share(flags: NDArray[np.bool_]) -> float:
    return rounded(flags.mean()) if len(flags) else float("nan")
