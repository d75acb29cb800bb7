"""A cohort opens whole or not at all, says what is wrong with it, and keeps a patient in one fold."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidSettings, UnreadableCohort
from schemas.messages import DISEASES, SUBTYPES
from training.cohort.layout import (
    CINES,
    DESCRIPTION,
    ECGS,
    FOLDS,
    INDEX,
    PHENOTYPES,
    Row,
    assign_fold,
    index_columns,
    open_cohort,
)
from training.cohort.writer import ROWS_A_GROUP, lay_out_array, map_array, write_cohort

ECG = np.arange(12 * 5000, dtype=np.int16).reshape(12, 5000)


def row(number, **fields):
    patient = f"patient-{number}"
    return Row(record_id=f"record-{number}", patient_id=patient, fold=assign_fold(patient), **fields)


def write(folder, rows=3, **options):
    with write_cohort(folder, source="simulated", rows=rows, seed=1, **options) as writer:
        for number in range(rows):
            writer.add(row(number, cine=-1), ECG + number)
    return folder


class InterruptionError(Exception):
    pass


def write_and_fail(folder):
    with write_cohort(folder, source="simulated", rows=5) as writer:
        writer.add(row(0), ECG)
        raise InterruptionError


def write_rows(folder, *rows):
    with write_cohort(folder, source="simulated", rows=len(rows)) as writer:
        for each in rows:
            writer.add(each)


def rewrite_index(folder, change):
    import pyarrow.parquet as pq

    pq.write_table(change(pq.read_table(folder / INDEX)), folder / INDEX)


def test_what_was_written_is_read_back(tmp_path):
    known = row(
        0,
        age_years=61.5,
        female=True,
        atrial_fibrillation=False,
        noise=1.2,
        diseases=dict.fromkeys(DISEASES, True),
        subtype="dilated",
        machine={"qrs_ms": 96.0, "pr_ms": np.nan},
        phenotypes=np.arange(82.0),
        cine=0,
    )
    with write_cohort(tmp_path / "c", source="simulated", rows=2, scans=1, seed=7) as writer:
        place = writer.add_scan(np.full((50, 96, 96), 9, np.uint8))
        writer.add(known, ECG)
        writer.add(row(1), ECG + 1)
    cohort = open_cohort(tmp_path / "c")
    assert (len(cohort), place, cohort.description.scans, cohort.description.seed) == (2, 0, 1, 7)
    assert cohort.record_ids.tolist() == ["record-0", "record-1"]
    np.testing.assert_array_equal(cohort.ecgs, [ECG, ECG + 1])
    assert cohort.cines.shape == (1, 50, 96, 96)
    assert cohort.cines.min() == 9
    assert cohort.short_axis is None
    assert cohort.cine.tolist() == [0, -1]
    assert cohort.subtypes.tolist() == [SUBTYPES.index("dilated"), -1]
    np.testing.assert_array_equal(cohort.diseases, [[1] * 5, [np.nan] * 5])
    np.testing.assert_array_equal(cohort.phenotypes, [np.arange(82.0), [np.nan] * 82])
    np.testing.assert_array_equal(cohort.machine[:, 2], [96, np.nan])
    assert np.isnan(cohort.machine[0, 1])
    for values, expected in (
        (cohort.age_years, 61.5),
        (cohort.female, 1),
        (cohort.atrial_fibrillation, 0),
        (cohort.noise, 1.2),
    ):
        np.testing.assert_array_equal(values, [expected, np.nan])


def test_the_index_has_a_column_for_every_measurement_and_disease():
    assert set(index_columns()) >= {*PHENOTYPES, *DISEASES}
    assert len(PHENOTYPES) == 82


def test_the_arrays_are_mapped_and_cannot_be_written(tmp_path):
    cohort = open_cohort(write(tmp_path / "c"))
    assert isinstance(cohort.ecgs, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        cohort.ecgs[0] = 0


def test_a_cohort_with_fewer_records_than_laid_out_is_cut(tmp_path):
    with write_cohort(tmp_path / "c", source="mimic-iv-ecg", rows=50, scans=20) as writer:
        writer.add(row(0), ECG)
        writer.skip("flat_lead")
        writer.skip("flat_lead")
    cohort = open_cohort(tmp_path / "c")
    assert cohort.ecgs.shape == (1, 12, 5000)
    assert cohort.cines is None
    assert (tmp_path / "c" / ECGS).stat().st_size < 130_000
    assert cohort.description.skipped == {"flat_lead": 2}


@pytest.mark.parametrize("name", [INDEX, ECGS, CINES])
def test_a_pipe_in_the_place_of_a_file_hangs_nobody(tmp_path, name):
    folder = write(tmp_path / "c")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    with pytest.raises(UnreadableCohort, match="is no file"):
        open_cohort(folder)


def test_an_index_of_several_groups_keeps_its_order(tmp_path):
    rows = ROWS_A_GROUP + 3
    with write_cohort(tmp_path / "c", source="simulated", rows=rows) as writer:
        for number in range(rows):
            writer.add(row(number))
    cohort = open_cohort(tmp_path / "c")
    assert cohort.record_ids[[0, -1]].tolist() == ["record-0", f"record-{rows - 1}"]


def test_what_the_disk_cannot_hold_is_refused_by_every_source(tmp_path):
    with pytest.raises(InvalidSettings, match="GB are free"), write_cohort(tmp_path / "c", source="s", rows=10**10):
        pass
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(InterruptionError):
        write_and_fail(tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_the_former_cohort(tmp_path):
    write(tmp_path / "c")
    with pytest.raises(InterruptionError):
        write_and_fail(tmp_path / "c")
    assert len(open_cohort(tmp_path / "c")) == 3


def test_a_run_that_is_killed_leaves_nothing_that_opens_and_does_not_hinder_the_next(tmp_path):
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2]); import test_training_layout as t\n"
        "with t.write_cohort(pathlib.Path(sys.argv[1]), source='simulated', rows=9) as writer:\n"
        "    writer.add(t.row(0), t.ECG); print('writing', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "c"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(InvalidSettings, match="another process"):
            write(tmp_path / "c")
        os.kill(process.pid, signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    for folder in (tmp_path / "c", left):
        with pytest.raises(InvalidSettings, match="not a cohort"):
            open_cohort(folder)
    assert len(open_cohort(write(tmp_path / "c"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_folder_with_something_else_in_it_is_not_written_over(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidSettings, match="not empty"):
        write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_cohort_is_replaced_by_another(tmp_path):
    write(write(tmp_path / "c"), rows=5)
    assert len(open_cohort(tmp_path / "c")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_path_that_is_no_cohort_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSettings, match="not a cohort"):
        open_cohort(tmp_path / name)


@pytest.mark.parametrize("name", [ECGS, INDEX])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write(tmp_path / "c")
    (folder / name).unlink()
    with pytest.raises(UnreadableCohort, match=name):
        open_cohort(folder)


def test_a_torn_array_is_refused(tmp_path):
    folder = write(tmp_path / "c")
    with (folder / ECGS).open("r+b") as file:
        file.truncate(200_000)
    with pytest.raises(UnreadableCohort, match=ECGS):
        open_cohort(folder)


def test_an_array_of_another_shape_is_refused(tmp_path):
    folder = write(tmp_path / "c")
    lay_out_array(folder / ECGS, (3, 12, 4000), np.int16)
    with pytest.raises(UnreadableCohort, match=r"4000.*5000"):
        open_cohort(folder)


def test_an_array_of_python_objects_is_refused_unread(tmp_path):
    folder = write(tmp_path / "c")
    np.save(folder / ECGS, np.array([open], object), allow_pickle=True)
    with pytest.raises(UnreadableCohort, match=ECGS):
        open_cohort(folder)


def test_unknown_and_missing_columns_are_refused(tmp_path):
    folder = write(tmp_path / "c")
    rewrite_index(folder, lambda table: table.rename_columns({"noise": "loudness"}))
    with pytest.raises(UnreadableCohort, match=r"loudness.*noise"):
        open_cohort(folder)


@pytest.mark.parametrize(
    ("field", "value", "said"), [("format", 2, "format 2"), ("rows", 4, "3 rows"), ("rows", "x", "rows")]
)
def test_another_version_and_a_wrong_count_are_refused(tmp_path, field, value, said):
    path = write(tmp_path / "c") / DESCRIPTION
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {field: value}))
    with pytest.raises(UnreadableCohort, match=said):
        open_cohort(tmp_path / "c")


def test_a_scan_that_is_not_there_is_refused(tmp_path):
    with write_cohort(tmp_path / "c", source="simulated", rows=1, scans=1) as writer:
        writer.add(row(0, cine=0), ECG)
    (tmp_path / "c" / CINES).unlink()
    with pytest.raises(UnreadableCohort, match="scan"):
        open_cohort(tmp_path / "c")


def test_a_patient_in_two_folds_is_never_written(tmp_path):
    first, second = (Row(record_id=fold, patient_id="p", fold=fold) for fold in ("train", "test"))
    with pytest.raises(UnreadableCohort, match="two folds"):
        write_rows(tmp_path / "c", first, second)
    assert not list(tmp_path.iterdir())


def test_a_patient_in_two_folds_is_never_read(tmp_path):
    import pyarrow as pa

    folder = write(tmp_path / "c")
    same = pa.array(["p"] * 3)
    folds = pa.array(["train", "test", "test"])
    rewrite_index(folder, lambda table: table.set_column(1, "patient_id", same).set_column(2, "fold", folds))
    with pytest.raises(UnreadableCohort, match="patients in several folds: p"):
        open_cohort(folder)


@given(st.lists(st.text(min_size=1), unique=True), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_training_share_takes_no_patient_away(patients, ends):
    small, large = sorted(ends)
    trained = [{each for each in patients if assign_fold(each, (share, 0)) == "train"} for share in (small, large)]
    assert trained[0] <= trained[1]


def test_a_patient_has_the_same_fold_in_every_version():
    pinned = {"patient-0": "train", "patient-9": "development", "patient-14": "test"}
    assert {patient: assign_fold(patient) for patient in pinned} == pinned


def test_folds_have_their_shares():
    folds = [assign_fold(f"patient-{number}") for number in range(5000)]
    shares = [folds.count(fold) / 5000 for fold in FOLDS]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    assert {assign_fold(f"patient-{number}", (0, 0)) for number in range(50)} == {"test"}


def test_select_names_the_rows_of_a_fold(tmp_path):
    cohort = open_cohort(write(tmp_path / "c", rows=40))
    picked = [cohort.select(fold) for fold in FOLDS]
    assert sorted(np.concatenate(picked).tolist()) == list(range(40))
    assert all((cohort.folds[rows] == fold).all() for rows, fold in zip(picked, FOLDS, strict=True))


def test_several_processes_fill_disjoint_rows(tmp_path):
    with write_cohort(tmp_path / "c", source="simulated", rows=2) as writer:
        map_array(writer.folder / ECGS)[1] = ECG
        map_array(writer.folder / ECGS)[0] = ECG + 1
        for number in range(2):
            writer.add(row(number))
    np.testing.assert_array_equal(open_cohort(tmp_path / "c").ecgs, [ECG + 1, ECG])


def test_opening_a_large_cohort_loads_no_array(tmp_path):
    folder = tmp_path / "c"
    with write_cohort(folder, source="simulated", rows=20_000) as writer:  # 2.4 GB, of which nothing is written
        for number in range(20_000):
            writer.add(row(number))
    began = psutil.Process().memory_info().rss
    assert open_cohort(folder).ecgs.nbytes == 2_400_000_000
    assert psutil.Process().memory_info().rss - began < 240_000_000
