"""The evaluation of one model and its baselines, on patients that they did not learn from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.manifest import DiseaseHead
from schemas.errors import InvalidSettings
from schemas.messages import ModelReference
from training.cohort.layout import Cohort
from training.cohort.provenance import SIMULATED, describe_cohort

from .baselines import (
    CLASSIC,
    NETWORKS,
    ORACLE,
    MissingBaseline,
    ScanSide,
    find_classic,
    find_network,
    find_oracle,
    learned_from,
    read_scans,
)
from .bootstrap import DRAWS, draw_patients
from .classic import predict_classic
from .coverage import Coverage, measure_coverage
from .measures import Comparison, Draws, Measures, as_entry, compare, measure
from .predictions import Predictions, predict_cohort
from .retrieval import Retrieval
from .subgroups import Subgroup, measure_subgroups
from .truth import Participants, Truth, describe_participants, read_truth

if TYPE_CHECKING:
    from .cmr_oracle import CmrOracle

BOOTSTRAP_SEED = 0
"""Always the same draws: two models that are evaluated on the same patients can be compared."""
_SEED = re.compile(r"\bseed (\d+)\b")

StepProgress: TypeAlias = Callable[[str, int, int], object]
"""Called with the name of the step, how much of the step is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The figures of a baseline, and how the model compares with it on the same patients."""

    measures: Measures
    comparison: Comparison


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All figures of one evaluation.

    Attributes:
        cohort: which one, and how many of its records were evaluated.
        unseen: whether the manifest tells that the model did not learn from these patients.
        refusals: how many records the gate refused, by code. They are in no figure below.
        retrieval: empty where there are no scans.
        predictions, truth: of the evaluated records, for plots.
    """

    cohort: dict[str, object]
    model: ModelReference
    bundle: Bundle
    unseen: bool
    participants: Participants
    refusals: dict[str, int]
    measures: Measures
    subgroups: dict[str, dict[str, Subgroup]]
    coverage: dict[str, Coverage]
    retrieval: dict[str, Retrieval]
    baselines: dict[str, Baseline | MissingBaseline]
    predictions: Predictions
    truth: Truth


def evaluate(
    cohort: Cohort, bundle: Bundle, baselines: Path, *, report: StepProgress = lambda *_: None, draws: int = DRAWS
) -> Evaluation:
    """Evaluate a bundle on the test fold of a cohort.

    Args:
        cohort: whose test fold no model learned from.
        bundle: verified.
        baselines: the folder; see `baselines.py`. The report says which baselines are not there.
        report: called with the progress.
        draws: of the bootstrap.

    Raises:
        InvalidSettings: the model or a baseline learned from these patients, or the test fold is empty, or no record of
            it can be screened.
    """
    trained_on = bundle.manifest.trained_on
    refuse_seen(cohort, trained_on, "model")
    learned = learned_from(baselines)
    refuse_seen(cohort, learned or "", f"baselines in {baselines}")
    rows = cohort.select("test")
    everybody = read_truth(cohort, rows)
    answers = _predict(bundle, cohort, rows, "model", report)
    if not answers.screened.any():
        raise InvalidSettings(f"no ECG of {cohort.folder} can be screened; refused: {answers.refusals}")
    rows = rows[answers.screened]
    patients = _Patients(everybody.take(answers.screened), answers.take(answers.screened), draws)
    report("bootstrap", 0, 1)
    mine = patients.measure(bundle.manifest.diseases)
    report("bootstrap", 1, 1)
    scans = _read_scans(find_oracle(baselines, cohort, learned), cohort, rows, patients.predictions, report)
    return Evaluation(
        cohort=_describe(cohort, len(everybody), len(rows)),
        model=bundle.reference,
        bundle=bundle,
        unseen=is_unseen(cohort, trained_on),
        participants=describe_participants(patients.truth),
        refusals=answers.refusals,
        measures=mine[0],
        coverage=measure_coverage(patients.predictions, patients.truth, bundle.manifest),
        subgroups=measure_subgroups(patients.predictions, patients.truth, patients.weights),
        retrieval={} if isinstance(scans, MissingBaseline) else scans.retrieval,
        baselines={
            name: found if isinstance(found, MissingBaseline) else patients.compare(found, mine)
            for name, found in (
                *_answer_from_ecgs(
                    cohort,
                    rows,
                    find_classic(baselines, cohort, learned),
                    {name: find_network(baselines, name, trained_on) for name in NETWORKS},
                    report,
                ),
                (ORACLE, _predictions(scans)),
            )
        },
        predictions=patients.predictions,
        truth=patients.truth,
    )


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """Return the figures as `cardiacnets evaluate --json` prints them; NaN becomes null."""
    return {
        "cohort": evaluation.cohort,
        "unseen": evaluation.unseen,
        "model": evaluation.model,
        "refusals": evaluation.refusals,
        "participants": evaluation.participants,
        **_entries(evaluation.measures),
        "subtype": evaluation.measures.subtype,
        "subgroups": evaluation.subgroups,
        "coverage": evaluation.coverage,
        "retrieval": evaluation.retrieval,
        "baselines": {
            name: {"absent": baseline.reason}
            if isinstance(baseline, MissingBaseline)
            else {**_entries(baseline.measures), "comparison": baseline.comparison}
            for name, baseline in evaluation.baselines.items()
        },
    }


def refuse_seen(cohort: Cohort, trained_on: str, who: str) -> None:
    """Refuse the simulated population that a model learned from, unless only its test fold is evaluated.

    Args:
        cohort: on which is evaluated.
        trained_on: as the manifest has it.
        who: learned, for the error.

    Raises:
        InvalidSettings: training patients would be evaluated.
    """
    description, trained = cohort.description, learned_seed(trained_on)
    folds_of_its_own = description.fold_patients.get("train", 0) > 0
    if trained is not None and trained == description.seed and not folds_of_its_own:
        raise InvalidSettings(
            f"the {who} learned from patients of seed {description.seed} ({trained_on}): "
            "evaluate on patients of another seed"
        )


def is_unseen(cohort: Cohort, trained_on: str) -> bool:
    """Return whether the manifest shows that the model did not learn from the test fold, after `refuse_seen`.

    Simulated patients are never real ones, and stages do not learn from the test fold of their cohort. Of a real cohort
    and a model trained on another real cohort, nobody knows whether they share patients.
    """
    simulated = SIMULATED in (cohort.description.source, trained_on.split(" ", maxsplit=1)[0])
    return simulated or trained_on == describe_cohort(cohort)


def learned_seed(trained_on: str) -> int | None:
    """Return the seed of the simulated population in a manifest's `trained_on`, or None."""
    found = _SEED.search(trained_on)
    return int(found[1]) if found else None


def _entries(measures: Measures) -> dict[str, object]:
    mean_r2 = measures.agreements.mean_r2
    return {
        "diseases": {name: as_entry(found) for name, found in measures.diseases.items()},
        "macro_auroc": measures.macro_auroc,
        "alerts": {name: asdict(found) for name, found in measures.burden.items()},
        "phenotypes": {name: asdict(found) for name, found in measures.agreements.phenotypes.items()},
        "mean_r2": mean_r2.value,
        "mean_r2_interval": [mean_r2.low, mean_r2.high],
        "group_r2": measures.agreements.groups,
    }


class _Patients:
    """The evaluated patients: truth, the model's answers, and bootstrap draws that all models share."""

    def __init__(self, truth: Truth, predictions: Predictions, draws: int) -> None:
        self.truth = truth
        self.predictions = predictions
        self.weights = draw_patients(truth.patient_ids, draws, BOOTSTRAP_SEED)

    def measure(self, heads: tuple[DiseaseHead, ...]) -> tuple[Measures, Draws]:
        """Measure the model on all patients."""
        return measure(self.predictions, self.truth, self.weights, heads)

    def compare(self, other: Predictions, mine: tuple[Measures, Draws]) -> Baseline:
        """Measure another model, and compare both on the patients that it answered to."""
        members = other.screened
        truth, weights = self.truth.take(members), self.weights[:, members]
        theirs = measure(other.take(members), truth, weights, slope_intervals=False)
        if not members.all():
            mine = measure(self.predictions.take(members), truth, weights, slope_intervals=False)
        return Baseline(theirs[0], compare(mine, theirs))


def _answer_from_ecgs(
    cohort: Cohort,
    rows: NDArray[np.intp],
    classic: Path | MissingBaseline,
    networks: Mapping[str, Bundle | MissingBaseline],
    report: StepProgress,
) -> Iterator[tuple[str, Predictions | MissingBaseline]]:
    """Yield the answers of each baseline that reads ECGs, or why it is missing."""
    if isinstance(classic, MissingBaseline):
        yield CLASSIC, classic
    else:
        yield CLASSIC, predict_classic(classic, cohort.ecgs, rows, progress=_count_records(report, CLASSIC, len(rows)))
    for name, network in networks.items():
        yield name, network if isinstance(network, MissingBaseline) else _predict(network, cohort, rows, name, report)


def _read_scans(
    oracle: CmrOracle | MissingBaseline,
    cohort: Cohort,
    rows: NDArray[np.intp],
    predictions: Predictions,
    report: StepProgress,
) -> ScanSide | MissingBaseline:
    if isinstance(oracle, MissingBaseline):
        return oracle
    report(ORACLE, 0, len(rows))
    scans = read_scans(oracle, cohort, rows, predictions.embedding)
    report(ORACLE, len(rows), len(rows))
    return scans


def _predictions(scans: ScanSide | MissingBaseline) -> Predictions | MissingBaseline:
    return scans if isinstance(scans, MissingBaseline) else scans.predictions


def _predict(bundle: Bundle, cohort: Cohort, rows: NDArray[np.intp], name: str, report: StepProgress) -> Predictions:
    return predict_cohort(bundle, cohort.ecgs, rows, progress=_count_records(report, name, len(rows)))


def _count_records(report: StepProgress, name: str, total: int) -> Callable[[int], object]:
    return lambda done: report(name, done, total)


def _describe(cohort: Cohort, records: int, evaluated: int) -> dict[str, object]:
    description = cohort.description
    return {
        "source": description.source,
        "seed": description.seed,
        "fold": "test",
        "records": records,
        "evaluated": evaluated,
        "patients_in_folds": description.fold_patients,
    }
