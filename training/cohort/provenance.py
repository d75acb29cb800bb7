"""What a manifest says of the patients that were learned from."""

from __future__ import annotations

import numpy as np

from .layout import Cohort

SIMULATED = "simulated"


def describe_cohort(cohort: Cohort) -> str:
    """Return it in words; `evaluation` reads the source and the seed in them."""
    description = cohort.description
    folds = ", ".join(f"{count} {fold}" for fold, count in description.fold_patients.items())
    measured = int(np.isfinite(cohort.phenotypes).any(axis=1).sum())
    scans = f"; {description.scans} scans, {measured} ECGs with measurements" if description.scans else ""
    seed = f", seed {description.seed}" if description.source == SIMULATED else ""
    return f"{description.source} cohort of {description.patients} patients ({folds}{scans}){seed}"
