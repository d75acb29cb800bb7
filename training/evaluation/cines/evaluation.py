"""The evaluation of a cine generator, its baselines and its ceiling, on simulated patients of another seed.

All patients are simulated for the evaluation: the evaluated ones, and patients of the generator's training seed. The
baselines answer with cines of the latter, and their features span the space of the Fréchet distance. True cines are
converted to the generator's frames and pixels before they are compared. Intervals come from a bootstrap over patients.
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
from training.arrays import Floats
from training.evaluation.bootstrap import DRAWS
from training.evaluation.evaluation import StepProgress, learned_seed
from training.instruments.segmenter import SegmenterCard, default_segmenter, load_segmenter

from .baselines import answer_with_training_cines
from .consistency import Consistency
from .patients import Simulation
from .scorer import CineFigures, CineScorer, Gain
from .similarity import Cines

TRAINING_PATIENTS = 1000
"""Patients of the generator's seed that are simulated. Eight of ten, its training fold, are used."""
SEED_IF_NOT_TOLD = 0
CHUNK_CINES = 8


@dataclass(frozen=True, slots=True, eq=False)
class CineEvaluation:
    """All figures of one evaluation.

    Attributes:
        patients: their seed, how many were simulated, and how many were evaluated.
        refusals: how many ECGs the gate refused, by code. They are in no figure below.
        training: seed and number of the cines that the baselines answer with.
        drawn, ceiling: figures of the generator, and of its autoencoder's reconstruction of the true cines.
        true: consistency of the true cines, which shows the error of the segmentation.
        reported: consistency of the report, which shows the error of the ECG model.
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
    report: StepProgress = lambda *_: None,
    draws: int = DRAWS,
) -> CineEvaluation:
    """Evaluate a generator on simulated patients.

    Args:
        generator: draws the cines.
        bundle: embeds the ECGs and reports LVEF, LVEDV and thickness of the wall.
        seed: of the patients; another one than those of the generator and of the bundle.
        patients: how many.
        training_patients: patients of the generator's seed, for baselines and features.
        segmenter: its folder; None: the shipped one.
        processes: number of simulating processes; None: one a core.
        report: called with the progress.
        draws: of the bootstrap.

    Raises:
        ForeignEmbedding: the generator belongs to another bundle.
        InvalidSettings: a model learned from patients of the seed, or no patient can be screened, or there is no
            segmenter.
    """
    check_embedding(generator.ecg_model, bundle.reference)
    training_seed = learned_seed(generator.manifest.trained_on) or SEED_IF_NOT_TOLD
    if seed in (training_seed, learned_seed(bundle.manifest.trained_on)):
        raise InvalidSettings(f"the model learned from patients of seed {seed}: evaluate on patients of another seed")
    outliner = load_segmenter(segmenter or default_segmenter())
    simulation = Simulation(bundle, generator.reduce, processes, report)
    training = simulation.screen_patients(training_seed, training_patients, "train")
    screened = simulation.screen_patients(seed, patients, "test")
    scorer = CineScorer(outliner, training, screened, pixel_mm=generator.geometry.pixel_mm, draws=draws, report=report)
    seen = scorer.measure_ventricles(screened.cines)
    drawn_cines = draw_cines(generator, screened.embeddings, report)
    drawn = scorer.score("drawn", drawn_cines)
    answers = answer_with_training_cines(training.cines, training.embeddings, screened.embeddings, seed)
    return CineEvaluation(
        patients={"seed": seed, "simulated": patients, "evaluated": len(screened.cines)},
        refusals=screened.refusals,
        generator=generator.reference,
        model=bundle.reference,
        segmenter=outliner.card,
        training={"seed": training_seed, "cines": len(training.cines)},
        drawn=drawn.figures,
        baselines={name: scorer.compare(drawn, scorer.score(name, cines)) for name, cines in answers.items()},
        ceiling=scorer.score("ceiling", generator.reconstruct(screened.cines)).figures,
        true=scorer.check_ventricles(seen),
        reported=scorer.check_report(),
        true_cines=screened.cines,
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


def draw_cines(generator: CineGenerator, embeddings: Floats, report: StepProgress) -> Cines:
    """Return a cine for each embedding. Its seed is the number of the patient."""
    drawn = np.empty((len(embeddings), *generator.geometry.shape), np.uint8)
    for start in range(0, len(drawn), CHUNK_CINES):
        seeds = range(start, min(start + CHUNK_CINES, len(drawn)))
        drawn[seeds.start : seeds.stop] = generator.draw(embeddings[seeds.start : seeds.stop].astype(np.float32), seeds)
        report("drawing", seeds.stop, len(drawn))
    return drawn


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
