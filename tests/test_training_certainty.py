"""Certainty: intervals cover what they promise on people who did not fix them, whatever the residuals are like."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from inference.bundle import default_bundle, load_bundle
from inference.manifest import MIN_R2, Certainty
from training.evaluation.coverage import measure_coverage, write_coverage
from training.evaluation.truth import Truth
from training.stages.certainty import COVERAGE, FEWEST, fit_certainty

MANIFEST = load_bundle(default_bundle()).manifest
MANIFEST_WITHOUT = msgspec.structs.replace(
    MANIFEST,
    phenotypes=tuple(msgspec.structs.replace(head, certainty=msgspec.UNSET) for head in MANIFEST.phenotypes),
)


def people(n, seed, noise=1.0):
    """Truths and estimates of two measurements: one that is estimated well, with skewed residuals, and one that is not;
    of one person in four, who is flagged, the residuals are three times as wide."""
    rng = np.random.default_rng(seed)
    flagged = rng.random(n) < 0.25
    truths = rng.normal(50, 10, (n, 2))
    residuals = noise * np.where(flagged, 3.0, 1.0) * (rng.gamma(2, 2, n) - 4)
    return np.stack([truths[:, 0] - residuals, np.full(n, 50.0)], axis=1), truths, flagged


@pytest.mark.parametrize("seed", [0, 1])
def test_an_interval_covers_nine_of_ten_new_people_flagged_or_not(seed):
    fitted, _ = fit_certainty(*people(4000, seed))
    estimates, truths, flagged = people(40_000, seed + 100)
    missed = np.abs(truths - estimates)[:, 0]
    assert (missed[~flagged] <= fitted.half_width).mean() == pytest.approx(COVERAGE, abs=0.015)
    assert (missed[flagged] <= fitted.half_width_flagged).mean() == pytest.approx(COVERAGE, abs=0.03)
    assert fitted.half_width_flagged > 2 * fitted.half_width


def test_an_estimate_that_is_the_mean_of_people_says_nothing():
    well, badly = fit_certainty(*people(4000, 2))
    assert badly.r2 < MIN_R2 < well.r2


def test_what_few_were_measured_for_has_no_certainty_and_a_small_group_takes_that_of_all():
    estimates, truths, flagged = people(400, 3)
    truths[FEWEST - 1 :, 0] = np.nan
    first, _ = fit_certainty(estimates, truths, flagged)
    assert first is None
    _, lone = fit_certainty(estimates, truths, np.arange(400) < 3)
    assert lone.half_width_flagged == pytest.approx(lone.half_width, rel=0.05)


def test_coverage_is_told_by_group_and_of_the_measurement_that_is_covered_least():
    heads = tuple(
        msgspec.structs.replace(head, certainty=Certainty(half_width=1.0, half_width_flagged=3.0, r2=0.5))
        for head in MANIFEST.phenotypes
    )
    manifest = msgspec.structs.replace(MANIFEST, phenotypes=heads)
    probabilities = np.zeros((4, 5))
    probabilities[3] = 1.0  # flagged: its interval is wider
    truths = np.zeros((4, 82))
    truths[:, 3] = [0.5, 1.5, np.nan, 2.5]  # LVEF
    predictions = SimpleNamespace(probabilities=probabilities, phenotypes=np.zeros((4, 82)))
    truth = Truth(
        patient_ids=np.array(list("abcd")),
        diseases=np.array([[0.0] * 5] * 3 + [[1.0] * 5]),
        subtypes=np.full(4, -1, np.int8),
        phenotypes=truths,
        age_years=np.array([40.0, 65.0, 65.0, 75.0]),
        female=np.array([1.0, 1.0, 0.0, 0.0]),
        atrial_fibrillation=np.zeros(4),
        noise=np.full(4, np.nan),
    )
    found = measure_coverage(predictions, truth, manifest)
    assert (found["everybody"].lvef, found["everybody"].least_covered) == (pytest.approx(2 / 3, abs=1e-3), "LVEF")
    assert (found["flagged"].lvef, found["not flagged"].lvef, found["sex: female"].lvef) == (1.0, 0.5, 0.5)
    assert found["has heart failure"].records == 1
    assert measure_coverage(predictions, truth, MANIFEST_WITHOUT) == {}
    assert any("66.7 % (LVEF)" in line for line in write_coverage(found))
