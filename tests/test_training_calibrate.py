"""Calibration and thresholds, on numbers whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from inference.manifest import IsotonicCalibration, TemperatureCalibration
from inference.readout import PROBABILITY_DECIMALS
from inference.readout import calibrate as apply_calibration
from schemas.errors import InvalidSettings
from training.stages.calibrate import (
    Calibrate,
    as_threshold_name,
    choose_calibration,
    fit_bias,
    fit_heads,
    fit_isotonic,
    fit_temperature,
    parse_prevalences,
    share_slopes,
    shift_prevalence,
)
from training.stages.operating_points import NOBODY, family_wise_thresholds, operating_points
from training.stages.pooled_slopes import pool_slopes, slope_error


def fit_head(name, logits, labels, settings):
    (head,) = fit_heads([name], logits[:, None], labels[:, None], settings)
    return head


def draw(n, slope=0.5, bias=-1.0, seed=0):
    """Logits whose true probability is sigmoid(slope × logit + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, n)
    return logits, rng.random(n) < expit(slope * logits + bias)


def test_platts_method_finds_slope_and_bias():
    fitted = fit_temperature(*draw(40_000))
    assert 1 / fitted.temperature == pytest.approx(0.5, abs=0.02)
    assert fitted.bias == pytest.approx(-1, abs=0.05)


def test_a_logit_that_says_the_contrary_is_ignored_and_not_turned_round():
    logits, sick = draw(2000, slope=-1)
    fitted = fit_temperature(logits, sick)
    probabilities = apply_calibration(logits, fitted)

    assert fitted.temperature == 1000
    assert probabilities.mean() == pytest.approx(sick.mean(), abs=0.01)
    assert np.ptp(probabilities) < 0.01


def test_isotonic_regression_never_falls_and_is_never_sure():
    fitted = fit_isotonic(*draw(3000))
    probabilities = np.array(fitted.probabilities)

    assert (np.diff(probabilities) >= 0).all()
    assert (np.diff(fitted.logits) > 0).all()
    assert probabilities.min() >= 0.001 - 1e-9
    assert probabilities.max() <= 0.999 + 1e-9


def test_isotonic_is_chosen_where_a_line_does_not_do():
    logits, _ = draw(6000)
    stairs = np.random.default_rng(1).random(6000) < np.where(logits > 0, 0.7, 0.1)

    assert isinstance(choose_calibration(logits, stairs, 0), IsotonicCalibration)
    assert isinstance(choose_calibration(*draw(6000), 0), TemperatureCalibration)


def test_few_cases_shift_the_logits_and_leave_their_slope():
    logits, sick = draw(200)
    sick[:] = False
    sick[:3] = True
    fitted = choose_calibration(logits, sick, 0)

    assert fitted.temperature == 1
    assert apply_calibration(logits, fitted).mean() == pytest.approx(3.5 / 201, rel=1e-6)


def test_slopes_that_differ_by_luck_alone_become_one_and_certain_ones_stay():
    errors = np.array([0.1, 0.1, 0.1, 0.3])
    np.testing.assert_allclose(pool_slopes(np.array([1.0, 1.02, 0.98, 1.3]), errors), 1.0, atol=0.05)
    apart = np.array([0.5, 1.0, 2.0, 1.5])
    np.testing.assert_allclose(pool_slopes(apart, errors / 1000), apart, rtol=1e-6)
    moved = pool_slopes(apart, errors)
    assert abs(moved[3] - apart[3]) > abs(moved[2] - apart[2]) > 0  # the less certain, the further
    np.testing.assert_array_equal(pool_slopes(apart[:2], errors[:2]), apart[:2])


def test_a_slopes_error_is_what_repeated_fits_differ_by():
    fits = [(logits, fit_temperature(logits, sick)) for logits, sick in (draw(400, seed=seed) for seed in range(60))]
    spread = np.std([1 / fitted.temperature for _, fitted in fits])
    told = np.mean([slope_error(logits, 1 / fitted.temperature, fitted.bias) for logits, fitted in fits])
    assert told == pytest.approx(spread, rel=0.25)


def test_a_rare_diseases_slope_is_nearer_to_the_truth_for_the_others():
    errors = []
    for seed in range(12):
        cases = [draw(2000, 1.0, bias, seed=10 * seed + place) for place, bias in enumerate((-2, -4, -4, -7))]
        alone = [fit_temperature(*case) for case in cases]
        together = share_slopes(alone, cases)
        logits, sick = cases[3]
        assert apply_calibration(logits, together[3]).mean() == pytest.approx(sick.mean(), abs=0.001)
        errors.append([1 / fits[3].temperature - 1 for fits in (alone, together)])
    alone_error, together_error = np.square(errors).mean(axis=0)
    assert together_error < 0.7 * alone_error


def test_what_was_not_fitted_as_a_slope_is_left_alone():
    some, (logits, sick) = [draw(500, seed=seed) for seed in range(3)], draw(500, seed=3)
    few = np.zeros(500, bool)
    few[:3] = True
    cases = [*some, (logits, sick), (logits, few)]
    others = [fit_isotonic(logits, sick), fit_bias(logits, few)]
    assert share_slopes([*(fit_temperature(*case) for case in some), *others], cases)[3:] == others


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_development_fold_without_a_case_or_without_a_healthy_one_still_gives_a_head(share):
    logits = np.linspace(-3, 3, 50)
    head = fit_head("pericarditis", logits, np.full(50, share, np.float32), Calibrate())

    assert 0 < head.threshold < 1
    assert 0 < apply_calibration(np.zeros(1), head.calibration)[0] < 1


def test_thresholds_are_those_of_probabilities_as_they_are_reported():
    """Else a whole plateau of an isotonic calibration, at a third, say, would be just below its own threshold."""
    rng = np.random.default_rng(3)
    logits = np.round(rng.normal(0, 1, 3000), 1)
    sick = rng.random(3000) < np.where(logits > 0.4, 1 / 3, 1 / 9)
    head = fit_head("heart_failure", logits, sick.astype(np.float32), Calibrate())
    assert isinstance(head.calibration, IsotonicCalibration)
    reported = np.round(apply_calibration(logits, head.calibration), PROBABILITY_DECIMALS)
    for threshold in (head.operating_points.sensitivity_90, head.operating_points.specificity_95):
        assert threshold in reported


def test_labels_that_are_not_known_decide_nothing():
    logits, sick = draw(500)
    labels = sick.astype(np.float32)
    more = np.concatenate([logits, np.full(100, 9.0)]), np.concatenate([labels, np.full(100, np.nan, np.float32)])

    assert fit_head("pericarditis", *more, Calibrate()) == fit_head("pericarditis", logits, labels, Calibrate())
    fit_head("pericarditis", np.zeros(3), np.full(3, np.nan, np.float32), Calibrate())


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 200), st.integers(0, 10_000), st.integers(1, 3))
def test_thresholds_are_the_last_that_keep_their_promise(n, seed, decimals):
    rng = np.random.default_rng(seed)
    probabilities = rng.random(n).round(decimals)  # with ties
    sick = rng.random(n) < 0.4
    sick[0], sick[1] = True, False
    points = operating_points(probabilities, sick)

    def sensitivity(threshold):
        return (probabilities[sick] >= threshold).mean()

    def specificity(threshold):
        return (probabilities[~sick] < threshold).mean()

    assert sensitivity(points.sensitivity_90) >= 0.9
    assert all(sensitivity(p) < 0.9 for p in probabilities if p > points.sensitivity_90)
    if points.specificity_95 < 1:  # otherwise nobody may be flagged
        assert specificity(points.specificity_95) >= 0.95
    assert all(specificity(p) < 0.95 for p in probabilities if p < points.specificity_95)


def drawn_cohort(n, seed, decimals=6):
    """Probabilities and labels of three diseases that often come together; some labels are not known."""
    rng = np.random.default_rng(seed)
    burden = rng.normal(0, 1, n)
    probabilities = expit(burden[:, None] + rng.normal(-2, 1, (n, 3))).round(decimals).clip(0.001, 0.999)
    labels = (rng.random((n, 3)) < probabilities).astype(np.float32)
    labels[rng.random((n, 3)) < 0.1] = np.nan
    return probabilities, labels


def healthy_alarms(probabilities, labels, thresholds):
    healthy = (labels == 0).any(axis=1) & ~(labels == 1).any(axis=1)
    return (probabilities[healthy] >= np.array(thresholds)).any(axis=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.02, 0.1, 0.3]))
def test_the_family_wise_rate_is_kept_and_no_disease_pays_for_another(n, seed, decimals, rate):
    probabilities, labels = drawn_cohort(n, seed, decimals)
    thresholds = family_wise_thresholds(probabilities, labels, rate)
    alarms = healthy_alarms(probabilities, labels, thresholds)
    assert alarms.sum() <= rate * len(alarms)
    assert all(0 < threshold < 1 for threshold in thresholds)


def test_the_family_wise_rate_is_used_up_and_shared_alike():
    probabilities, labels = drawn_cohort(20_000, 1)
    thresholds = family_wise_thresholds(probabilities, labels, 0.1)
    assert healthy_alarms(probabilities, labels, thresholds).mean() == pytest.approx(0.1, abs=0.002)
    shares = [(probabilities[labels[:, k] == 0, k] >= thresholds[k]).mean() for k in range(3)]
    assert np.ptp(shares) < 0.005
    assert 0.1 / 3 < np.mean(shares) < 0.1  # diseases share their false alarms


def test_where_one_alarm_would_be_too_many_nobody_of_the_development_fold_is_flagged():
    probabilities, labels = np.array([[0.2], [0.7], [0.99999]]), np.zeros((3, 1))
    (threshold,) = family_wise_thresholds(probabilities, labels, 0.1)
    assert 0.99999 < threshold <= NOBODY


@pytest.mark.parametrize("fit", [fit_temperature, fit_isotonic, fit_bias])
def test_another_prevalence_multiplies_all_odds_by_the_same_factor(fit):
    logits, sick = draw(3000)
    before = fit(logits, sick)
    after = shift_prevalence(before, 0.3, 0.02)
    factors = logit(apply_calibration(logits, after)) - logit(apply_calibration(logits, before))

    at_knots = np.isin(logits, before.logits) if isinstance(before, IsotonicCalibration) else slice(None)
    np.testing.assert_allclose(factors[at_knots], logit(0.02) - logit(0.3), atol=1e-6)


def test_another_prevalence_flags_the_same_people():
    logits, sick = draw(3000)
    labels = sick.astype(np.float32)
    plain = fit_head("heart_failure", logits, labels, Calibrate())
    rarer = fit_head("heart_failure", logits, labels, Calibrate(prevalence={"heart_failure": 0.01}))

    assert rarer.threshold < plain.threshold
    flags = [apply_calibration(logits, head.calibration) >= head.threshold for head in (plain, rarer)]
    assert (flags[0] != flags[1]).mean() < 0.002
    assert apply_calibration(logits, rarer.calibration).mean() < 0.05


def test_the_threshold_that_flags_is_a_setting():
    logits, sick = draw(3000)
    heads = [
        fit_head("heart_failure", logits, sick.astype(np.float32), Calibrate(threshold=point))
        for point in ("sensitivity_90", "specificity_95", "family_wise")
    ]
    assert heads[0].operating_points == heads[1].operating_points == heads[2].operating_points
    assert heads[2].threshold == heads[2].operating_points.family_wise
    assert heads[2].operating_points.family_wise_rate == 0.1
    assert heads[0].threshold == heads[0].operating_points.sensitivity_90 < heads[1].threshold


def test_misspelt_options_are_refused_with_what_there_is():
    assert parse_prevalences(["heart_failure=0.02"]) == {"heart_failure": 0.02}
    for text in ("heart=0.1", "heart_failure", "heart_failure=much"):
        with pytest.raises(InvalidSettings, match="DISEASE=SHARE"):
            parse_prevalences([text])
    with pytest.raises(InvalidSettings, match="specificity_95"):
        as_threshold_name("youden")
    with pytest.raises(InvalidSettings, match="between 0 and 1"):
        shift_prevalence(TemperatureCalibration(temperature=1), 0.3, 1)
