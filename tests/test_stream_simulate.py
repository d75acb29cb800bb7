"""`simulate` and `cohort import` write what they say, show it to people and programs, and refuse what they must."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mimic_archive import Archive, steps
from waiting import PATIENCE_S

from inference.geometry import COHORT_PIXEL_MM
from inference.reading.find_ecgs import find_ecgs
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from stream.commands.cohort_import import import_cohort_command
from training.cohort.layout import open_cohort
from training.simulation.simulate_cohort import simulate_patient

pytestmark = pytest.mark.commands

ROOT = Path(__file__).parent.parent


def run(*arguments, code=0):
    command = [sys.executable, "-m", "stream.cli", *map(str, arguments)]
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT)
    assert finished.returncode == code, finished.stderr
    return finished


def test_simulate_answers_in_json_what_the_cohort_holds(tmp_path):
    out = tmp_path / "c"
    answer = json.loads(run("simulate", "--patients", 3, "--seed", 5, "--out", out, "--short-axis", "--json").stdout)
    cohort = open_cohort(out)
    assert (answer["patients"], answer["seed"], answer["out"]) == (3, 5, str(out))
    assert answer["fold_patients"] == cohort.description.fold_patients
    assert list(answer["prevalence"]) == list(DISEASES)
    assert list(answer["prevalence"].values()) == pytest.approx(cohort.diseases.mean(axis=0).tolist(), abs=1e-4)
    assert cohort.cines.shape == cohort.short_axis.shape == (3, 50, 96, 96)


def test_simulate_tells_a_person_and_can_do_without_cines(tmp_path):
    said = run("simulate", "--patients", 2, "--out", tmp_path / "c", "--no-cines", "--test-only").stdout
    assert "wrote 2 simulated patients of seed 0" in said
    assert "train 0, development 0, test 2" in said
    assert "heart failure" in said
    assert open_cohort(tmp_path / "c").cines is None


def test_simulate_writes_wfdb_files(tmp_path):
    run("simulate", "--patients", 2, "--seed", 1, "--out", tmp_path / "w", "--format", "wfdb")
    assert [path.stem for path in find_ecgs([tmp_path / "w"])] == ["simulated-1-0", "simulated-1-1"]


def test_simulate_writes_the_cines_beside_the_files_where_they_are_wanted(tmp_path):
    run("simulate", "--patients", 2, "--seed", 1, "--out", tmp_path / "w", "--format", "wfdb", "--scans")
    with np.load(tmp_path / "w" / "simulated-1-1.npz", allow_pickle=False) as scan:
        np.testing.assert_array_equal(scan["frames"], simulate_patient(1, 1).cine)
        assert scan["pixel_mm"] == COHORT_PIXEL_MM


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        (["--scans"], "--format wfdb"),
        (["--format", "wfdb", "--unmeasured", 1], "--patients"),
        (["--format", "wfdb", "--unscanned", 1], "--patients"),
        (["--no-cines", "--unmeasured", 1], "--unscanned"),
    ],
)
def test_simulate_refuses_patients_of_a_kind_that_it_cannot_write(tmp_path, asked, advice):
    assert advice in run("simulate", "--out", tmp_path / "c", "--patients", 2, *asked, code=2).stderr
    assert not (tmp_path / "c").exists()


def test_simulate_spares_a_folder_with_something_else_in_it(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = run("simulate", "--patients", 1, "--out", tmp_path, code=2)
    assert "not empty" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_simulate_names_its_formats(tmp_path):
    refused = run("simulate", "--patients", 1, "--out", tmp_path / "c", "--format", "hdf5", code=2)
    assert "'hdf5' is not one of 'cohort', 'wfdb'" in " ".join(refused.stderr.replace("│", " ").split())
    assert not (tmp_path / "c").exists()


def test_an_import_says_what_was_taken_and_what_was_not(tmp_path):
    archive = Archive(tmp_path / "mimic")
    for number, fold in enumerate(("train", "development", "test")):
        archive.add(40000000 + number, 10000000 + number, fold=fold, digital=steps(number))
    archive.add(40000009, 10000009, written=False)
    out = tmp_path / "c"
    errors = tmp_path / "errors.jsonl"
    done = run("cohort", "import", "mimic", archive.write(), "--out", out, "--json", "--errors", errors)
    answer = json.loads(done.stdout)
    assert answer["cohort"]["rows"] == len(open_cohort(out)) == 3
    assert answer["cohort"]["skipped"] == {"missing_file": 1}
    (line,) = map(json.loads, errors.read_text().splitlines())
    assert (line["status"], line["code"]) == ("refused", "missing_file")
    assert "40000009" in line["path"]
    said = run("cohort", "import", "mimic", archive.root, "--out", out).stdout
    assert "wrote 3 ECGs of 3 patients" in said
    assert "missing_file" in said


@pytest.mark.parametrize(("source", "said"), [("mimic", "files"), ("ukb", "--table")])
def test_an_import_of_what_is_not_there_is_a_misuse(tmp_path, source, said):
    with pytest.raises(InvalidSettings, match=said):
        import_cohort_command(source, tmp_path, out=tmp_path / "c", table=None, as_json=True)


def test_an_import_names_its_sources(tmp_path):
    refused = run("cohort", "import", "ptbxl", tmp_path, "--out", tmp_path / "c", code=2)
    assert "'ptbxl' is not one of 'mimic', 'ukb'" in " ".join(refused.stderr.replace("│", " ").split())
