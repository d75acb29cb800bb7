"""The figures of a model on an archive whose labels are diagnoses: five diseases, natural prevalence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.manifest import DiseaseHead
from schemas.messages import DISEASES, Disease
from training.arrays import Floats
from training.evaluation.alert_burden import AlertBurden, measure_burden
from training.evaluation.bootstrap import Estimate
from training.evaluation.calibration import CalibrationMeasures, measure_calibration, shift_logits, shift_to_prevalence
from training.evaluation.discrimination import discriminate
from training.evaluation.measures import DiseaseMeasures, measure_diseases
from training.evaluation.subgroups import (
    FEWEST_POSITIVES,
    SUBGROUP_DRAWS,
    RankedGroup,
    groups_of_persons,
    rank_diseases,
)
from training.instruments.rounding import rounded

from .anchors import ANCHORS
from .people import People, describe_people
from .sample import Sample

PLACE = "where the ECG was taken"
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Shift:
    """The calibration of one disease after all odds were changed by one factor, which development data give.

    Attributes:
        logits: what is added to every logit: on the development fold the mean probability equals the prevalence then.
        records, positives: of the development fold.
        after: on the judged ECGs. The slope is that of before, as is every rank.
    """

    logits: float
    records: int
    positives: int
    after: CalibrationMeasures


@dataclass(frozen=True, slots=True)
class NoShift:
    """Why there is none."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class DiseaseFigures:
    """All figures on one sample.

    Attributes:
        draws: of the bootstrap.
        shifts: by disease.
        anchored: AUROC for the one code that a published model was judged by.
        sample: for plots.
    """

    records: int
    patients: int
    draws: int
    people: People
    diseases: dict[str, DiseaseMeasures]
    macro_auroc: Estimate
    burden: dict[str, AlertBurden]
    shifts: dict[Disease, Shift | NoShift]
    subgroups: dict[str, dict[str, RankedGroup]]
    anchored: dict[Disease, Estimate]
    sample: Sample


def judge_diseases(
    sample: Sample, development: Sample | NoShift, heads: tuple[DiseaseHead, ...], draws: int
) -> DiseaseFigures:
    """Return the figures of a sample.

    Args:
        sample: of the judged folds.
        development: of the development fold, as many ECGs a patient; or why there is none.
        heads: of the bundle, with its thresholds.
        draws: of the bootstrap, at most.
    """
    weights = sample.draw(draws)
    outcomes = sample.outcomes[:, : len(DISEASES)]
    diseases, macro, _ = measure_diseases(sample.probabilities, outcomes, weights, heads)
    return DiseaseFigures(
        records=len(sample),
        patients=len(np.unique(sample.patients)),
        draws=len(weights),
        people=describe_people(sample, DISEASES),
        diseases=diseases,
        macro_auroc=macro,
        burden=measure_burden(sample.probabilities, outcomes, heads, weights),
        shifts={
            disease: _shift(sample, development, place, diseases[disease].calibration)
            for place, disease in enumerate(DISEASES)
        },
        subgroups=_measure_groups(sample, outcomes, weights),
        anchored={
            disease: discriminate(sample.probabilities[:, place], sample.outcomes[:, len(DISEASES) + place], weights)[
                0
            ].auroc
            for place, disease in enumerate(ANCHORS)
        },
        sample=sample,
    )


def _shift(sample: Sample, development: Sample | NoShift, place: int, before: CalibrationMeasures) -> Shift | NoShift:
    if isinstance(development, NoShift):
        return development
    known = development.outcomes[:, place]
    positives = int(known.sum())
    if min(positives, len(known) - positives) < FEWEST_POSITIVES:
        return NoShift(f"{positives} of {len(known)} ECGs of the development fold have the disease")
    logits = shift_to_prevalence(development.probabilities[:, place], known)
    after = measure_calibration(
        shift_logits(sample.probabilities[:, place], logits),
        sample.outcomes[:, place],
        np.empty((0, len(sample)), np.uint16),
    )
    same = replace(after, calibration_slope_interval=before.calibration_slope_interval)
    return Shift(rounded(logits), len(known), positives, same)


def _measure_groups(sample: Sample, outcomes: Floats, weights: NDArray[np.uint16]) -> dict[str, dict[str, RankedGroup]]:
    found: dict[str, dict[str, RankedGroup]] = {}
    for attribute, group, members in _groups(sample):
        if members.any():
            drawn = weights[:SUBGROUP_DRAWS, members]
            auroc, macro = rank_diseases(sample.probabilities[members], outcomes[members], drawn)
            found.setdefault(attribute, {})[group] = RankedGroup(int(members.sum()), auroc, macro)
    return found


def _groups(sample: Sample) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    yield from groups_of_persons(sample.female, sample.age_years)
    for words, flags in sample.places.items():
        yield PLACE, words, flags == 1
    if sample.places:
        yield PLACE, ELSEWHERE, np.all([flags == 0 for flags in sample.places.values()], axis=0)
