"""Scores cines of the evaluated patients: likeness, Fréchet distance, and the ventricle that the cines show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.evaluation.bootstrap import Estimate, draw_patients, estimate
from training.evaluation.evaluation import BOOTSTRAP_SEED, StepProgress
from training.instruments.left_ventricle import LeftVentricles
from training.instruments.segmenter import CineSegmenter

from .consistency import Consistency, check_consistency, check_report
from .frechet import CINE_AXES, ECG_AXES, FeatureSpace, estimate_frechet
from .patients import ScreenedPatients
from .similarity import Cines, estimate_mean, measure_psnr, measure_ssim


@dataclass(frozen=True, slots=True)
class CineFigures:
    """How good the cines of one source are.

    Attributes:
        ssim, psnr: against the patient's true cine; dB.
        frechet: of the cines' features; see `frechet.py`.
        frechet_joint: of features and ECG embedding together.
        consistency: of LVEF, LVEDV and the wall's thickness, by name.
    """

    ssim: Estimate
    psnr: Estimate
    frechet: Estimate
    frechet_joint: Estimate
    consistency: dict[str, Consistency]


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the generator beats a baseline on the same patients, positive if it does."""

    ssim: Estimate
    psnr: Estimate
    frechet: Estimate
    frechet_joint: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCines:
    """The figures of one source of cines, and the values they were made from: by patient, and by bootstrap draw."""

    figures: CineFigures
    ssim: Floats
    psnr: Floats
    frechet: Floats
    frechet_joint: Floats


class CineScorer:
    """Scores cines of the evaluated patients. All sources are scored on the same draws of the bootstrap."""

    def __init__(
        self,
        segmenter: CineSegmenter,
        training: ScreenedPatients,
        patients: ScreenedPatients,
        *,
        pixel_mm: float,
        draws: int,
        report: StepProgress,
    ) -> None:
        self._segmenter = segmenter
        self._patients = patients
        self._pixel_mm = pixel_mm
        self._report = report
        self._weights = draw_patients(patients.patient_ids, draws, BOOTSTRAP_SEED)
        report("features", 0, 1)
        self._space = FeatureSpace.fit(segmenter.features(training.cines), CINE_AXES)
        self._ecgs = FeatureSpace.fit(training.embeddings, ECG_AXES).place(patients.embeddings)
        self._true = self._place(patients.cines)
        report("features", 1, 1)

    def score(self, name: str, cines: Cines) -> ScoredCines:
        """Return all figures of the cines of one source. The cines are in the order of the patients."""
        self._report(name, 0, 2)
        consistency = self.check_ventricles(self.measure_ventricles(cines))
        self._report(name, 1, 2)
        patients, weights = self._patients, self._weights
        ssim, psnr = measure_ssim(patients.cines, cines), measure_psnr(patients.cines, cines)
        placed = self._place(cines)
        frechet, frechet_draws = estimate_frechet(self._true, placed, weights)
        joint, joint_draws = estimate_frechet(self._beside_ecgs(self._true), self._beside_ecgs(placed), weights)
        figures = CineFigures(estimate_mean(ssim, weights), estimate_mean(psnr, weights), frechet, joint, consistency)
        self._report(name, 2, 2)
        return ScoredCines(figures, ssim, psnr, frechet_draws, joint_draws)

    def measure_ventricles(self, cines: Cines) -> LeftVentricles:
        """Return the left ventricles as the segmenter measures them on the cines."""
        distinct, places = find_distinct(cines)
        return self._segmenter.measure(distinct, self._pixel_mm).take(places)

    def check_ventricles(self, measured: LeftVentricles) -> dict[str, Consistency]:
        """Return how measured ventricles agree with the true hearts and with the reports."""
        return check_consistency(measured, self._patients.truth, self._patients.reported, self._weights)

    def check_report(self) -> dict[str, Consistency]:
        """Return how the reports agree with the true hearts."""
        return check_report(self._patients.truth, self._patients.reported, self._weights)

    def compare(self, drawn: ScoredCines, baseline: ScoredCines) -> tuple[CineFigures, Gain]:
        """Return the figures of a baseline, and by how much the drawn cines beat the baseline."""
        mine, theirs = drawn.figures, baseline.figures
        gain = Gain(
            ssim=estimate_mean(drawn.ssim - baseline.ssim, self._weights),
            psnr=estimate_mean(drawn.psnr - baseline.psnr, self._weights),
            frechet=estimate(theirs.frechet.value - mine.frechet.value, baseline.frechet - drawn.frechet),
            frechet_joint=estimate(
                theirs.frechet_joint.value - mine.frechet_joint.value, baseline.frechet_joint - drawn.frechet_joint
            ),
        )
        return theirs, gain

    def _place(self, cines: Cines) -> Floats:
        distinct, places = find_distinct(cines)
        return self._space.place(self._segmenter.features(distinct))[places]

    def _beside_ecgs(self, placed: Floats) -> Floats:
        return np.concatenate([placed, self._ecgs], axis=1)


def find_distinct(cines: Cines) -> tuple[Cines, NDArray[np.intp]]:
    """Return the different cines once each, and the place of each given cine among them: baselines repeat cines."""
    first: dict[bytes, int] = {}
    places = np.array([first.setdefault(cine.tobytes(), len(first)) for cine in cines])
    return cines[np.unique(places, return_index=True)[1]], places
