"""MIMIC-IV-ECG and its diagnoses, written here in exactly their layout, become a cohort that leaks nothing."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mimic_archive import FOLDS, LABEL_COLUMNS, RELEASE, Archive, steps, write_table
from needed import ECGS, needs_real_ecgs

from inference.file_account import FileAccount
from schemas.errors import InvalidSettings, MalformedRecord, UnreadableCohort
from schemas.messages import DISEASES, SUBTYPES
from training.cohort.layout import MACHINE_MEASUREMENTS
from training.cohort.mimic import LABELS, import_mimic, parse_codes
from training.cohort.source_tables import label_diseases, name_subtype


@pytest.fixture
def archive(tmp_path):
    """An archive with a record of each fold."""
    made = Archive(tmp_path / "mimic")
    for number, fold in enumerate(FOLDS):
        made.add(40000000 + number, 10000000 + number, fold=fold, digital=steps(number))
    return made


def taken(archive, tmp_path, **options):
    return import_mimic(archive.write(), tmp_path / "cohort", **options)


def test_samples_are_kept_and_leads_are_taken_by_name(archive, tmp_path):
    cohort = taken(archive, tmp_path)
    np.testing.assert_array_equal(cohort.ecgs, [steps(0), steps(1), steps(2)])
    assert cohort.record_ids.tolist() == ["40000000", "40000001", "40000002"]
    assert cohort.description.source == "mimic-iv-ecg"


def test_the_last_two_folds_are_development_and_test(archive, tmp_path):
    assert taken(archive, tmp_path).folds.tolist() == ["train", "development", "test"]


def test_no_patient_lies_in_two_folds(archive, tmp_path):
    for number in range(12):
        fold = list(FOLDS)[number % 3]
        archive.add(40000100 + number, 10000000 + number % 3, fold=fold)
    cohort = taken(archive, tmp_path)
    of_fold = [set(cohort.patient_ids[cohort.select(fold)].tolist()) for fold in FOLDS]
    assert [len(patients) for patients in of_fold] == [1, 1, 1]
    assert not of_fold[0] & of_fold[1]
    assert not of_fold[0] & of_fold[2]
    assert not of_fold[1] & of_fold[2]
    assert len(cohort) == 15


def test_a_split_that_tears_a_patient_apart_is_refused(archive, tmp_path):
    archive.add(40000010, 10000000, fold="test")
    with pytest.raises(UnreadableCohort, match=r"10000000.*strat_fold"):
        taken(archive, tmp_path)
    assert not (tmp_path / "cohort").exists()


def test_the_diseases_are_those_of_the_published_lists(archive, tmp_path):
    archive.add(40000010, 10000010, codes=["I2510", "I5022", "E785"]).add(40000011, 10000011, codes=["I10"])
    cohort = taken(archive, tmp_path)
    np.testing.assert_array_equal(cohort.diseases[3:], [[1, 0, 1, 0, 0], [0] * 5])


def test_an_ecg_outside_any_stay_has_unknown_labels_not_negative_ones(archive, tmp_path):
    assert np.isnan(taken(archive, tmp_path).diseases).all()


def test_the_hospital_diagnoses_serve_where_there_are_no_others(archive, tmp_path):
    archive.add(40000010, 10000010, all_diag_hosp="['I270']")
    root = archive.write()
    lines = (root / LABELS).read_text().replace("all_diag_all", "something_else")
    (root / LABELS).write_text(lines)
    assert import_mimic(root, tmp_path / "cohort").diseases[3, DISEASES.index("pulmonary_hypertension")] == 1


@pytest.mark.parametrize(
    ("codes", "disease"),
    [
        (["I200", "I219", "I240", "I2510"], "coronary_artery_disease"),
        (["I420", "I43", "I255", "I429"], "cardiomyopathy"),
        (["I501", "I5043"], "heart_failure"),
        (["I270", "I2720"], "pulmonary_hypertension"),
        (["I309", "I313", "I32"], "pericarditis"),
    ],
)
def test_each_code_of_a_list_means_its_disease(codes, disease):
    for code in codes:
        assert label_diseases([code])[disease]
    assert not any(label_diseases(["I10", "I26", "I33", "I40", "I48", "I51", "E785"]).values())


def test_an_ischaemic_cardiomyopathy_is_of_both_kinds():
    assert [disease for disease, has in label_diseases(["I255"]).items() if has] == list(DISEASES[:2])


@pytest.mark.parametrize(
    ("codes", "subtype"),
    [
        (["I420"], "dilated"),
        (["I421"], "hypertrophic"),
        (["I422"], "hypertrophic"),
        (["I425"], "restrictive"),
        (["I429"], None),
        (["I420", "I422"], None),
    ],
)
def test_the_subtype_is_named_only_where_the_codes_name_one(codes, subtype):
    assert name_subtype(codes) == subtype
    assert subtype is None or subtype in SUBTYPES


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "I420",
        "('I420',)",
        "['I420'",
        "[1, 2]",
        "[['I420']]",
        "__import__('os')",
        "nan",
        "[nan]",
        "['nan']",
        "I21;I50",
        "I21|I50",
        "['I21' 'I50', 'E11']",
        "['I21'I50']",
        "['I21 I50']",
        "['I21', I50]",
        "['I21', \"I50\"]",
        "['I21', None]",
        "['I21',]",
        "['I21' ... 'I50']",
        "{'I21', 'I50'}",
        "['4280']",
        "['']",
        "['A']" + " " * 30_000,
        "[" * 9000,
    ],
)
def test_a_cell_that_is_no_list_of_codes_is_refused(text):
    with pytest.raises(MalformedRecord) as refused:
        parse_codes(text)
    assert refused.value.wire_code == "unreadable_labels"


@pytest.mark.parametrize(
    "text",
    [
        "['I21', 'I5022', 'E78.5']",
        '["I21", "I5022", "E78.5"]',
        '["I21","I5022","E78.5"]',
        "['I21' 'I5022' 'E78.5']",
        "['I21' 'I5022'\n 'E78.5']",
        "array(['I21', 'I5022', 'E78.5'], dtype=object)",
        "array(['I21', 'I5022', 'E78.5'], dtype='<U5')",
        "array(['I21', 'I5022', 'E78.5'])",
        "[np.str_('I21'), np.str_('I5022'), np.str_('E78.5')]",
        "[b'I21' b'I5022' b'E78.5']",
        "[I21, I5022, E78.5]",
        "[I21 I5022 E78.5]",
        " [ 'i21', 'i5022', 'e78.5' ] ",
    ],
)
def test_a_list_is_read_in_whatever_words_pandas_numpy_or_json_wrote_it(text):
    assert parse_codes(text) == ["I21", "I5022", "E785"]


@pytest.mark.parametrize("text", ["[]", "[ ]", "array([], dtype=object)"])
def test_an_empty_list_is_a_list(text):
    assert parse_codes(text) == []


def test_what_numpy_writes_of_many_codes_is_one_cell_and_each_code_counts(archive, tmp_path):
    codes = np.array([f"Z{number}" for number in range(10, 60)] + ["I21"])
    archive.add(40000010, 10000010, all_diag_all=str(codes))
    assert "\n" in str(codes)
    assert taken(archive, tmp_path).diseases[3, DISEASES.index("coronary_artery_disease")] == 1


def test_a_table_that_pandas_wrote_anew_is_read(archive, tmp_path):
    archive.add(40000010, 10000010, codes=["I21"])
    for row in archive.labels:
        row.update({name: f"{row[name]}.0" for name in ("study_id", "subject_id", "strat_fold")}, gender="Female")
    cohort = taken(archive, tmp_path)
    assert cohort.record_ids.tolist() == ["40000000", "40000001", "40000002", "40000010"]
    assert cohort.patient_ids.tolist()[3] == "10000010"
    assert cohort.female.tolist() == [1, 1, 1, 1]


def test_diagnoses_may_be_lists_of_a_parquet_table(archive, tmp_path):
    archive.add(40000010, 10000010, codes=["I21"])
    root = archive.write()
    rows = [row | {"all_diag_all": row["all_diag_all"].strip("[']").split() or []} for row in archive.labels]
    columns = {name: [row[name] for row in rows] for name in ("file_name", "study_id", "subject_id", "strat_fold")}
    columns["all_diag_all"] = pa.array([row["all_diag_all"] for row in rows], pa.list_(pa.string()))
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    cohort = import_mimic(root, tmp_path / "cohort", labels=tmp_path / "labels.parquet")
    np.testing.assert_array_equal(cohort.diseases[:, 0], [np.nan, np.nan, np.nan, 1])


@given(st.lists(st.from_regex(r"[A-Z][0-9]{2}(\.?[0-9A-Z]{1,4})?", fullmatch=True), max_size=40))
def test_codes_are_read_back_as_written_but_for_the_dot(codes):
    plain = [code.replace(".", "") for code in codes]
    assert (
        parse_codes(str(codes)) == parse_codes(json.dumps(codes)) == parse_codes(str(np.array(codes, object))) == plain
    )


def test_29999_is_no_measurement(archive, tmp_path):
    known = {"rr_interval": 800, "p_onset": 100, "qrs_onset": 260, "qrs_end": 350, "t_end": 650, "qrs_axis": -20}
    archive.measure(40000001, **known).measure(40000000, rr_interval=1000, qrs_onset=200, qrs_end=29999)
    machine = taken(archive, tmp_path).machine
    np.testing.assert_array_equal(machine[0], [60, *[np.nan] * 6])
    np.testing.assert_array_equal(machine[1], [75, 160, 90, 390, np.nan, -20, np.nan])
    assert np.isnan(machine[2]).all()
    assert len(MACHINE_MEASUREMENTS) == machine.shape[1]


def test_atrial_fibrillation_is_the_machines_word(archive, tmp_path):
    archive.measure(40000000, ["Atrial fibrillation with rapid ventricular response"])
    archive.measure(40000001, ["Sinus rhythm", "Atrial fibrillation no longer present"])
    np.testing.assert_array_equal(taken(archive, tmp_path).atrial_fibrillation, [1, 0, np.nan])


def test_what_is_missing_of_a_person_is_unknown(archive, tmp_path):
    archive.add(40000010, 10000010, gender="missing", age="").add(40000011, 10000011, gender="M", age=55)
    cohort = taken(archive, tmp_path)
    np.testing.assert_array_equal(cohort.female[2:], [1, np.nan, 0])
    np.testing.assert_array_equal(cohort.age_years[2:], [63, np.nan, 55])


def broken_records():
    flat, gap, short_gap = steps(), steps(), steps()
    flat[6] = 0
    gap[2, 100:900] = -32768
    short_gap[2, 100:110] = -32768
    return {
        "flat_lead": {"digital": flat},
        "nan_run": {"digital": gap},
        "too_short": {"digital": steps()[:, :4800]},
        "missing_file": {"written": False},
        "other_patient": {"header": 19999999},
        "unreadable_labels": {"all_diag_all": "nan"},
        "malformed_record": {"file_name": "../../etc/passwd"},
    }, short_gap


def test_what_cannot_be_used_is_counted_by_code_and_its_neighbours_are_kept(archive, tmp_path):
    broken, short_gap = broken_records()
    for number, changes in enumerate(broken.values()):
        archive.add(40000020 + number, 10000020 + number, **changes)
    archive.add(40000040, 10000040, digital=short_gap)
    cohort = taken(archive, tmp_path)
    assert cohort.description.skipped == dict.fromkeys(sorted(broken), 1)
    assert cohort.record_ids.tolist() == ["40000000", "40000001", "40000002", "40000040"]
    np.testing.assert_array_equal(cohort.ecgs[2], steps(2))
    assert np.abs(cohort.ecgs[3]).max() < 2000  # the short gap was bridged


def test_an_archive_of_which_nothing_can_be_used_is_refused(archive, tmp_path):
    for row in archive.labels:
        row["all_diag_all"] = "nan"
    with pytest.raises(UnreadableCohort, match=r"unreadable_labels.*3"):
        taken(archive, tmp_path)


def test_progress_counts_every_row(archive, tmp_path):
    seen = []
    taken(archive.add(40000020, 10000020, written=False), tmp_path, progress=lambda *done: seen.append(done))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_diagnoses_may_lie_elsewhere(archive, tmp_path):
    table = archive.write() / LABELS
    moved = table.rename(tmp_path / "elsewhere.csv")
    with pytest.raises(InvalidSettings, match="--labels"):
        import_mimic(archive.root, tmp_path / "cohort")
    assert len(import_mimic(archive.root, tmp_path / "cohort", labels=moved)) == 3


def test_a_folder_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="files"):
        import_mimic(tmp_path, tmp_path / "cohort")


def test_a_table_without_a_needed_column_is_refused(archive, tmp_path):
    root = archive.write()
    (root / LABELS).write_text((root / LABELS).read_text().replace("file_name", "name"))
    with pytest.raises(UnreadableCohort, match="file_name"):
        import_mimic(root, tmp_path / "cohort")


@needs_real_ecgs
def test_real_records_in_mimics_layout_are_taken(tmp_path):
    root = tmp_path / "mimic"
    root.mkdir()
    (root / "files").symlink_to(ECGS / "mimic_format" / "files")
    with (ECGS / "mimic_format" / "record_list.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    rows = [
        dict.fromkeys(LABEL_COLUMNS, "")
        | {"file_name": f"{RELEASE}/{entry['path']}", "study_id": entry["study_id"], "subject_id": entry["subject_id"]}
        | {"all_diag_all": "['I10']", "strat_fold": number % 20}
        for number, entry in enumerate(listed)
    ]
    write_table(root / LABELS, LABEL_COLUMNS, rows)
    cohort = import_mimic(root, tmp_path / "cohort")
    assert len(cohort) + sum(cohort.description.skipped.values()) == len(listed) == 24
    assert set(cohort.description.skipped) <= {"flat_lead"}
    ecgs = np.asarray(cohort.ecgs, float)
    one, two, three, _, avl, avf = (ecgs[:, lead] for lead in range(6))
    assert np.median(np.abs(avf - (two + three) / 2)) <= 2
    assert np.median(np.abs(avl - (one - three) / 2)) <= 2


def test_a_second_row_of_one_study_is_refused_and_told(archive, tmp_path):
    rows = len(archive.labels)
    archive.labels.append(dict(archive.labels[0]))
    account = FileAccount()
    cohort = import_mimic(archive.write(), tmp_path / "c", account=account)
    assert cohort.description.rows == rows
    assert cohort.description.skipped == {"doubled_id": 1}
    (note,) = account.first_notes
    assert (note.status, note.code, note.path) == ("refused", "doubled_id", archive.labels[0]["file_name"])
