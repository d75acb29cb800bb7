"""Pairs of one's own become a cohort that the stages learn from; files that cannot be used are counted by code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs
from own_pairs import beating, ecg_name, patient, write_ecgs, write_series, write_table
from typer.testing import CliRunner
from waiting import wait_until

from inference.file_account import FileAccount, open_account
from inference.geometry import COHORT_PIXEL_MM
from schemas.errors import DeploymentError, InvalidSettings, UnreadableCohort
from schemas.messages import DISEASES
from stream.cli import app
from training.cohort.lacks import find_lacks
from training.cohort.layout import FOLDS, PHENOTYPES
from training.cohort.pairs import import_pairs
from training.cohort.process_pool import ITEMS_A_CHUNK, in_order

COUNT = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of six ECGs, two cines and a file that is no ECG."""
    folder = write_ecgs(tmp_path_factory.mktemp("own") / "files", COUNT)
    np.savez(folder / "heart.npz", frames=beating(), pixel_mm=2.0)
    write_series(folder / "scan", beating(wide=0.3))
    (folder / "torn.nii.gz").write_bytes(b"\x1f\x8b torn")
    (folder / "words.xml").write_text("<no/>")
    return folder


def row(number, **cells):
    return {"ecg": ecg_name(number), "patient": f"p{number}"} | cells


def taken(root, tmp_path, *rows, **options):
    columns = dict.fromkeys(key for each in rows for key in each)
    table = write_table(tmp_path / "pairs.csv", [dict.fromkeys(columns, "") | each for each in rows])
    return import_pairs(root, tmp_path / "cohort", table=table, **options)


def test_ecg_cine_labels_and_measurements_of_a_pair_lie_in_one_row(root, tmp_path):
    pair = row(0, cine="heart.npz", fold="test", sex="f", age="63", heart_failure="1", pericarditis="0", LVEF="41.5")
    cohort = taken(root, tmp_path, pair, row(1, cine="scan", fold="train"), row(2, fold="train", LVEF="60"))
    np.testing.assert_array_equal(cohort.ecgs, [patient(number).ecg for number in range(3)])
    assert cohort.record_ids.tolist() == [ecg_name(number) for number in range(3)]
    assert cohort.patient_ids.tolist() == ["p0", "p1", "p2"]
    assert cohort.folds.tolist() == ["test", "train", "train"]
    assert cohort.cine.tolist() == [0, 1, -1]
    assert (cohort.cines[0, 0] > 128).sum() > 1.5 * (cohort.cines[1, 0] > 128).sum() > 0
    assert (cohort.female[0], cohort.age_years[0]) == (1, 63)
    assert cohort.diseases[0, [DISEASES.index("heart_failure"), DISEASES.index("pericarditis")]].tolist() == [1, 0]
    assert np.isnan(cohort.diseases).sum() == 13
    assert cohort.phenotypes[[0, 2], PHENOTYPES.index("LVEF")].tolist() == [41.5, 60]
    assert np.isnan(cohort.phenotypes).sum() == 3 * 82 - 2
    assert cohort.description.source == "own-pairs"
    assert cohort.description.skipped == {}


def test_two_ecgs_of_a_patient_share_a_cine_that_is_kept_once(root, tmp_path):
    cohort = taken(root, tmp_path, row(0, cine="heart.npz"), row(1, patient="p0", cine="./heart.npz"), row(2))
    assert cohort.cine.tolist() == [0, 0, -1]
    assert (len(cohort.cines), cohort.description.scans, cohort.description.patients) == (1, 1, 2)


def test_a_cine_lasts_even_if_the_first_ecg_that_names_it_cannot_be_used(root, tmp_path):
    bad = {"ecg": "words.xml", "patient": "p0", "cine": "heart.npz"}
    cohort = taken(root, tmp_path, bad, row(1, patient="p0", cine="heart.npz"))
    assert cohort.cine.tolist() == [0]
    assert len(cohort.cines) == 1


def test_a_file_that_cannot_be_used_is_counted_by_code_and_told_with_its_path(root, tmp_path):
    rows = [
        row(0, cine="torn.nii.gz"),
        row(1, patient="p0", cine="torn.nii.gz"),
        row(2, cine="nowhere.npy"),
        {"ecg": "nowhere.hea", "patient": "p3"},
        {"ecg": "words.xml", "patient": "p4"},
        {"ecg": "scan", "patient": "p5"},
        row(4, LVEF="0.4"),
        row(5, LVEF="61"),
    ]
    with open_account(tmp_path / "errors.jsonl") as account:
        cohort = taken(root, tmp_path, *rows, account=account)
    assert cohort.cine.tolist() == [-1] * 5
    assert cohort.cines is None
    skipped = {"missing_file": 1, "not_an_ecg": 1, "unreadable_file": 1, "unreadable_scan": 2}
    assert cohort.description.skipped == account.counts().refused == skipped
    assert account.counts().taken_with_a_note == {"implausible_value": 1}
    notes = [msgspec.json.decode(line) for line in (tmp_path / "errors.jsonl").read_bytes().splitlines()]
    assert [(note["path"], note["code"]) for note in notes] == [
        (str(root / "torn.nii.gz"), "unreadable_scan"),
        (str(root / "nowhere.npy"), "unreadable_scan"),
        (str(root / "nowhere.hea"), "missing_file"),
        (str(root / "words.xml"), "not_an_ecg"),
        (str(root / "scan"), "unreadable_file"),
        (f"{tmp_path / 'pairs.csv'}, row 8", "implausible_value"),
    ]


def test_a_table_whose_files_are_all_elsewhere_leaves_no_cohort(root, tmp_path):
    with pytest.raises(UnreadableCohort, match="no record of the source could be taken.*missing_file"):
        taken(root, tmp_path, {"ecg": "a.hea", "patient": "p"})
    assert not (tmp_path / "cohort").exists()


def test_a_faulty_table_is_refused_before_an_ecg_is_read_and_a_cohort_that_is_there_stays(root, tmp_path):
    before = taken(root, tmp_path, row(0)).description
    with pytest.raises(UnreadableCohort, match="row 3: the column heart_failure"):
        taken(root, tmp_path, row(1), row(2, heart_failure="perhaps"), progress=lambda *_: pytest.fail("read"))
    assert msgspec.json.decode((tmp_path / "cohort" / "cohort.json").read_bytes())["patients"] == before.patients


def test_a_root_that_is_no_folder_and_a_table_that_is_not_named_are_refused(root, tmp_path):
    with pytest.raises(InvalidSettings, match="is no folder"):
        import_pairs(tmp_path / "nowhere", tmp_path / "cohort", table=tmp_path / "pairs.csv")
    with pytest.raises(InvalidSettings, match="--table"):
        import_pairs(root, tmp_path / "cohort", table=None)


def test_several_processes_write_the_same_cohort_as_one(root, tmp_path):
    copies, rows = tmp_path / "copies", []
    copies.mkdir()
    for number in range(2 * ITEMS_A_CHUNK + 3):
        (copies / f"{number}").symlink_to(root)
        cine = {"cine": f"{number}/heart.npz"} if number % 3 else {}
        rows.append({"ecg": f"{number}/{ecg_name(number % COUNT)}", "patient": f"{number}"} | cine)
    seen = []
    (tmp_path / "one").mkdir()
    several = taken(copies, tmp_path, *rows, processes=2, progress=lambda *done: seen.append(done))
    one = taken(copies, tmp_path / "one", *rows, processes=1)
    assert seen == [(number + 1, len(rows)) for number in range(len(rows))]
    for name in ("index.parquet", "ecgs.npy", "cines.npy", "cohort.json"):
        assert (several.folder / name).read_bytes() == (one.folder / name).read_bytes(), name


def ended(_chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_work_with_a_sentence():
    with pytest.raises(DeploymentError, match="was ended from outside"):
        list(in_order(ended, [range(1), range(1)], 2))


def test_a_command_that_is_killed_leaves_no_cohort_and_no_process_and_the_next_one_does_all(root, tmp_path):
    import psutil

    copies, rows = tmp_path / "copies", []
    copies.mkdir()
    for number in range(40 * ITEMS_A_CHUNK):
        (copies / f"{number}").symlink_to(root)
        rows.append({"ecg": f"{number}/{ecg_name(number % COUNT)}", "patient": f"{number}", "cine": f"{number}/scan"})
    table, out = write_table(tmp_path / "pairs.csv", rows), tmp_path / "out"
    command = [sys.executable, "-m", "stream", "cohort", "import", "pairs", copies, "--table", table, "--out", out]
    running = psutil.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / ".out.unfinished" / "cines.npy").exists() and len(running.children()) > 1)
    family = running.children(recursive=True)
    running.kill()
    running.wait()
    wait_until(lambda: not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE])
    assert not out.exists()
    assert len(import_pairs(copies, out, table=write_table(table, rows[:3]), processes=1)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copies", "out", "pairs.csv"]


@pytest.mark.parametrize("rate", [250, 1000, 400])
def test_an_ecg_of_another_rate_is_resampled_as_for_screening(root, tmp_path, rate):
    import wfdb
    from scipy.signal import resample

    faster = resample(patient(0).ecg.astype(float), 10 * rate, axis=1)
    (tmp_path / "files").mkdir()
    wfdb.wrsamp(
        "a", rate, ["mV"] * 12, ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"],
        faster.T * 0.005, fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(tmp_path / "files"),
    )  # fmt: skip
    cohort = taken(tmp_path / "files", tmp_path, {"ecg": "a.hea", "patient": "p"})
    middle = slice(500, 4500)
    difference = cohort.ecgs[0, :, middle] - patient(0).ecg[:, middle]
    assert np.abs(difference).max() <= (2 if rate > 500 else 40)  # steps of 5 µV; below 500 Hz the noise above is lost
    assert np.abs(difference).mean() < (1 if rate > 500 else 6)


LACKS = {
    "labels alone": (
        [row(number, fold=fold, heart_failure="1") for number, fold in enumerate(FOLDS)],
        "the train fold and the development fold have no cine: pretrain-cmr, align and train-vae need some",
    ),
    "cines alone": (
        [
            row(0, fold="train", cine="heart.npz", LVEF="60"),
            row(1, fold="development", cine="scan"),
            row(2, fold="test"),
        ],
        "the development fold has no disease and no measurement that is known: finetune and calibrate need some",
    ),
    "no development": (
        [row(0, fold="train"), row(1, fold="test")],
        "nobody is in the development fold: no stage learns from this cohort",
    ),
    "no test": (
        [row(n, fold=FOLDS[n], cine=cine, LVEF="60") for n, cine in enumerate(("heart.npz", "scan"))],
        "nobody is in the test fold: evaluate has nobody to judge on",
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_cohort_lacks_for_the_stages_is_told(root, tmp_path, name):
    rows, sentence = LACKS[name]
    assert find_lacks(taken(root, tmp_path, *rows)) == [sentence]


def invoke(*words):
    return CliRunner().invoke(app, ["cohort", "import", *map(str, words)], env={"COLUMNS": "300"})


def test_the_command_says_what_it_wrote_what_it_left_out_and_what_is_lacking(root, tmp_path):
    table = write_table(tmp_path / "pairs.csv", [row(0, scanner="A", lvef="5"), row(1)])
    refused = invoke("pairs", root, "--table", table, "--out", tmp_path / "out")
    assert "lvef (is it LVEF, in %?)" in str(refused.exception)
    done = invoke("pairs", root, "--table", table, "--out", tmp_path / "out", "--ignore", "lvef")
    assert done.exit_code == 0
    assert "wrote 2 ECGs of 2 patients" in done.stdout
    assert "taken with a note: unknown_column 2" in done.stderr
    assert "no stage learns from this cohort" in done.stderr
    program = invoke("pairs", root, "--table", table, "--out", tmp_path / "out", "--ignore", "lvef", "--json")
    said = msgspec.json.decode(program.stdout)
    assert said["cohort"]["source"] == "own-pairs"
    assert said["taken_with_a_note"] == {"unknown_column": 2}


def test_the_option_that_ignores_columns_is_for_pairs_alone(tmp_path):
    refused = invoke("mimic", tmp_path, "--out", tmp_path / "out", "--ignore", "a")
    assert "--ignore is for tables of pairs" in str(refused.exception)


@pytest.mark.learns
def test_the_stages_learn_from_pairs_of_ones_own(tmp_path):
    """ECGs with labels alone finetune; pairs align; what was learned becomes a bundle that says from whom."""
    from training.stages.align import Align, align
    from training.stages.calibrate import Calibrate, calibrate
    from training.stages.finetune import Finetune, finetune
    from training.stages.package_bundle import describe, package
    from training.stages.pretrain_cmr import PretrainCmr, pretrain_cmr
    from training.stages.pretrain_ecg import PretrainEcg, pretrain_ecg
    from training.stages.settings import Hardware, Learning

    files, rows = write_ecgs(tmp_path / "files", 48), []
    for number in range(48):
        made, lvef = patient(number), patient(number).phenotypes[PHENOTYPES.index("LVEF")]
        np.savez(files / f"{number}.npz", frames=made.cine, pixel_mm=COHORT_PIXEL_MM)
        scan = {"cine": f"{number}.npz", "LVEF": f"{lvef:.1f}"} if number % 2 else {}
        known = {"fold": FOLDS[min(number // 20, 2)], "heart_failure": number % 3 % 2}
        rows.append(row(number, **known, **scan))
    cohort = taken(files, tmp_path, *rows, processes=1)
    assert find_lacks(cohort) == []
    once, cpu = Learning(epochs=1, batch_size=12, learning_rate=1e-3), Hardware(device="cpu")
    ecg = pretrain_ecg(cohort, tmp_path / "ecg", PretrainEcg(learning=once), cpu)
    pretrain_cmr(cohort, tmp_path / "cmr", PretrainCmr(learning=once), cpu)
    align(cohort, tmp_path / "align", Align(learning=once), cpu, cmr=tmp_path / "cmr", encoder=ecg.weights)
    finetune(cohort, tmp_path / "tuned", Finetune(learning=once, min_epoch_rows=12), cpu, aligned=tmp_path / "align")
    calibrate(cohort, tmp_path / "calibrated", tmp_path / "tuned", Calibrate(n_crops=1))
    label = describe(cohort, tmp_path / "tuned")
    assert label.weights == "trained on own-pairs"
    assert label.trained_on.startswith("own-pairs cohort of 48 patients (20 train, 20 development, 8 test; 24 scans")
    package(tmp_path / "bundle", tmp_path / "tuned", tmp_path / "calibrated", cohort, label)
    assert (tmp_path / "bundle" / "manifest.json").is_file()


@needs_real_ecgs
def test_real_ecgs_of_many_formats_are_read_into_one_cohort(tmp_path):
    kinds = (".hea", ".dcm", ".xml", ".scp", ".edf", ".ecg")
    found = [path for path in sorted(ECGS.rglob("*")) if path.suffix.lower() in kinds and "faults" not in path.parts]
    paths = [path for kind in kinds for path in [each for each in found if each.suffix.lower() == kind][:5]]
    rows = [{"ecg": path.relative_to(ECGS).as_posix(), "patient": f"p{n}"} for n, path in enumerate(paths)]
    account = FileAccount()
    cohort = taken(ECGS, tmp_path, *rows, account=account)
    endings = {Path(name).suffix.lower() for name in cohort.record_ids.tolist()}
    assert len(endings) >= 4, (endings, account.counts())
    assert len(cohort) + sum(account.counts().refused.values()) == len(rows)
    assert np.abs(cohort.ecgs).reshape(len(cohort), -1).max(axis=1).min() > 20
