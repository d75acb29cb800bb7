"""What drawn cines are worth: a generator, its baselines and its ceiling, on simulated patients nobody learned from.

Everything is simulated now: the patients who are evaluated, and patients of the generator's own training seed, whose
cines the baselines answer with and whose features span the space of the Fréchet distance. True cines are brought to the
generator's frames and pixels before anything is compared. Intervals are those of the patient-level bootstrap.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.generator import CineGenerator
from inference.generator_manifest import check_embedding
from schemas.errors import InvalidSettings
from schemas.messages import ModelReference
from training.evaluation.bootstrap import DRAWS, Estimate, draw_patients, estimate
from training.evaluation.evaluation import BOOTSTRAP_SEED, Report, learned_seed
from training.instruments.left_ventricle import LeftVentricles
from training.instruments.rounding import Floats
from training.instruments.segmenter import CineSegmenter, SegmenterCard, default_segmenter, load_segmenter

from .baselines import answer_with_training_cines
from .consistency import Consistency, check_consistency, check_report
from .frechet import CINE_AXES, ECG_AXES, FeatureSpace, estimate_frechet
from .patients import People, Simulation
from .similarity import Cines, estimate_mean, measure_psnr, measure_ssim

TRAINING_PATIENTS = 1000
"""Of the generator's seed, simulated anew; eight in ten of them, its training fold, are used."""
SEED_IF_NOT_TOLD = 0
CHUNK_CINES = 8


@dataclass(frozen=True, slots=True)
class CineFigures:
    """How good the cines of one source are.

    Attributes:
        ssim, psnr: against the patient's true cine; dB.
        frechet: of the cines' features; see `cine_frechet`.
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
class CineEvaluation:
    """All of it.

    Attributes:
        patients: how many were simulated, of which seed, and how many were evaluated.
        refusals: ECGs that the gate refused, by code; they are in no figure below.
        training: whose cines the baselines answered with.
        drawn, ceiling: of the generator, and of its autoencoder's own reconstruction of the true cines.
        true: consistency of the true cines: what the segmentation itself misses.
        reported: of the report: what the ECG's model misses.
        true_cines, drawn_cines: (n, frames, rows, columns), for pictures.
        systole: (n,) the frame of the true cine in which the left ventricle is smallest.
    """

    patients: dict[str, int]
    refusals: dict[str, int]
    generator: ModelReference
    model: ModelReference
    segmenter: SegmenterCard
    training: dict[str, int]
    drawn: CineFigures
    baselines: dict[str, tuple[CineFigures, Gain]]
    ceiling: CineFigures
    true: dict[str, Consistency]
    reported: dict[str, Consistency]
    true_cines: Cines
    drawn_cines: Cines
    systole: NDArray[np.intp]


def evaluate_generator(
    generator: CineGenerator,
    bundle: Bundle,
    *,
    seed: int,
    patients: int,
    training_patients: int = TRAINING_PATIENTS,
    segmenter: Path | None = None,
    processes: int | None = None,
    report: Report = lambda *_: None,
    draws: int = DRAWS,
) -> CineEvaluation:
    """Evaluate a generator on simulated patients.

    Args:
        generator: draws the cines.
        bundle: embeds the ECGs and reports LVEF, LVEDV and thickness of the wall.
        seed: of the patients: neither the generator's nor the bundle's.
        patients: how many.
        training_patients: simulated of the generator's seed, for baselines and features.
        segmenter: its folder; the shipped one by default.
        processes: that simulate; one a core by default.
        report: told of the progress.
        draws: of the bootstrap.

    Raises:
        ForeignEmbedding: the generator belongs to another bundle.
        InvalidSettings: the patients were learned from, or none of them could be screened, or there is no segmenter.
    """
    check_embedding(generator.ecg_model, bundle.reference)
    training_seed = learned_seed(generator.manifest.trained_on) or SEED_IF_NOT_TOLD
    if seed in (training_seed, learned_seed(bundle.manifest.trained_on)):
        raise InvalidSettings(f"seed {seed} was learned from: evaluate on patients of another seed")
    outliner = load_segmenter(segmenter or default_segmenter())
    simulation = Simulation(bundle, generator.reduce, processes, report)
    training = simulation.people(training_seed, training_patients, "train")
    people = simulation.people(seed, patients, "test")
    judge = _Judge(outliner, training, people, pixel_mm=generator.geometry.pixel_mm, draws=draws, report=report)
    seen = judge.look(people.cines)
    drawn_cines = draw_cines(generator, people.embeddings, report)
    drawn = judge.measure("drawn", drawn_cines)
    answers = answer_with_training_cines(training.cines, training.embeddings, people.embeddings, seed)
    return CineEvaluation(
        patients={"seed": seed, "simulated": patients, "evaluated": len(people.cines)},
        refusals=people.refusals,
        generator=generator.reference,
        model=bundle.reference,
        segmenter=outliner.card,
        training={"seed": training_seed, "cines": len(training.cines)},
        drawn=drawn.figures,
        baselines={name: judge.compare(drawn, judge.measure(name, cines)) for name, cines in answers.items()},
        ceiling=judge.measure("ceiling", generator.reconstruct(people.cines)).figures,
        true=judge.check(seen),
        reported=judge.check_report(),
        true_cines=people.cines,
        drawn_cines=drawn_cines,
        systole=seen.volume_ml.argmin(axis=1),
    )


def as_json(found: CineEvaluation) -> dict[str, object]:
    """Return the figures as `cardiacnets evaluate --generator --json` prints them; NaN becomes null."""
    return {
        **_entries(found.drawn),
        "baselines": {
            name: {**_entries(figures), "gain": asdict(gain)} for name, (figures, gain) in found.baselines.items()
        },
        "ceiling": _entries(found.ceiling),
        "true_cines": _consistencies(found.true),
        "report": _consistencies(found.reported),
        "patients": found.patients,
        "refusals": found.refusals,
        "training_cines": found.training,
        "generator": found.generator,
        "model": found.model,
        "segmenter": found.segmenter,
    }


def draw_cines(generator: CineGenerator, embeddings: Floats, report: Report) -> Cines:
    """Return a cine for each embedding, the number of the patient being its seed."""
    drawn = np.empty((len(embeddings), *generator.geometry.shape), np.uint8)
    for start in range(0, len(drawn), CHUNK_CINES):
        seeds = range(start, min(start + CHUNK_CINES, len(drawn)))
        drawn[seeds.start : seeds.stop] = generator.draw(embeddings[seeds.start : seeds.stop].astype(np.float32), seeds)
        report("drawing", seeds.stop, len(drawn))
    return drawn


def find_distinct(cines: Cines) -> tuple[Cines, NDArray[np.intp]]:
    """Return the cines of which there are several once, and where among them each one lies: baselines repeat theirs."""
    first: dict[bytes, int] = {}
    places = np.array([first.setdefault(cine.tobytes(), len(first)) for cine in cines])
    return cines[np.unique(places, return_index=True)[1]], places


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """Figures, and what they were made of: by patient, and by draw of the bootstrap."""

    figures: CineFigures
    ssim: Floats
    psnr: Floats
    frechet: Floats
    frechet_joint: Floats


class _Judge:
    """Measures cines of the evaluated people, all sources by the same draws of the bootstrap."""

    def __init__(
        self,
        segmenter: CineSegmenter,
        training: People,
        people: People,
        *,
        pixel_mm: float,
        draws: int,
        report: Report,
    ) -> None:
        self._segmenter = segmenter
        self._people = people
        self._pixel_mm = pixel_mm
        self._report = report
        self._weights = draw_patients(people.patient_ids, draws, BOOTSTRAP_SEED)
        report("features", 0, 1)
        self._space = FeatureSpace.fit(segmenter.features(training.cines), CINE_AXES)
        self._ecgs = FeatureSpace.fit(training.embeddings, ECG_AXES).place(people.embeddings)
        self._true = self._place(people.cines)
        report("features", 1, 1)

    def measure(self, name: str, cines: Cines) -> _Measured:
        """Return all figures of a source's cines, in the order of the people."""
        self._report(name, 0, 2)
        consistency = self.check(self.look(cines))
        self._report(name, 1, 2)
        people, weights = self._people, self._weights
        ssim, psnr = measure_ssim(people.cines, cines), measure_psnr(people.cines, cines)
        placed = self._place(cines)
        frechet, frechet_draws = estimate_frechet(self._true, placed, weights)
        joint, joint_draws = estimate_frechet(self._beside_ecgs(self._true), self._beside_ecgs(placed), weights)
        figures = CineFigures(estimate_mean(ssim, weights), estimate_mean(psnr, weights), frechet, joint, consistency)
        self._report(name, 2, 2)
        return _Measured(figures, ssim, psnr, frechet_draws, joint_draws)

    def look(self, cines: Cines) -> LeftVentricles:
        """Return what is measured on a source's cines."""
        distinct, places = find_distinct(cines)
        return self._segmenter.measure(distinct, self._pixel_mm).take(places)

    def check(self, measured: LeftVentricles) -> dict[str, Consistency]:
        """Return how that agrees with truth and report."""
        return check_consistency(measured, self._people.truth, self._people.reported, self._weights)

    def check_report(self) -> dict[str, Consistency]:
        """Return how the report agrees with the truth."""
        return check_report(self._people.truth, self._people.reported, self._weights)

    def compare(self, drawn: _Measured, baseline: _Measured) -> tuple[CineFigures, Gain]:
        """Return a baseline's figures, and by how much the drawn cines beat them."""
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


def _entries(figures: CineFigures) -> dict[str, object]:
    return {
        "ssim": figures.ssim,
        "psnr": figures.psnr,
        "frechet": figures.frechet,
        "frechet_joint": figures.frechet_joint,
        **_consistencies(figures.consistency),
    }


def _consistencies(found: dict[str, Consistency]) -> dict[str, object]:
    return {f"{name}_consistency": one for name, one in found.items()}
