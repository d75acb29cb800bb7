"""Simulated patients for the evaluation of cines: true cine, ECG embedding, true measurements, reported ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from schemas.errors import InvalidSettings
from training.arrays import Floats
from training.cohort.layout import SHARES, Cohort, Fold
from training.evaluation.evaluation import StepProgress
from training.evaluation.predictions import predict_cohort
from training.simulation.simulate_cohort import simulate_cohort

from .similarity import Cines

CHUNK_CINES = 32


@dataclass(frozen=True, slots=True, eq=False)
class ScreenedPatients:
    """The n simulated patients whose ECGs could be screened.

    Attributes:
        patient_ids: (n,) str.
        cines: (n, frames, rows, columns), the true ones, in the generator's geometry.
        embeddings: (n, 256) of length 1.
        truth, reported: (n, 82) phenotypes of the simulated heart, and those that the report gives.
        refusals: ECGs that the gate refused, by code.
    """

    patient_ids: NDArray[np.str_]
    cines: Cines
    embeddings: Floats
    truth: Floats
    reported: Floats
    refusals: dict[str, int]


@dataclass(frozen=True, slots=True)
class Simulation:
    """How patients are simulated and screened.

    Attributes:
        reduce: converts cines (n, 50, 96, 96) to the generator's geometry.
        processes: number of simulating processes; None: one a core.
    """

    bundle: Bundle
    reduce: Callable[[Cines], Cines]
    processes: int | None
    report: StepProgress

    def screen_patients(self, seed: int, patients: int, fold: Fold) -> ScreenedPatients:
        """Return the screened patients of a seed: all of them as a test fold, or only its training fold.

        Raises:
            InvalidSettings: not one of them could be screened.
        """
        step = "simulating" if fold == "test" else "training cines"
        with TemporaryDirectory(prefix="cardiacnets-cines-") as place:
            cohort = simulate_cohort(
                Path(place) / "cohort",
                patients,
                seed,
                processes=self.processes,
                folds=(0.0, 0.0) if fold == "test" else SHARES,
                progress=lambda done: self.report(step, done, patients),
            )
            return self._screen(cohort, cohort.select(fold), step)

    def _screen(self, cohort: Cohort, rows: NDArray[np.intp], step: str) -> ScreenedPatients:
        ecgs = cohort.ecgs[rows]
        answers = predict_cohort(
            self.bundle, ecgs, np.arange(len(ecgs)), progress=lambda done: self.report(f"{step}: ECGs", done, len(ecgs))
        )
        seen = answers.screened
        if not seen.any():
            raise InvalidSettings(f"not one of {len(rows)} simulated ECGs can be screened; refused: {answers.refusals}")
        assert answers.embedding is not None  # noqa: S101 - a bundle has one
        return ScreenedPatients(
            patient_ids=cohort.patient_ids[rows][seen],
            cines=self._reduced(cohort, rows[seen]),
            embeddings=answers.embedding[seen],
            truth=cohort.phenotypes[rows][seen],
            reported=answers.phenotypes[seen],
            refusals=answers.refusals,
        )

    def _reduced(self, cohort: Cohort, rows: NDArray[np.intp]) -> Cines:
        """Return the rows' cines in the generator's geometry, without all of the larger ones in memory at once."""
        assert cohort.cines is not None  # noqa: S101 - it was simulated with cines
        scans = cohort.cine[rows]
        return np.concatenate(
            [
                self.reduce(cohort.cines[scans[start : start + CHUNK_CINES]])
                for start in range(0, len(scans), CHUNK_CINES)
            ]
        )
