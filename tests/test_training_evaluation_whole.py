"""The evaluation as a whole: what it refuses, what it counts, and what it writes."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from planted import draw_planted
from tiny_cohort import write_tiny_cohort
from typer.testing import CliRunner

from engines.options import EngineOptions
from inference.bundle import default_bundle, load_bundle
from inference.open_engine_for_bundle import open_chosen_engine
from inference.screener import Screener
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from stream.cli import app
from stream.commands.evaluation_tables import print_tables
from training.cohort.provenance import describe_cohort
from training.evaluation.baselines import (
    MissingBaseline,
    default_baselines,
    find_classic,
    find_network,
    find_oracle,
    learned_from,
)
from training.evaluation.bootstrap import Estimate, draw_patients
from training.evaluation.classic import FEATURES, fit_classic, predict_classic
from training.evaluation.decision import draw_decision_curve
from training.evaluation.discrimination import operate
from training.evaluation.evaluation import as_json, evaluate, is_unseen, refuse_seen
from training.evaluation.predictions import predict_cohort
from training.evaluation.real_ecgs import evaluate_real_ecgs
from training.evaluation.report import write_report
from training.evaluation.subgroups import measure_subgroups
from training.evaluation.truth import describe_participants
from training.evaluation.wording import percent, signed
from training.instruments.linear_model import fit_logistic, fit_ridge, load_linear
from training.simulation.simulate_cohort import simulate_cohort

NOWHERE = Path("no-baselines-here")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """24 patients, all of them to be tested on; the first one's ECG is flat."""
    folder = tmp_path_factory.mktemp("evaluated") / "cohort"
    cohort = simulate_cohort(folder, 24, 4242, cines=False, folds=(0.0, 0.0), processes=1)
    ecgs = np.lib.format.open_memmap(cohort.folder / "ecgs.npy", mode="r+")
    ecgs[0] = 0
    ecgs.flush()
    return cohort


@pytest.fixture(scope="module")
def evaluation(unseen, bundle):
    return evaluate(unseen, bundle, NOWHERE, draws=50)


def test_an_operating_point_is_what_counting_gives():
    outcomes = np.array([1.0] * 10 + [0.0] * 90)
    probabilities = np.array([0.9] * 8 + [0.1] * 2 + [0.9] * 12 + [0.1] * 78)
    point = operate(probabilities, outcomes, 0.5, draw_patients(np.arange(100).astype(str), 50, 0))
    assert (point.sensitivity, point.specificity) == (0.8, pytest.approx(78 / 90, abs=1e-6))
    assert (point.ppv, point.npv) == (0.4, pytest.approx(78 / 80, abs=1e-6))
    assert (point.number_needed_to_image, point.flagged_share) == (2.5, 0.2)
    assert point.sensitivity_interval[0] < 0.8 <= point.sensitivity_interval[1]


def test_a_point_at_which_nobody_is_flagged_has_no_ppv():
    point = operate(np.full(20, 0.1), np.eye(20)[0], 0.5, np.ones((3, 20), np.uint16))
    assert np.isnan(point.ppv)
    assert point.sensitivity == 0


def test_net_benefit_of_imaging_everybody_is_the_prevalence_less_the_weighted_rest():
    outcomes = np.array([1.0] * 20 + [0.0] * 80)
    curve = draw_decision_curve(outcomes, outcomes, (0.1, 0.25))
    assert curve.everybody == pytest.approx((0.2 - 0.8 / 9, 0.2 - 0.8 / 3), abs=1e-6)
    assert curve.model == (0.2, 0.2)  # who knows the truth images the ill alone


def test_subgroups_part_the_patients_and_leave_out_diseases_with_too_few_cases():
    truth, predictions = draw_planted(1500, seed=5)
    found = measure_subgroups(predictions, truth, draw_patients(truth.patient_ids, 8, 0))
    assert sum(group.records for group in found["sex"].values()) == 1500
    assert sum(group.records for group in found["noise"].values()) == 1500
    few = replace(truth, diseases=truth.diseases * [1, 1, 1, 1, 0])
    assert "pericarditis" not in measure_subgroups(predictions, few, np.ones((5, 1500), np.uint16))["sex"]["male"].auroc


def test_linear_models_come_back_from_disk_as_they_were_and_find_a_planted_line(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(5, 2, (400, 3))
    targets = features @ [[1.0], [-2.0], [0.0]] + 3
    features[rng.random(features.shape) < 0.02] = np.nan
    fitted = fit_ridge(features, targets, ("a", "b", "c"), ("t",))
    fitted.save(tmp_path / "ridge.npz")
    loaded = load_linear(tmp_path / "ridge.npz")
    np.testing.assert_array_equal(loaded.predict(features), fitted.predict(features))
    assert np.corrcoef(loaded.predict(features)[:, 0], targets[:, 0])[0, 1] > 0.95
    rare = np.zeros((400, 1))
    rare[:3] = 1
    assert not fit_logistic(features, rare, ("a", "b", "c"), ("ill",)).weights.any()  # only the prevalence
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(InvalidSettings, match="fit it again"):
        load_linear(tmp_path / "broken.npz")


@pytest.mark.learns
def test_the_classic_baseline_is_fitted_on_the_training_fold_alone(tmp_path):
    for test_seed in (0, 1):
        cohort = write_tiny_cohort(tmp_path / f"cohort{test_seed}", cines=False, test_seed=test_seed)
        fit_classic(cohort, tmp_path / f"classic{test_seed}")
    first, second = (load_linear(tmp_path / f"classic{seed}" / "ridge.npz") for seed in (0, 1))
    assert tuple(first.inputs) == FEATURES
    np.testing.assert_array_equal(first.weights, second.weights)
    answers = predict_classic(tmp_path / "classic0", cohort.ecgs, np.arange(4))
    assert answers.screened.all()
    assert ((answers.probabilities > 0) & (answers.probabilities < 1)).all()


def test_what_the_gate_refuses_is_counted_and_in_no_figure(evaluation):
    assert sum(evaluation.refusals.values()) == evaluation.cohort["records"] - evaluation.cohort["evaluated"] >= 1
    assert evaluation.refusals["flat_lead"] == 1
    counts = {found.discrimination.records for found in evaluation.measures.diseases.values()}
    assert counts == {evaluation.cohort["evaluated"]}


def test_what_is_evaluated_is_what_serving_answers(unseen, bundle):
    answers = predict_cohort(bundle, unseen.ecgs, np.array([1, 2]))
    records = [
        EcgRecord(
            record_id=str(row),
            leads=LEADS,
            sample_rate_hz=500.0,
            microvolts_per_step=5.0,
            samples=unseen.ecgs[row].astype("<i2").tobytes(),
        )
        for row in (1, 2)
    ]
    with closing(open_chosen_engine(bundle, "onnxruntime", EngineOptions(threads=1), rows=6)) as engine:
        served = [screening.finding for screening in Screener(bundle, engine).screen(records)]
    for row, finding in enumerate(served):
        probabilities = [risk.probability for risk in finding.risks]
        np.testing.assert_allclose(answers.probabilities[row], probabilities, atol=1e-4)
        np.testing.assert_allclose(answers.logits[row], finding.logits, atol=1e-3)
        np.testing.assert_allclose(answers.embedding[row], finding.embedding, atol=1e-3)
        np.testing.assert_allclose(answers.phenotypes[row], [p.value for p in finding.phenotypes], rtol=1e-3, atol=0.05)


def test_of_a_large_cohort_one_ecg_after_the_other_is_read(unseen, bundle):
    class OnDisk:
        """What would not fit into memory."""

        def __getitem__(self, row):
            assert np.ndim(row) == 0
            return unseen.ecgs[row]

    answers = predict_cohort(bundle, OnDisk(), np.arange(3))
    assert answers.screened.tolist() == [False, True, True]


def test_baselines_that_are_not_there_are_named_as_absent(evaluation):
    answer = json.loads(msgspec.json.encode(as_json(evaluation)))
    assert set(answer["diseases"]) == set(DISEASES)
    assert len(answer["phenotypes"]) == 82
    assert {name: "absent" in found for name, found in answer["baselines"].items()} == dict.fromkeys(
        ("classic", "without_alignment", "from_scratch", "cmr_oracle"), True
    )


def test_the_tables_say_where_nobody_knows_who_was_learned_from(evaluation, capsys):
    for known in (True, False):
        print_tables(replace(evaluation, unseen=known), None)
        assert ("not known whether the model learned from some" in capsys.readouterr().out) == (not known)


def test_a_baseline_of_other_patients_is_absent_and_says_so(unseen, bundle):
    shipped = default_baselines()
    assert not isinstance(find_network(shipped, "from_scratch", bundle.manifest.trained_on), MissingBaseline)
    other = find_network(shipped, "from_scratch", "mimic-iv-ecg cohort of 10 patients")
    assert isinstance(other, MissingBaseline)
    assert bundle.manifest.trained_on in other.reason
    assert not isinstance(find_classic(shipped, unseen, learned_from(shipped)), MissingBaseline)
    real = replace(unseen, description=msgspec.structs.replace(unseen.description, source="mimic-iv-ecg"))
    assert isinstance(find_classic(shipped, real, learned_from(shipped)), MissingBaseline)
    assert isinstance(find_oracle(shipped, real, learned_from(shipped)), MissingBaseline)


def test_patients_whom_the_baselines_learned_from_are_refused(unseen, bundle):
    stranger = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, trained_on="a cohort of seed 5"))
    seen = replace(unseen, description=msgspec.structs.replace(unseen.description, seed=0))
    with pytest.raises(InvalidSettings, match="the baselines in"):
        evaluate(seen, stranger, default_baselines())


def test_of_a_real_cohort_nobody_claims_what_the_manifest_does_not_tell(unseen, bundle, evaluation, tmp_path):
    real = replace(unseen, description=msgspec.structs.replace(unseen.description, source="uk-biobank", seed=None))
    assert is_unseen(real, bundle.manifest.trained_on)  # of simulated patients
    assert is_unseen(real, describe_cohort(real))
    assert not is_unseen(real, "UK Biobank and MIMIC-IV-ECG; the files do not say which records")
    uncalibrated = [msgspec.structs.replace(head, calibration=None) for head in bundle.manifest.diseases]
    manifest = msgspec.structs.replace(bundle.manifest, diseases=tuple(uncalibrated), trained_on="UK Biobank")
    told = replace(
        evaluation,
        unseen=False,
        bundle=replace(bundle, manifest=manifest),
        cohort=evaluation.cohort | {"source": "uk-biobank", "seed": None},
    )
    report = write_report(tmp_path, told, None).read_text()
    card = (tmp_path / "model_card.md").read_text()
    assert "did not learn from these patients" not in report
    assert "does not tell whether the model learned from" in report
    assert "real ECGs are few" not in report
    for text in (report, card):
        assert "calibrated and thresholds fixed" not in text
        assert "not calibrated" in text
    assert "paced rhythms" not in card


def test_those_of_whom_nothing_is_known_are_not_among_the_healthy():
    truth, _ = draw_planted(200, seed=1)
    truth.diseases[:50] = np.nan
    people = describe_participants(truth)
    assert people.healthy.records + people.ill.records == 150
    assert people.missing["diseases"] == 50


def test_where_the_ppv_may_be_nothing_no_number_of_scans_is_enough():
    outcomes = np.array([1.0] + [0.0] * 99)
    point = operate(np.full(100, 0.9), outcomes, 0.5, draw_patients(np.arange(100).astype(str), 200, 0))
    assert point.ppv_interval[0] == 0
    assert point.number_needed_to_image == 100
    assert point.number_needed_to_image_interval[1] == np.inf


def test_a_comparison_that_does_not_exist_is_a_dash():
    nothing = Estimate(np.nan, np.nan, np.nan)
    assert signed(nothing) == percent(nothing) == "-"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--generator", "--cohort", "folder"],
        ["--generator", "--ecgs", "folder"],
        ["--generator", "--baselines", "folder"],
        ["--cohort", "folder", "--seed", "3"],
        ["--cohort", "folder", "--patients", "50"],
        ["--report", __file__],
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments):
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(result.exception, InvalidSettings)


def test_the_same_patients_give_the_same_figures_again(evaluation, unseen, bundle):
    again = as_json(evaluate(unseen, bundle, NOWHERE, draws=50))
    assert msgspec.json.encode(again) == msgspec.json.encode(as_json(evaluation))


def test_the_report_says_what_the_weights_are_and_shows_no_nan(evaluation, tmp_path):
    report = write_report(tmp_path, evaluation, None).read_text()
    card = (tmp_path / "model_card.md").read_text()
    assert "did not learn from these patients" in report
    assert "paced rhythms" in card
    for text in (report, card):
        assert evaluation.model.weights in text
        assert "calibrated and thresholds fixed" in text
        assert "Not a medical device" in text
        assert [line for line in text.splitlines() if "nan" in line.split()] == []
    assert all((tmp_path / line.split("](")[1].rstrip(")")).is_file() for line in report.splitlines() if "![" in line)


def test_the_population_that_was_learned_from_is_refused(unseen, bundle):
    seen = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, trained_on="9,000 patients of seed 4242"))
    with pytest.raises(InvalidSettings, match="another seed"):
        refuse_seen(unseen, seen.manifest.trained_on, "model")
    refuse_seen(unseen, bundle.manifest.trained_on, "model")


def test_a_cohort_without_labels_csv_or_its_columns_is_refused(bundle, tmp_path):
    with pytest.raises(InvalidSettings, match=r"has no labels.csv that can be read \(No such file"):
        evaluate_real_ecgs(bundle, tmp_path)
    for content, complaint in (
        (b"record,file\na,a.dat\n", "lacks the columns dataset, patient, NORM, MI, LVH"),
        (b"record,file,dataset,patient,NORM,MI,LVH\n", "lists no ECG"),
        (b"record,file,dataset,patient,NORM,MI,LVH\n1,a,d,p,1,0,0\n2,a,d,p,1,0,0\n", "more than once, such as a"),
        (b"record,file\n\xff,a.dat\n", "can be read"),
    ):
        (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(InvalidSettings, match=complaint):
            evaluate_real_ecgs(bundle, tmp_path)
