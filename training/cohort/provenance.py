"""What a manifest says of the patients that were learned from."""

from __future__ import annotations

import numpy as np

from .layout import Cohort

SIMULATED = "simulated"


def describe_cohort(cohort: Cohort) -> str:
    """Return it in words; `evaluation` reads the source and the seed in them."""
    told = cohort.description
    folds = ", ".join(f"{count} {fold}" for fold, count in told.fold_patients.items())
    measured = int(np.isfinite(cohort.phenotypes).any(axis=1).sum())
    scans = f"; {told.scans} scans, {measured} ECGs with measurements" if told.scans else ""
    seed = f", seed {told.seed}" if told.source == SIMULATED else ""
    return f"{told.source} cohort of {told.patients} patients ({folds}{scans}){seed}"
