"""What a cohort lacks for the stages of learning. Whoever made it is told at once, and not by a stage hours later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .layout import Cohort, Fold

LEARNS_FROM: tuple[Fold, ...] = ("train", "development")


def find_lacks(cohort: Cohort) -> list[str]:
    """Return a sentence on each kind of stage that has nothing to learn from, or to judge on."""
    if empty := [fold for fold in LEARNS_FROM if not len(cohort.select(fold))]:
        return [f"nobody is in the {_named(empty)}: no stage learns from this cohort"]
    labelled = np.isfinite(np.hstack([cohort.diseases, cohort.phenotypes])).any(axis=1)
    scanned = cohort.cine >= 0
    found = [
        _without(cohort, scanned, "no cine", "pretrain-cmr, align and train-vae need some"),
        _without(cohort, labelled, "no disease and no measurement that is known", "finetune and calibrate need some"),
        None if len(cohort.select("test")) else "nobody is in the test fold: evaluate has nobody to judge on",
    ]
    return [sentence for sentence in found if sentence]


def _without(cohort: Cohort, rich: NDArray[np.bool_], what: str, needs: str) -> str | None:
    bare = [fold for fold in LEARNS_FROM if not rich[cohort.select(fold)].any()]
    has = "has" if len(bare) == 1 else "have"
    return f"the {_named(bare)} {has} {what}: {needs}" if bare else None


def _named(folds: list[Fold]) -> str:
    return " and the ".join(f"{fold} fold" for fold in folds)
