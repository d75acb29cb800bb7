"""Patients with a planted relation between what a model says and what is true of them, without any network."""

import numpy as np
from scipy.special import expit

from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES, SUBTYPES
from training.evaluation.predictions import Predictions
from training.evaluation.truth import Truth

PREVALENCES = (0.14, 0.05, 0.09, 0.045, 0.02)


def draw_planted(n=600, seed=0, *, spread=1.6, explained=0.4, measured_mean=100.0):
    """Return truth and predictions: calibrated probabilities, and measurements with a given R²."""
    rng = np.random.default_rng(seed)
    logits = np.log(PREVALENCES) - 0.4 * spread**2 + spread * rng.standard_normal((n, len(DISEASES)))
    probabilities = np.round(expit(logits), 6)
    estimates = measured_mean + 10 * np.sqrt(explained) * rng.standard_normal((n, len(MEASUREMENTS)))
    noise = 10 * np.sqrt(1 - explained) * rng.standard_normal((n, len(MEASUREMENTS)))
    subtype = rng.dirichlet(np.ones(len(SUBTYPES)), n)
    embedding = rng.standard_normal((n, 256))
    diseases = (rng.random((n, len(DISEASES))) < probabilities).astype(float)
    truth = Truth(
        patient_ids=np.array([f"p{i}" for i in range(n)]),
        diseases=diseases,
        subtypes=np.where(diseases[:, 1] == 1, subtype.argmax(axis=1), -1).astype(np.int8),
        phenotypes=estimates + noise,
        age_years=rng.uniform(42, 82, n),
        female=(rng.random(n) < 0.5).astype(float),
        atrial_fibrillation=(rng.random(n) < 0.08).astype(float),
        noise=rng.lognormal(0, 0.4, n),
    )
    predictions = Predictions(
        screened=np.ones(n, bool),
        refusals={"flat_lead": 3},
        probabilities=probabilities,
        phenotypes=estimates,
        logits=logits,
        subtype=subtype,
        embedding=embedding / np.linalg.norm(embedding, axis=1, keepdims=True),
    )
    return truth, predictions
