import csv
import json

import numpy as np
import pytest
from needed import DATA, ECGS, needs_real_ecgs
from typer.testing import CliRunner

from inference.phenotypes import MEASUREMENTS
from inference.reference_values import DERIVED, REFERENCE_VALUES
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from stream.cli import app
from training.instruments.ecg_measurements import CLASSIC_MEASUREMENTS
from training.simulation.physiology import draw_patient
from training.simulation.realism import (
    compare_ecgs,
    compare_hearts,
    is_healthy,
    measure_realism,
    read_real_cine,
    read_real_ecgs,
    simulate_patients,
)
from training.simulation.realism_report import render_markdown

COLUMNS = len(CLASSIC_MEASUREMENTS)


@pytest.fixture(scope="module")
def simulated():
    ticks = []
    patients = simulate_patients(40, 11, lambda: ticks.append(1))
    assert len(ticks) == 40
    return patients


def verdicts(simulated, real, data_sets=None):
    data_sets = np.array(["LUDB", "PTB-XL"] * (len(real) // 2)) if data_sets is None else data_sets
    return {each.measurement: each for each in compare_ecgs(simulated, real, data_sets)}


def test_two_draws_of_one_population_agree_and_a_shift_or_a_narrowing_is_told():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(100, 10, (400, COLUMNS)), rng.normal(100, 10, (60, COLUMNS))
    pr, qrs, qt = (CLASSIC_MEASUREMENTS.index(name) for name in ("pr_ms", "qrs_ms", "qt_ms"))
    ours[:, qrs] += 20
    ours[:, qt] = 100 + (ours[:, qt] - 100) / 4
    found = verdicts(ours, theirs)
    assert found["pr_ms"].verdict == "agrees"
    assert found["pr_ms"].ks < 0.3
    assert found["qrs_ms"].verdict.startswith("off by +")
    assert found["qrs_ms"].difference == pytest.approx(2, abs=0.5)
    assert found["qrs_ms"].ks > 0.5
    assert found["qt_ms"].verdict.startswith("varies too little")
    assert found["pr_ms"].simulated.median == pytest.approx(np.median(ours[:, pr]))


def test_what_nobody_would_see_on_paper_agrees():
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(0.030, 0.002, (100, COLUMNS)), rng.normal(0.026, 0.004, (60, COLUMNS))
    found = verdicts(ours, theirs)["q_V3_mv"]
    assert found.difference > 1
    assert found.verdict == "agrees"


def test_axes_on_either_side_of_half_a_turn_are_neighbours():
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(178, 10, (100, COLUMNS)), rng.normal(-178, 10, (60, COLUMNS))
    axis = verdicts(ours, theirs)["qrs_axis_deg"]
    assert abs(axis.simulated.median - axis.real.median) < 15
    assert abs(axis.difference) < 1


def test_what_too_few_records_show_is_not_compared():
    ours, theirs = np.zeros((40, COLUMNS)), np.full((40, COLUMNS), np.nan)
    theirs[:3] = 1
    assert not verdicts(ours, theirs)


def test_how_far_the_real_data_sets_lie_apart_is_told():
    rng = np.random.default_rng(3)
    real = rng.normal(0, 1, (60, COLUMNS))
    real[:30] += 3
    data_sets = np.repeat(["LUDB", "PTB-XL"], 30)
    assert verdicts(real, real, data_sets)["pr_ms"].between_data_sets == pytest.approx(3, abs=0.7)


def test_the_healthy_have_no_disease_and_no_block_and_there_are_many_of_them():
    patients = [draw_patient(0, number) for number in range(200)]
    healthy = [patient for patient in patients if is_healthy(patient)]
    assert 50 < len(healthy) < 150
    assert not any(patient.diseases[disease] for patient in healthy for disease in DISEASES)
    assert not any(patient.electrics.left_bundle_block for patient in healthy)


def test_each_published_value_is_of_a_measurement_that_exists_and_names_its_source():
    names = {measurement.name for measurement in MEASUREMENTS} | set(DERIVED)
    assert {value.measurement for value in REFERENCE_VALUES} <= names
    assert all(value.sd > 0 and value.source for value in REFERENCE_VALUES)


def test_hearts_are_compared_by_sex_in_published_deviations(simulated):
    compared = {(each.measurement, each.sex): each for each in compare_hearts(simulated)}
    women = compared["LVEF", "women"]
    females = np.array([patient.person.female for patient in simulated.patients])
    lvef = simulated.hearts[simulated.healthy & females, [m.name for m in MEASUREMENTS].index("LVEF")]
    assert women.mean == pytest.approx(lvef.mean())
    assert women.difference == pytest.approx((lvef.mean() - 61) / 5)


def test_a_folder_without_labels_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidSettings, match="has no labels.csv"):
        read_real_ecgs(tmp_path)


def test_a_table_without_its_columns_is_refused_by_their_names(tmp_path):
    (tmp_path / "labels.csv").write_text("record,file,patient,NORM\na,a.hea,1,1\n")
    with pytest.raises(InvalidSettings, match="lacks the columns dataset, age"):
        read_real_ecgs(tmp_path)
    (tmp_path / "labels.csv").write_text("record,file,dataset,patient,age,NORM\na,a.hea,LUDB,1,unknown,1\n")
    with pytest.raises(InvalidSettings, match="lists no adult"):
        read_real_ecgs(tmp_path)


def test_a_cine_without_its_description_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="_meta.json"):
        read_real_cine(tmp_path / "cine.npz")


@pytest.fixture(scope="module")
def real():
    return read_real_ecgs(ECGS)


@needs_real_ecgs
def test_real_records_are_of_adults_and_one_a_patient(real):
    assert real.signals_mv.shape == (173, 12, 5000)
    assert real.normal.sum() == 43
    assert real.age_years.min() >= 18
    with (ECGS / "labels.csv").open() as file:
        patients = [row["patient"] for row in csv.DictReader(file) if row["dataset"] == "PTB-XL"]
    assert (real.data_sets == "PTB-XL").sum() == len(set(patients))


@needs_real_ecgs
def test_the_table_lists_every_comparison(simulated, real):
    realism = measure_realism(simulated, real)
    text = render_markdown(realism)
    assert len(realism.healthy) == COLUMNS
    for each in (*realism.healthy, *realism.hearts):
        assert f"| {each.measurement} " in text
        assert each.verdict in text


@pytest.mark.commands
@needs_real_ecgs
def test_the_command_writes_table_and_plots(tmp_path):
    with (ECGS / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    normal = [row | {"file": ECGS / row["file"]} for row in rows if row["dataset"] == "PTB-XL" and row["NORM"] == "1"]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(normal[0]))
        table.writeheader()
        table.writerows(normal[:12])
    cine = DATA / "cmr" / "bivme_patient1" / "patient1_cine.npz"
    options = ["--patients", "30", "--seed", "3", "--ecgs", tmp_path, "--cine", cine, "--out", tmp_path / "r", "--json"]
    answer = CliRunner().invoke(app, ["realism", *map(str, options)])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["patients"] == 30
    assert {"healthy", "everybody", "hearts"} <= told["realism"].keys()
    written = {path.name: path.stat().st_size for path in (tmp_path / "r").iterdir()}
    assert written.keys() == {"realism.md", "amplitudes.png", "intervals.png", "ecgs.png", "cines.png"}
    assert min(written.values()) > 5_000
