"""A simulated cohort depends on its seed alone, keeps patients apart, and needs neither torch nor pandas."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import PATIENCE_S, wait_until

from inference.gate import examine
from inference.geometry import MICROVOLTS_PER_STEP
from inference.phenotypes import MEASUREMENTS
from inference.reading.read_ecg import read_ecg
from schemas.ecg_record import LEADS
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES, SUBTYPES
from training.cohort.layout import FOLDS, assign_fold, open_cohort
from training.simulation.physiology import draw_patient
from training.simulation.simulate_cohort import (
    CHUNK_PATIENTS,
    WFDB_LABELS,
    simulate_cohort,
    simulate_patient,
    write_wfdb,
)

SEED = 11
PATIENTS = 2 * CHUNK_PATIENTS + 3
"""Three chunks, of which the last is not full."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The cohort by one process."""
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    return simulate_cohort(folder, PATIENTS, SEED, processes=1, short_axis=True)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_and_two_processes_write_the_same_bytes(cohort, tmp_path):
    done = []
    simulate_cohort(tmp_path / "c", PATIENTS, SEED, processes=2, short_axis=True, progress=done.append)
    assert done == [CHUNK_PATIENTS, 2 * CHUNK_PATIENTS, PATIENTS]
    assert contents(tmp_path / "c") == contents(cohort.folder)


def test_the_first_patients_of_a_larger_cohort_are_those_of_a_smaller_one(cohort, tmp_path):
    small = simulate_cohort(tmp_path / "c", 3, SEED, processes=1)
    assert small.record_ids.tolist() == cohort.record_ids[:3].tolist()
    np.testing.assert_array_equal(small.ecgs, cohort.ecgs[:3])
    np.testing.assert_array_equal(small.cines, cohort.cines[:3])
    np.testing.assert_array_equal(small.phenotypes, cohort.phenotypes[:3])


def test_another_seed_gives_other_patients(cohort, tmp_path):
    other = simulate_cohort(tmp_path / "c", 3, SEED + 1, processes=1, cines=False)
    assert not set(other.patient_ids) & set(cohort.patient_ids)
    assert (other.ecgs != cohort.ecgs[:3]).mean() > 0.5


def test_a_row_is_its_patient(cohort):
    number = 5
    patient, simulated = draw_patient(SEED, number), simulate_patient(SEED, number, short_axis=True)
    np.testing.assert_array_equal(cohort.ecgs[number], simulated.ecg)
    np.testing.assert_array_equal(cohort.phenotypes[number], simulated.phenotypes)
    np.testing.assert_array_equal(cohort.cines[cohort.cine[number]], simulated.cine)
    np.testing.assert_array_equal(cohort.short_axis[cohort.cine[number]], simulated.short_axis)
    assert cohort.age_years[number] == patient.person.age_years
    assert cohort.female[number] == patient.person.female
    assert cohort.atrial_fibrillation[number] == patient.rhythm.atrial_fibrillation
    assert cohort.noise[number] == patient.electrics.noise


def test_labels_are_those_of_the_patients(cohort):
    patients = [draw_patient(SEED, number) for number in range(PATIENTS)]
    has = [[patient.diseases[disease] for disease in DISEASES] for patient in patients]
    np.testing.assert_array_equal(cohort.diseases, np.array(has, float))
    subtypes = [-1 if patient.subtype is None else SUBTYPES.index(patient.subtype) for patient in patients]
    assert cohort.subtypes.tolist() == subtypes
    assert cohort.diseases.any()
    assert not np.isnan(cohort.phenotypes).any()
    assert cohort.phenotypes.shape == (PATIENTS, len(MEASUREMENTS))


def test_no_patient_lies_in_two_folds(cohort):
    of_fold = [set(cohort.patient_ids[cohort.select(fold)].tolist()) for fold in FOLDS]
    assert sum(map(len, of_fold)) == len(set.union(*of_fold)) == PATIENTS
    assert cohort.folds.tolist() == [assign_fold(patient) for patient in cohort.patient_ids.tolist()]
    assert cohort.description.fold_patients == {fold: len(of_one) for fold, of_one in zip(FOLDS, of_fold, strict=True)}


def test_everybody_can_be_put_into_the_test(tmp_path):
    cohort = simulate_cohort(tmp_path / "c", 4, SEED, cines=False, folds=(0, 0))
    assert cohort.folds.tolist() == ["test"] * 4


def test_without_cines_there_are_none(tmp_path):
    cohort = simulate_cohort(tmp_path / "c", 2, SEED, cines=False)
    assert cohort.cines is None
    assert cohort.short_axis is None
    assert cohort.cine.tolist() == [-1, -1]
    assert sorted(contents(cohort.folder)) == ["cohort.json", "ecgs.npy", "index.parquet"]


def test_some_patients_lack_measurements_and_some_a_scan_as_well(cohort, tmp_path):
    partly = simulate_cohort(tmp_path / "c", 2, SEED, unmeasured=1, unscanned=2, processes=1)
    np.testing.assert_array_equal(partly.ecgs, cohort.ecgs[:5])
    np.testing.assert_array_equal(partly.diseases, cohort.diseases[:5])
    np.testing.assert_array_equal(partly.phenotypes[:2], cohort.phenotypes[:2])
    assert np.isnan(partly.phenotypes[2:]).all()
    assert partly.cine.tolist() == [0, 1, 2, -1, -1]
    np.testing.assert_array_equal(partly.cines, cohort.cines[:3])
    assert partly.description.scans == 3
    assert partly.description.patients == 5


def test_a_run_that_is_ended_leaves_nothing_that_opens_and_no_process(tmp_path):
    program = (
        "import pathlib, sys; from training.simulation.simulate_cohort import simulate_cohort\n"
        "if __name__ == '__main__':\n"
        "    simulate_cohort(pathlib.Path(sys.argv[1]), 100_000, 1, processes=2, cines=False,\n"
        "                    progress=lambda done: print(done, flush=True))"
    )
    (tmp_path / "run.py").write_text(program)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "c")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parent.parent
    )
    with process:
        assert process.stdout.readline().strip() == str(CHUNK_PATIENTS)
        children = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
    assert len(children) >= 2
    with pytest.raises(InvalidSettings):
        open_cohort(tmp_path / "c")
    wait_until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))  # they do not outlive it
    assert len(simulate_cohort(tmp_path / "c", 2, 1, processes=1, cines=False)) == 2


def children_of(process):
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_what_the_disk_cannot_hold_is_refused_before_it_is_begun(tmp_path):
    with pytest.raises(InvalidSettings, match="GB are free"):
        simulate_cohort(tmp_path / "c", 10**10, SEED)
    assert not list(tmp_path.iterdir())


def test_wfdb_files_hold_the_same_ecgs_with_age_sex_and_truth(cohort, tmp_path):
    write_wfdb(tmp_path / "w", 3, SEED, processes=1)
    for number in range(3):
        record = read_ecg(tmp_path / "w" / f"simulated-{SEED}-{number}.hea")
        steps = np.frombuffer(record.samples, "<i2").reshape(12, -1)
        np.testing.assert_array_equal(steps, cohort.ecgs[number])
        assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (LEADS, 500, 5)
        assert record.age_years == round(cohort.age_years[number])
        assert record.sex == ("female" if cohort.female[number] else "male")
        assert record.patient_id == cohort.patient_ids[number]
    with (tmp_path / "w" / WFDB_LABELS).open(newline="") as file:
        labels = list(csv.DictReader(file))
    assert [line["record"] for line in labels] == cohort.record_ids[:3].tolist()
    written = [[float(line[disease]) for disease in DISEASES] for line in labels]
    np.testing.assert_array_equal(written, cohort.diseases[:3])
    lvef = [float(line["LVEF"]) for line in labels]
    np.testing.assert_allclose(lvef, cohort.phenotypes[:3, 3], rtol=1e-3)


def test_wfdb_files_go_into_an_empty_folder_only(cohort):
    with pytest.raises(InvalidSettings, match="not empty"):
        write_wfdb(cohort.folder, 1, SEED)


def test_the_gate_lets_simulated_ecgs_pass(cohort):
    signals_mv = np.asarray(cohort.ecgs * np.float32(MICROVOLTS_PER_STEP / 1e3))
    assert [verdict.refusal for verdict in examine(signals_mv, 500.0)] == [None] * PATIENTS


def test_simulating_loads_no_torch_and_importing_no_pandas():
    program = (
        "import sys, pathlib, tempfile; from training.cohort import mimic, ukb\n"
        "from training.simulation.simulate_cohort import simulate_cohort\n"
        "light = {name.partition('.')[0] for name in sys.modules}\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    simulate_cohort(pathlib.Path(folder, 'c'), 1, 0, processes=1)\n"
        "full = {name.partition('.')[0] for name in sys.modules}\n"
        "print(light & {'torch', 'pandas', 'pyarrow', 'wfdb', 'pydicom', 'sklearn'}, full & {'torch', 'sklearn'})"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert finished.stdout.strip() == "set() set()"
