"""Certainty: intervals cover what they promise on people who did not fix them, whatever the residuals are like."""

import numpy as np
import pytest

from inference.manifest import MIN_R2
from training.stages.certainty import COVERAGE, FEWEST, fit_certainty


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
