"""The figures of the evaluation, against scikit-learn's or a closed form, on patients with a planted relation."""

import numpy as np
import pytest
from planted import draw_planted
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from training.evaluation.agreement import agree
from training.evaluation.bootstrap import draw_patients
from training.evaluation.calibration import measure_calibration
from training.evaluation.discrimination import discriminate, weighted_auroc, weighted_average_precision
from training.evaluation.retrieval import retrieve


@pytest.fixture(scope="module")
def planted():
    return draw_planted(3000, seed=3)


@pytest.fixture(scope="module")
def weights(planted):
    return draw_patients(planted[0].patient_ids, 200, seed=0)


def test_a_draw_of_patients_takes_all_their_records_together():
    drawn = draw_patients(np.array(["a", "a", "b", "c", "c"]), 50, seed=1)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3] == drawn[:, 4]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(drawn, axis=0)) > 1


def test_weighted_curves_are_those_of_scikit_learn_for_each_draw_and_with_ties():
    rng = np.random.default_rng(0)
    outcomes = (rng.random(300) < 0.2).astype(float)
    scores = np.round(outcomes + rng.standard_normal(300), 1)
    drawn = rng.integers(0, 3, (4, 300)).astype(float)
    for row, auroc, auprc in zip(
        drawn,
        weighted_auroc(scores, outcomes, drawn),
        weighted_average_precision(scores, outcomes, drawn),
        strict=True,
    ):
        assert auroc == pytest.approx(roc_auc_score(outcomes, scores, sample_weight=row))
        assert auprc == pytest.approx(average_precision_score(outcomes, scores, sample_weight=row))


def test_the_interval_holds_the_figure_and_narrows_with_patients(planted, weights):
    truth, predictions = planted
    found, _ = discriminate(predictions.probabilities[:, 0], truth.diseases[:, 0], weights)
    assert found.auroc.low < found.auroc.value < found.auroc.high
    few = slice(0, 300)
    fewer, _ = discriminate(
        predictions.probabilities[few, 0],
        truth.diseases[few, 0],
        draw_patients(truth.patient_ids[few], 200, seed=0),
    )
    assert fewer.auroc.high - fewer.auroc.low > found.auroc.high - found.auroc.low


def test_a_perfect_predictor_has_an_auroc_of_one_and_a_useless_one_of_a_half(planted, weights):
    truth, _ = planted
    outcomes = truth.diseases[:, 0]
    assert discriminate(outcomes.copy(), outcomes, weights)[0].auroc.value == 1
    assert discriminate(np.zeros(len(outcomes)), outcomes, weights)[0].auroc.value == 0.5


def test_planted_probabilities_are_found_to_be_calibrated_and_stretched_ones_not(planted, weights):
    truth, predictions = planted
    outcomes = truth.diseases[:, 0]
    good = measure_calibration(predictions.probabilities[:, 0], outcomes, weights)
    stretched = 1 / (1 + np.exp(-2 * predictions.logits[:, 0]))
    assert 0.8 < good.calibration_slope < 1.2
    worse = measure_calibration(stretched, outcomes, weights)
    assert worse.calibration_slope == pytest.approx(good.calibration_slope / 2, rel=0.05)


def test_agreement_is_that_of_scikit_learn(planted, weights):
    truth, predictions = planted
    found, _ = agree(predictions.phenotypes, truth.phenotypes, weights)
    r2 = r2_score(truth.phenotypes, predictions.phenotypes, multioutput="raw_values")
    assert found.mean_r2.value == pytest.approx(r2.mean(), abs=1e-5)


def test_the_right_scan_is_found_first_where_both_sides_agree_and_by_chance_elsewhere():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 16))
    assert all(found.median_rank == 1 for found in retrieve(vectors, vectors).values())
    assert all(60 < found.median_rank < 140 for found in retrieve(vectors, rng.standard_normal((200, 16))).values())
