"""A cohort of a few patients in the documented layout, in whom one hidden number drives ECG, cine and labels."""

from dataclasses import replace

import numpy as np

from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES, SUBTYPES
from training.cohort.layout import CINES, ECGS, Row, open_cohort
from training.cohort.writer import map_array, write_cohort

FOLDS = {"train": 40, "development": 40, "test": 8}
TIMES = np.arange(5000) / 500
PIXELS = np.linspace(-1, 1, 96)


def write_tiny_cohort(
    folder, *, folds=FOLDS, unmeasured=None, unscanned=None, cines=True, ecgs_a_patient=1, test_seed=0
):
    """Write and open it; `test_seed` changes the test fold alone.

    Of `folds` everybody is scanned and measured; `unmeasured` more have a scan that nobody measured, and `unscanned`
    more diagnoses alone.
    """
    kinds = folds, unmeasured or {}, unscanned or {}
    names = [fold for kind in kinds for fold, count in kind.items() for _ in range(count)]
    measured, scans, rows = np.cumsum([sum(kind.values()) for kind in kinds]).tolist()
    with write_cohort(folder, source="simulated", rows=rows, scans=scans, cines=cines, seed=1) as writer:
        ecgs, drawn = map_array(writer.folder / ECGS), map_array(writer.folder / CINES)
        for place, fold in enumerate(names):
            rng = np.random.default_rng([place, test_seed if fold == "test" else 0])
            severity = rng.uniform(-1, 1)
            ecgs[place] = draw_ecg(severity, rng)
            if cines and place < scans:
                drawn[place] = draw_cine(severity, rng)
            row = draw_row(place, fold, severity, rng, ecgs_a_patient, cines)
            phenotypes = row.phenotypes if place < measured else None
            writer.add(replace(row, phenotypes=phenotypes, cine=row.cine if place < scans else -1))
    return open_cohort(folder)


def draw_ecg(severity, rng):
    beats = np.exp(-(((TIMES * 1.2 + rng.random()) % 1 - 0.5) ** 2) / (2 * 0.02**2))
    leads = np.linspace(0.4, 1.0 + 0.5 * severity, 12)[:, None]
    return np.round((leads * beats + rng.normal(0, 0.02, (12, 5000))) / 0.005).astype(np.int16)


def draw_cine(severity, rng):
    radius = 0.45 + 0.25 * severity + 0.1 * np.sin(np.linspace(0, 2 * np.pi, 50))[:, None, None]
    inside = PIXELS[:, None] ** 2 + PIXELS[None, :] ** 2 < radius**2
    return np.clip(60 + 120 * inside + rng.normal(0, 8, (50, 96, 96)), 0, 255).astype(np.uint8)


def draw_row(place, fold, severity, rng, ecgs_a_patient, cines):
    sick = severity + rng.normal(0, 0.3) > 0
    phenotypes = 100 + 20 * severity * np.linspace(0.5, 1, len(MEASUREMENTS)) + rng.normal(0, 2, len(MEASUREMENTS))
    phenotypes[rng.random(len(MEASUREMENTS)) < 0.1] = np.nan
    return Row(
        record_id=f"r{place}",
        patient_id=f"{fold}-{place // ecgs_a_patient}",
        fold=fold,
        female=bool(rng.random() < 0.5),
        diseases={disease: bool(sick) if i % 2 else bool(rng.random() < 0.4) for i, disease in enumerate(DISEASES)},
        subtype=SUBTYPES[int(rng.integers(3))] if sick else None,
        phenotypes=phenotypes,
        cine=place if cines else -1,
    )
