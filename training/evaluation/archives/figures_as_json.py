"""The figures of an evaluation on an archive as JSON carries them: for programs, and beside the report."""

from __future__ import annotations

from training.evaluation.measures import as_entry

from .anchors import ANCHORS
from .disease_figures import DiseaseFigures, NoShift, Shift
from .evaluation import ArchiveEvaluation, Figures
from .superclass_figures import NEAREST


def as_json(evaluation: ArchiveEvaluation) -> dict[str, object]:
    """Return the figures as `cardiacnets evaluate --predictions --json` prints them; NaN becomes null."""
    labels = evaluation.labels
    return {
        "archive": labels.layout.archive,
        "labels": labels.path.name,
        "model": evaluation.bundle.reference,
        "trained_on": evaluation.bundle.manifest.trained_on,
        "unseen": evaluation.unseen,
        "warnings": evaluation.warnings,
        "screened": evaluation.screened,
        "folds": labels.folds,
        "patients_in_several_folds": labels.torn_patients,
        "account": evaluation.account,
        **{unit: _entry(figures) for unit, figures in evaluation.figures.items()},
    }


def _entry(figures: Figures) -> dict[str, object]:
    shared = {
        "records": figures.records,
        "patients": figures.patients,
        "bootstrap_draws": figures.draws,
        "participants": figures.people,
        "subgroups": figures.subgroups,
    }
    if isinstance(figures, DiseaseFigures):
        return shared | {
            "diseases": {name: as_entry(found) for name, found in figures.diseases.items()},
            "macro_auroc": figures.macro_auroc,
            "alerts": figures.burden,
            "prevalence_shift": {name: _shift(found) for name, found in figures.shifts.items()},
            "anchors": {
                disease: {"code": anchor.code, "published_auroc": anchor.auroc, "auroc": figures.anchored[disease]}
                for disease, anchor in ANCHORS.items()
            },
        }
    return shared | {
        "normal_flagged_share": figures.normal_flagged_share,
        "superclasses_against_normal": figures.contrasts,
        "nearest_disease": NEAREST,
    }


def _shift(found: Shift | NoShift) -> object:
    return {"absent": found.reason} if isinstance(found, NoShift) else found
