"""The table of one's own pairs: what spreadsheets write is read, and a fault is told by row, column and remedy."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_pairs import patient, write_table

from inference.phenotypes import MEASUREMENTS
from schemas.errors import InvalidSettings, UnreadableCohort
from schemas.messages import DISEASES
from training.cohort.layout import FOLDS, PHENOTYPES, assign_fold
from training.cohort.pairs_table import COLUMNS, check_pairs
from training.cohort.plausible import BOUNDS, find_other_unit
from training.cohort.text_table import open_table

ROW = {"ecg": "a.hea", "patient": "p1"}
LVEF = next(measurement for measurement in MEASUREMENTS if measurement.name == "LVEF")
HEARTS = np.array([patient(number).phenotypes for number in range(60)])


def checked(path, **options):
    return check_pairs(open_table(path), **options)


def pairs(tmp_path, *rows, **options):
    return list(checked(write_table(tmp_path / "pairs.csv", [ROW, *rows][bool(rows) :], **options)).pairs())


def refused(tmp_path, *rows):
    with pytest.raises(UnreadableCohort) as refusal:
        pairs(tmp_path, *rows)
    return str(refusal.value)


def test_every_column_is_read_as_what_it_is(tmp_path):
    known = {name: f"{value:.3f}" for name, value in zip(PHENOTYPES, HEARTS[0], strict=True)}
    labels = dict.fromkeys(DISEASES, "0") | {"heart_failure": "1", "pericarditis": ""}
    row = ROW | {"cine": "c/a.nii.gz", "id": "e1", "fold": "Test", "age": "63", "sex": "Female"}
    row |= labels | known | {"atrial_fibrillation": "1", "cardiomyopathy_subtype": "dilated"}
    (pair,) = pairs(tmp_path, row)
    assert set(row) == set(COLUMNS)
    assert (pair.ecg, pair.cine, pair.implausible) == ("a.hea", "c/a.nii.gz", ())
    index = pair.row
    assert (index.record_id, index.patient_id, index.fold) == ("e1", "p1", "test")
    assert (index.age_years, index.female, index.atrial_fibrillation) == (63, True, True)
    assert index.diseases == dict.fromkeys(DISEASES[:4], False) | {"heart_failure": True}
    assert index.subtype == "dilated"
    np.testing.assert_allclose(index.phenotypes, HEARTS[0], atol=1e-3)


def test_what_is_empty_is_unknown_and_the_path_is_the_id(tmp_path):
    (pair,) = pairs(tmp_path, ROW | {"LVEF": "NA", "heart_failure": "", "sex": "n/a", "age": "nan", "cine": ""})
    assert (pair.row.record_id, pair.cine, pair.row.female, pair.row.diseases) == ("a.hea", None, None, {})
    assert np.isnan([pair.row.age_years, *pair.row.phenotypes]).all()
    assert pair.row.fold == assign_fold("p1")


GERMAN = ROW | {"LVEF": "61,5", "sex": "w"}


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ";", "encoding": "utf-8-sig", "end": "\r\n"},
        {"separator": "\t", "end": "\r\n"},
        {"separator": ","},
        {"separator": ";", "end": "\r"},
    ],
    ids=["Excel in German", "tabs", "quoted", "an old Macintosh"],
)
def test_what_spreadsheets_write_is_read(tmp_path, options):
    row = GERMAN if options["separator"] != "," else GERMAN | {"LVEF": "61.5"}
    second = row | {"ecg": "Ödem, links.hea", "patient": "p2"}
    first, other = pairs(tmp_path, row, second, {}, **options)
    assert first.row.phenotypes[PHENOTYPES.index("LVEF")] == 61.5
    assert first.row.female is True
    assert other.ecg == "Ödem, links.hea"


def test_a_table_in_parquet_is_the_same_table(tmp_path):
    table = pa.table({
        "ecg": ["a.hea", "b.hea"], "patient": [17, 18], "heart_failure": [True, None], "LVEF": [61.5, None],
        "age": pa.array([63, None], pa.int8()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "pairs.parquet")
    first, second = checked(tmp_path / "pairs.parquet").pairs()
    assert (first.row.patient_id, first.row.diseases, first.row.age_years) == ("17", {"heart_failure": True}, 63)
    assert first.row.phenotypes[PHENOTYPES.index("LVEF")] == 61.5
    assert second.row.diseases == {}


def test_a_patient_number_that_pandas_made_a_fraction_is_the_number(tmp_path):
    first, second = pairs(tmp_path, ROW | {"patient": "17.0"}, {"ecg": "b.hea", "patient": "v1.0"})
    assert (first.row.patient_id, second.row.patient_id) == ("17", "v1.0")


def test_a_path_of_windows_leads_to_the_same_file(tmp_path):
    (pair,) = pairs(tmp_path, ROW | {"ecg": r"ward 3\.\a.hea"})
    assert pair.ecg == "ward 3/a.hea"


FAULTS = {
    "outside": ([ROW | {"ecg": "../a.hea"}], r"row 2: the column ecg has \.\./a\.hea, which is not below ROOT"),
    "absolute": ([ROW | {"ecg": "/data/a.hea"}], "which is not below ROOT"),
    "a drive": ([ROW | {"ecg": r"C:\data\a.hea"}], "which is not below ROOT"),
    "a cine outside": ([ROW | {"cine": "x/../../c.npy"}], "the column cine has"),
    "no ecg": ([{"ecg": "", "patient": "p"}], "row 2: the column ecg is empty"),
    "no patient": ([{"ecg": "a", "patient": ""}], "row 2: the column patient is empty"),
    "an ECG twice": ([ROW | {"id": "1"}, ROW | {"id": "2"}], r"row 3: a second row of the ECG a\.hea"),
    "an id twice": ([ROW | {"id": "1"}, {"ecg": "b", "patient": "p", "id": "1"}], "a second row with the id 1"),
    "two folds": (
        [ROW | {"fold": "train"}, {"ecg": "b", "patient": "p1", "fold": "test"}],
        "row 3: patient p1 is in the test fold, and was in the train fold",
    ),
    "another fold": ([ROW | {"fold": "val"}], "the column fold has 'val': write train, development, test"),
    "an empty fold": (
        [ROW | {"fold": "train"}, {"ecg": "b", "patient": "p"}],
        "the column fold is empty: fill it in all rows, or leave the column out",
    ),
    "two patients' cine": (
        [ROW | {"cine": "c.npy"}, {"ecg": "b", "patient": "p2", "cine": "./c.npy"}],
        r"the cine c\.npy is patient p2's, and was patient p1's",
    ),
    "no label": ([ROW | {"heart_failure": "yes"}], "the column heart_failure has 'yes': write 1 or 0, or nothing"),
    "no sex": ([ROW | {"sex": "1"}], "the column sex has '1': write female or male, or nothing"),
    "no subtype": ([ROW | {"cardiomyopathy_subtype": "DCM"}], "write restrictive, dilated, hypertrophic, or nothing"),
    "no number": ([ROW | {"LVEF": "61,5"}], "the column LVEF has '61,5', which is no number"),
    "a range": ([ROW | {"LVEF": ">60"}], "the column LVEF has '>60', which is no number"),
    "infinite": ([ROW | {"LVEF": "inf"}], "the column LVEF has 'inf', which is no number"),
    "a long id": ([ROW | {"ecg": "a/" * 130 + "a"}], "an id of more than 256 characters: .* in a column id"),
    "hidden characters": ([ROW | {"patient": "p\x07"}], "the column patient has control characters"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_row_is_told_by_its_number_its_column_and_what_to_write(tmp_path, name):
    rows, words = FAULTS[name]
    columns = dict.fromkeys(key for row in rows for key in row)
    with pytest.raises(UnreadableCohort, match=words):
        pairs(tmp_path, *[dict.fromkeys(columns, "") | row for row in rows])


def test_of_many_faulty_rows_the_first_are_shown_and_all_are_told(tmp_path):
    rows = [{"ecg": f"{place}", "patient": ""} for place in range(9)]
    table, notes = write_table(tmp_path / "pairs.csv", rows), []
    with pytest.raises(UnreadableCohort, match=r"9 faulty rows\. row 2: .*; row 6: .*; and 4 more: --errors FILE"):
        checked(table, tell=notes.append)
    assert [(note.status, note.code, note.path) for note in notes][-1] == ("refused", "faulty_row", f"{table}, row 10")


TORN = {
    "empty": (b"", "is empty"),
    "header alone": (b"ecg,patient\n", "has no row"),
    "empty rows": (b"ecg;patient\r\n;\r\n;\r\n", "has no row"),
    "a workbook": (b"PK\x03\x04....", "workbook of a spreadsheet program: save it as CSV in UTF-8"),
    "an old workbook": (b"\xd0\xcf\x11\xe0....", "workbook"),
    "UTF-16": ("ecg\tpatient\n".encode("utf-16"), "is in UTF-16"),
    "Latin-1": ("ecg;patient\nÖdem;p\n".encode("latin-1"), "is not in UTF-8"),
    "cut off": (b"ecg,patient,LVEF\na,p,60\nb,p", "row 3 has 2 cells, and the header has 3"),
    "a separator": (b"ecg,patient\na,b,p\n", "row 2 has 3 cells, and the header has 2"),
    "quotes": (b'ecg,patient\n"a,p\nb,p\n', "row 2 cannot be read: a quotation mark has no partner"),
    "two of a name": (b"ecg,patient,LVEF,LVEF\na,p,1,2\n", "several columns LVEF"),
    "no patients": (b"ecg,LVEF\na,60\n", "lacks the columns patient; it has ecg, LVEF"),
    "other names": (b"record,patient_id\na,p\n", r"record \(is it ecg\?\), patient_id \(is it patient\?\)"),
}


@pytest.mark.parametrize("name", TORN)
def test_what_is_no_such_table_is_refused_by_what_it_is(tmp_path, name):
    content, words = TORN[name]
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(UnreadableCohort, match=words):
        checked(tmp_path / "pairs.csv")


def test_a_table_that_is_not_there_or_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="is not there"):
        checked(tmp_path / "pairs.csv")
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UnreadableCohort, match="is not a table"):
        checked(tmp_path / "pairs.parquet")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lvef", "lvef (is it LVEF, in %?)"),
        ("LVEDVi", "LVEDVi (is it LVEDV, in mL?)"),
        ("heart failure", "heart failure (is it heart_failure?)"),
        ("LV wall thickness global", "LV_wall_thickness_global, in mm?"),
        ("age_years", "age_years (is it age?)"),
        ("Gender", "Gender (is it sex?)"),
    ],
)
def test_a_slip_in_a_columns_name_is_refused_with_the_name_that_was_meant(tmp_path, name, words):
    assert words in (said := refused(tmp_path, ROW | {name: "1"}))
    assert f"Rename, or --ignore {name}" in said


def test_other_columns_are_left_out_and_told_and_so_is_one_that_is_to_be_ignored(tmp_path):
    rows = [ROW | {"scanner": "A", "LVEDV": "150", "LVEDVi": "75", "lvef": "60"}]
    table, notes = write_table(tmp_path / "pairs.csv", rows), []
    found = checked(table, ignored=["lvef"], tell=notes.append)
    assert found.left_out == ("scanner", "LVEDVi", "lvef")
    assert [(note.status, note.code) for note in notes] == [("taken", "unknown_column")] * 3
    with pytest.raises(InvalidSettings, match="has no column nonsense to ignore"):
        checked(table, ignored=["nonsense"])


def test_a_value_that_no_adult_has_is_unknown_and_told(tmp_path):
    rows = [
        {"ecg": f"{n}", "patient": f"{n}", "LVEF": value, "age": "60"} for n, value in enumerate(["58", "0.6", "61"])
    ]
    rows[2]["age"] = "610"
    first, second, third = pairs(tmp_path, *rows)
    lvef = PHENOTYPES.index("LVEF")
    assert first.row.phenotypes[lvef] == 58
    assert np.isnan(second.row.phenotypes[lvef])
    assert second.implausible == ("LVEF of 0.6: it lies between 2 and 95, so it counts as unknown",)
    assert third.implausible == ("age of 610: it lies between 0 and 120, so it counts as unknown",)


UNITS = {
    "LVEF": (0.01, "multiplied by 100,"),
    "LVEDV": (0.001, "multiplied by 1000,"),
    "LVCO": (1000, "multiplied by 0.001,"),
    "LV_wall_thickness_global": (0.1, "multiplied by 10,"),
    "ascending_aorta_max_area": (0.01, "multiplied by 100,"),
    "ascending_aorta_distensibility": (0.001, "multiplied by 1000,"),
    "LV_circumferential_strain_global": (-1, "multiplied by -1,"),
    "LV_longitudinal_strain_global": (0.01, "multiplied by 100,"),
    "LV_radial_strain_global": (0.01, "multiplied by 100,"),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_column_in_another_unit_is_refused_with_the_factor(tmp_path, name):
    factor, words = UNITS[name]
    values = HEARTS[:20, PHENOTYPES.index(name)] * factor
    rows = [{"ecg": f"{n}", "patient": f"{n}", name: f"{value:.6f}"} for n, value in enumerate(values)]
    said = refused(tmp_path, *rows)
    assert f"{name} is in " in said
    assert words in said


def test_the_bounds_refuse_no_simulated_heart_and_no_group_of_them():
    lowest = np.array([BOUNDS[name].low for name in PHENOTYPES])
    highest = np.array([BOUNDS[name].high for name in PHENOTYPES])
    assert (lowest <= HEARTS).all()
    assert (highest >= HEARTS).all()
    sick = HEARTS[HEARTS[:, PHENOTYPES.index("LVEF")].argsort()[:10]]
    for group in (HEARTS, sick):
        assert not [
            found
            for each, column in zip(MEASUREMENTS, group.T, strict=True)
            if (found := find_other_unit(each, column))
        ]


def test_few_values_say_nothing_of_a_unit_unless_they_are_impossible():
    assert find_other_unit(LVEF, [9.0, 8.0]) is None
    assert find_other_unit(LVEF, []) is None
    assert find_other_unit(LVEF, [0.6]) is not None


def test_the_patients_of_a_table_without_folds_are_split_by_their_names(tmp_path):
    rows = [{"ecg": f"{n}", "patient": f"{n // 2}"} for n in range(400)]
    split = {}
    for pair in pairs(tmp_path, *rows):
        assert split.setdefault(pair.row.patient_id, pair.row.fold) == pair.row.fold
    assert set(split.values()) == set(FOLDS)
