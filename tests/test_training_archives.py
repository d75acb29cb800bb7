"""A model's answers beside an archive's labels, in the published layouts, against figures that scikit-learn gives."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from judged_archive import write_ptb_xl
from mimic_archive import LABEL_COLUMNS, Archive
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from inference.bundle import default_bundle, load_bundle
from schemas.errors import InvalidSettings, MalformedRecord, UnreadableCohort
from schemas.messages import DISEASES
from training.cohort.mimic import LABELS
from training.evaluation.archives.account import Refusals, count_everyone
from training.evaluation.archives.answers import Matching, ScreenedBatch
from training.evaluation.archives.disease_figures import NoShift, Shift
from training.evaluation.archives.evaluation import ALL, FIRST, Screened, is_unseen, judge_archive
from training.evaluation.archives.figures_as_json import as_json
from training.evaluation.archives.label_table import parse_folds, read_labels
from training.evaluation.archives.layouts import parse_statements
from training.evaluation.archives.report import write_archive_report
from training.evaluation.archives.sample import first_of_each_patient, rows_to_judge, take_sample
from training.evaluation.archives.superclass_figures import ABNORMAL, HIGHEST

CODES = ("I2510", "I429", "I500", "I270", "I319")
WHOLE = Screened("out", "mimic-iv-ecg", "onnxruntime", "0.2.0", ecgs=1, shards=1, done=1)
DRAWS = 20


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


class Planted:
    """Patients with up to four ECGs, in MIMIC-IV-ECG's layout, and a model's answers; a list of plain dicts."""

    def __init__(self, patients, seed=0):
        rng = np.random.default_rng(seed)
        self.rows = []
        for patient in range(patients):
            for ecg in range(1 + patient % 4):
                probabilities = np.round(rng.beta(1, 6, 5), 6)
                ill = rng.random(5) < 1.6 * probabilities
                self.rows.append(
                    {
                        "study": 40000000 + len(self.rows),
                        "subject": 10000000 + patient,
                        "fold": ("test", "test", "development", "train")[patient // 4 % 4],
                        "time": f"2180-0{1 + (7 * ecg + patient) % 9}-11 08:44:00",
                        "codes": [code for code, has in zip(CODES, ill, strict=True) if has] or ["Z000"],
                        "probabilities": probabilities,
                        "outcomes": ill,
                    }
                )

    def of(self, fold, first=False):
        """Return outcomes and probabilities of a fold: of all ECGs, or of the first of each patient."""
        rows = sorted((row for row in self.rows if row["fold"] == fold), key=lambda row: (row["time"], row["study"]))
        if first:
            rows = list({row["subject"]: row for row in rows[::-1]}.values())
        return (np.array([row[name] for row in rows]) for name in ("outcomes", "probabilities"))

    def write(self, folder):
        archive = Archive(folder)
        for number, row in enumerate(self.rows):
            archive.add(
                row["study"],
                row["subject"],
                codes=row["codes"],
                fold=row["fold"],
                written=False,
                ecg_time=row["time"],
                gender="FM"[number % 2],
                age=30 + number % 60,
                ecg_taken_in_ed=str(number % 3 == 0),
                ecg_taken_in_hosp=str(number % 3 > 0),
            )
        return archive.write() / LABELS


def batch(rows, named=True):
    return ScreenedBatch(
        keys=np.array([row["study"] for row in rows]),
        patients=np.array([row["subject"] if named else -1 for row in rows]),
        probabilities=np.array([row["probabilities"] for row in rows]).reshape(-1, 5),
    )


def answered(labels, rows):
    matching = Matching(labels)
    matching.screened(batch(rows))
    return matching.done()


@pytest.fixture(scope="module")
def planted():
    return Planted(400)


@pytest.fixture(scope="module")
def labels(planted, tmp_path_factory):
    return read_labels(planted.write(tmp_path_factory.mktemp("planted") / "mimic"))


@pytest.fixture(scope="module")
def evaluation(planted, labels, bundle):
    return judge_archive(bundle, WHOLE, labels, answered(labels, planted.rows), draws=DRAWS)


@pytest.mark.parametrize(("unit", "first"), [(FIRST, True), (ALL, False)])
def test_the_figures_of_five_diseases_are_those_of_scikit_learn_on_the_published_test_fold(
    evaluation, planted, bundle, unit, first
):
    outcomes, probabilities = planted.of("test", first=first)
    figures = evaluation.figures[unit]
    assert figures.records == len(outcomes)
    assert figures.patients == 200
    assert (figures.records == figures.patients) == first
    for place, head in enumerate(bundle.manifest.diseases):
        found, ill, said = figures.diseases[head.name], outcomes[:, place], probabilities[:, place]
        assert found.discrimination.auroc.value == pytest.approx(roc_auc_score(ill, said), abs=1e-6)
        assert found.discrimination.auprc.value == pytest.approx(average_precision_score(ill, said), abs=1e-6)
        assert found.calibration.brier == pytest.approx(brier_score_loss(ill, said), abs=1e-6)
        flagged = said >= head.threshold
        assert found.flagging.sensitivity == pytest.approx(flagged[ill].mean(), abs=1e-6)
        assert found.flagging.specificity == pytest.approx((~flagged)[~ill].mean(), abs=1e-6)
        assert found.flagging.ppv == pytest.approx(ill[flagged].mean(), abs=1e-6)
        assert found.flagging.npv == pytest.approx((~ill)[~flagged].mean(), abs=1e-6)
        assert found.discrimination.auroc.low < found.discrimination.auroc.value < found.discrimination.auroc.high
    macro = np.mean([roc_auc_score(outcomes[:, place], probabilities[:, place]) for place in range(5)])
    assert figures.macro_auroc.value == pytest.approx(macro, abs=1e-6)


def test_an_ecg_outside_any_stay_is_in_no_figure_and_its_patient_counts_by_the_next_one(planted, bundle, tmp_path):
    outside = Planted(0)
    firsts = {row["subject"]: row["study"] for row in sorted(planted.rows, key=lambda row: row["time"], reverse=True)}
    outside.rows = [row | ({"codes": []} if firsts[row["subject"]] == row["study"] else {}) for row in planted.rows]
    table = read_labels(outside.write(tmp_path / "outside"))
    found = judge_archive(bundle, WHOLE, table, answered(table, outside.rows), draws=DRAWS)
    left = Planted(0)
    left.rows = [row for row in outside.rows if row["codes"]]
    for unit, first in ((FIRST, True), (ALL, False)):
        outcomes, probabilities = left.of("test", first=first)
        figures = found.figures[unit]
        auroc = roc_auc_score(outcomes[:, 1], probabilities[:, 1])
        assert (figures.records, figures.patients) == (len(outcomes), 150)  # the others had one ECG
        assert figures.diseases["cardiomyopathy"].discrimination.auroc.value == pytest.approx(auroc, abs=1e-6)
    assert (found.account.unlabelled, found.account.patients_without_label) == (200, 50)


def test_the_one_ecg_of_a_patient_is_the_first_in_time_and_not_in_the_table(planted, labels):
    rows = first_of_each_patient(labels, np.flatnonzero(labels.judged))
    found = dict(zip(labels.patients[rows].tolist(), labels.keys[rows].tolist(), strict=True))
    moved = 0
    for subject, study in found.items():
        mine = [row for row in planted.rows if row["subject"] == subject]
        assert study == min(mine, key=lambda row: row["time"])["study"]
        moved += study != mine[0]["study"]
    assert moved > 10


def test_a_patients_first_judged_ecg_counts_where_the_first_of_all_was_refused(planted, labels):
    mine = [row for row in planted.rows if row["subject"] == 10000003]
    first = min(mine, key=lambda row: row["time"])
    answers = answered(labels, [row for row in planted.rows if row is not first])
    rows = first_of_each_patient(labels, rows_to_judge(labels, answers, labels.folds.judged))
    left = [row for row in mine if row is not first]
    assert min(left, key=lambda row: row["time"])["study"] in labels.keys[rows]


@pytest.mark.parametrize(("unit", "first"), [(FIRST, True), (ALL, False)])
def test_the_shift_makes_the_development_folds_mean_its_prevalence_and_is_judged_on_the_test_fold(
    evaluation, planted, unit, first
):
    ill_then, said_then = planted.of("development", first=first)
    outcomes, probabilities = planted.of("test", first=first)
    for place, disease in enumerate(DISEASES):
        shift = evaluation.figures[unit].shifts[disease]
        assert (shift.records, shift.positives) == (len(ill_then), ill_then[:, place].sum())
        moved = expit(logit(said_then[:, place].clip(1e-6, 1 - 1e-6)) + shift.logits)
        assert moved.mean() == pytest.approx(ill_then[:, place].mean(), abs=1e-5)
        after = expit(logit(probabilities[:, place].clip(1e-6, 1 - 1e-6)) + shift.logits)
        assert shift.after.brier == pytest.approx(brier_score_loss(outcomes[:, place], after), abs=1e-5)
        before = evaluation.figures[unit].diseases[disease].calibration
        assert shift.after.observed_over_expected != before.observed_over_expected
        assert shift.after.calibration_slope == pytest.approx(before.calibration_slope, abs=1e-4)


def test_where_the_development_fold_was_not_screened_the_shift_is_absent_and_says_why(planted, labels, bundle):
    answers = answered(labels, [row for row in planted.rows if row["fold"] == "test"])
    found = judge_archive(bundle, WHOLE, labels, answers, draws=DRAWS)
    assert {type(shift) for shift in found.figures[ALL].shifts.values()} == {NoShift}
    assert any("no ECG of fold 18 was screened" in warning for warning in found.warnings)


def test_a_shift_needs_some_cases(labels, planted, bundle, tmp_path):
    few = Planted(0)
    few.rows = [row | ({"codes": ["Z000"]} if row["fold"] == "development" else {}) for row in planted.rows]
    table = read_labels(few.write(tmp_path / "few"))
    found = judge_archive(bundle, WHOLE, table, answered(table, few.rows), draws=DRAWS)
    shifts = found.figures[ALL].shifts.values()
    assert {shift.reason for shift in shifts} == {"0 of 250 ECGs of the development fold have the disease"}


def test_the_anchors_code_is_judged_alone_beside_the_disease(planted, bundle, tmp_path):
    other = Planted(0)
    other.rows = [
        row | {"codes": ["I21" if code == "I2510" and row["study"] % 2 else code for code in row["codes"]]}
        for row in planted.rows
    ]
    table = read_labels(other.write(tmp_path / "other"))
    figures = judge_archive(bundle, WHOLE, table, answered(table, other.rows), draws=DRAWS).figures[ALL]
    test = [row for row in other.rows if row["fold"] == "test"]
    said = [row["probabilities"][0] for row in test]
    for value, code in (
        (figures.anchored["coronary_artery_disease"].value, ("I25",)),
        (figures.diseases["coronary_artery_disease"].discrimination.auroc.value, ("I25", "I21")),
    ):
        ill = [any(one.startswith(code) for one in row["codes"]) for row in test]
        assert value == pytest.approx(roc_auc_score(ill, said), abs=1e-6)


def test_subgroups_are_those_of_sex_age_and_the_place_where_the_ecg_was_taken(evaluation, planted):
    groups = evaluation.figures[ALL].subgroups
    assert set(groups) == {"sex", "age", "where the ECG was taken"}
    assert set(groups["where the ECG was taken"]) == {"emergency department", "hospital"}
    for attribute in groups:
        assert sum(group.records for group in groups[attribute].values()) == evaluation.figures[ALL].records
    women = [row for number, row in enumerate(planted.rows) if number % 2 == 0 and row["fold"] == "test"]
    auroc = roc_auc_score([row["outcomes"][2] for row in women], [row["probabilities"][2] for row in women])
    assert groups["sex"]["female"].auroc["heart_failure"].value == pytest.approx(auroc, abs=1e-6)


def test_a_disease_with_too_few_cases_in_a_subgroup_is_left_out_there(planted, bundle, tmp_path):
    few, cases = Planted(0), 0
    for number, row in enumerate(planted.rows):
        codes = [code for code in row["codes"] if code != "I319"]
        if row["fold"] == "test" and number % 2 == 0 and cases < 4:  # of the women
            codes, cases = [*codes, "I319"], cases + 1
        if row["fold"] == "test" and number % 10 == 1:  # of the men
            codes = [*codes, "I319"]
        few.rows.append(row | {"codes": codes or ["Z000"]})
    table = read_labels(few.write(tmp_path / "few"))
    groups = judge_archive(bundle, WHOLE, table, answered(table, few.rows), draws=DRAWS).figures[ALL].subgroups["sex"]
    assert "pericarditis" in groups["male"].auroc
    assert "pericarditis" not in groups["female"].auroc


def test_nobody_is_dropped_in_silence(tmp_path, bundle):
    archive = Archive(tmp_path / "mimic")
    names = "judged again unlabelled unreadable refused_ill refused_unlabelled refused_unreadable absent open other "
    studies = {name: 40000000 + number for number, name in enumerate([*names.split(), "elsewhere"])}
    codes = {"judged": ["I50"], "again": ["Z00"], "unreadable": ["Z00"], "refused_ill": ["I50"], "absent": ["I50"],
             "open": ["I50"], "other": ["I50"], "elsewhere": ["I50"]}  # fmt: skip
    for number, (name, study) in enumerate(studies.items()):
        cells = {"all_diag_all": "I50"} if "unreadable" in name else {}
        subject = 10000000 + (0 if name == "again" else number)
        fold = "train" if name == "elsewhere" else "test"
        archive.add(study, subject, codes=codes.get(name, ()), fold=fold, written=False, **cells)
    archive.add(40000999, 10000999, fold="development", codes=["Z00"], written=False)
    labels = read_labels(archive.write() / LABELS)
    matching = Matching(labels)
    answered_to = ("judged", "again", "unlabelled", "unreadable", "other", "elsewhere")
    keys = np.array([*(studies[name] for name in answered_to), 7, -1])
    patients = np.where(keys == studies["other"], 10099999, -1)
    matching.screened(ScreenedBatch(keys, patients, np.full((len(keys), 5), 0.25)))
    refused = np.array([studies[f"refused_{name}"] for name in ("ill", "unlabelled", "unreadable")])
    matching.refused(refused, ["flat_lead", "nan_run", "nan_run"])
    matching.still_open(np.array([studies["open"]]))
    account = count_everyone(labels, matching.done())
    assert account.refused == {"flat_lead": Refusals(1, 1, 1), "nan_run": Refusals(2, 0, 0)}
    left = msgspec.to_builtins(account) | {"refused": None}
    assert left == {
        "listed": 10, "patients": 9, "absent": 1, "open": 1, "other_patient": 1, "refused": None, "unlabelled": 1,
        "unreadable": 1, "judged": 2, "judged_patients": 1, "patients_without_label": 4, "unlisted": 2, "elsewhere": 1,
    }  # fmt: skip
    assert account.listed == 1 + 1 + 1 + 3 + 1 + 1 + account.judged


def test_draws_are_of_patients_and_fewer_where_there_would_be_too_many(planted, labels):
    sample = take_sample(labels, answered(labels, planted.rows), np.flatnonzero(labels.judged))
    weights = sample.draw(50)
    for patient in np.unique(sample.patients)[:20]:
        of_patient = weights[:, sample.patients == patient]
        assert (of_patient == of_patient[:, :1]).all()
    assert len(sample.draw(50, most=10 * len(sample) + 1)) == 10
    assert len(sample.draw(50, most=0)) == 1


def test_a_patient_in_several_folds_is_told(planted, bundle, tmp_path):
    torn = Planted(0)
    torn.rows = [row | ({"fold": "train"} if row["study"] == 40000002 else {}) for row in planted.rows]
    table = read_labels(torn.write(tmp_path / "torn"))
    assert table.torn_patients == 1
    found = judge_archive(bundle, WHOLE, table, answered(table, torn.rows), draws=DRAWS)
    assert any("ECGs in several folds of strat_fold: 1." in warning for warning in found.warnings)
    assert "1.0.1" in write_archive_report(tmp_path / "report", found).read_text()


def test_labels_of_which_no_row_fits_are_refused_in_a_sentence(labels):
    matching = Matching(labels)
    matching.screened(ScreenedBatch(np.array([1, 2]), np.array([-1, -1]), np.zeros((2, 5))))
    with pytest.raises(InvalidSettings, match=r"none of the archive's 2 ECGs is in .*whose first study_id is 40000000"):
        matching.done()


def test_an_ecg_with_two_answers_is_refused_in_a_sentence(labels, planted):
    matching = Matching(labels)
    matching.screened(batch(planted.rows[:3]))
    for again in (planted.rows[2:5], planted.rows[6:7] * 2):
        with pytest.raises(InvalidSettings, match=r"study_id 4000000[26] has two answers"):
            matching.screened(batch(again))
    with pytest.raises(InvalidSettings, match="study_id 40000000 has two answers"):
        matching.refused(np.array([40000000]), ["flat_lead"])


def test_where_nobody_can_be_judged_the_reasons_are_counted(labels, bundle):
    matching = Matching(labels)
    matching.refused(labels.keys[labels.judged][:3], ["flat_lead"] * 3)
    with pytest.raises(
        InvalidSettings, match=r"no ECG can be judged: of 500 ECGs in fold 19.*497 are not in.*3 were refused"
    ):
        judge_archive(bundle, WHOLE, labels, matching.done(), draws=DRAWS)


def test_doubled_rows_of_labels_are_refused_in_a_sentence(tmp_path):
    archive = Archive(tmp_path / "mimic").add(40000001, written=False).add(40000002, written=False)
    archive.add(40000001, fold="test", written=False)
    with pytest.raises(InvalidSettings, match="lists 1 ECGs more than once, study_id 40000001 among them"):
        read_labels(archive.write() / LABELS)


MIMIC_HEADER = "study_id,subject_id,ecg_time,fold,all_diag_all"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "study_id,subject_id,ecg_time,cart_id\n1,2,3,4\n",
            "it lacks strat_fold or fold, all_diag_all or all_diag_hosp$",
        ),
        ("ecg_id,patient_id,recording_date,strat_fold\n1,2,3,4\n", "ptbxl_database.csv of PTB-XL it lacks scp_codes$"),
        ("name,age\nx,2\n", "records_w_diag_icd10.csv.*study_id.*ptbxl_database.csv.*ecg_id"),
        (f"{MIMIC_HEADER}\n", "lists no ECG"),
        (f"{MIMIC_HEADER}\n1,2,,0,[]\n3,4,,0,[]\n", "all ECGs lie in fold 0 of fold.*--folds 0"),
        ("", "it lacks"),
    ],
)
def test_a_table_that_is_no_table_of_labels_says_what_it_lacks(tmp_path, content, says):
    table = tmp_path / "labels.csv"
    table.write_text(content)
    with pytest.raises(InvalidSettings, match=says):
        read_labels(table)


def test_a_wrong_path_and_a_folder_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(InvalidSettings, match="is not there"):
        read_labels(tmp_path / "gone.csv")
    with pytest.raises(InvalidSettings, match=r"is a folder: name the table in it, records_w_diag_icd10.csv or ptbxl"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    ("cell", "column"), [("", "study_id"), ("s40", "study_id"), ("3.5", "strat_fold"), ("x", "subject_id")]
)
def test_a_row_without_id_or_fold_is_named(tmp_path, cell, column):
    archive = Archive(tmp_path / "mimic").add(40000001, written=False).add(40000002, fold="test", written=False)
    archive.labels[1][column] = cell
    with pytest.raises(UnreadableCohort, match=f"column {column}, row 2: it has no whole number there"):
        read_labels(archive.write() / LABELS)


def test_what_pandas_and_parquet_make_of_the_table_is_read_as_the_published_one(planted, labels, tmp_path):
    table = pacsv.read_csv(labels.path)
    for name in ("study_id", "strat_fold"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast("float64"))
    pq.write_table(table, tmp_path / "labels.parquet")
    again = read_labels(tmp_path / "labels.parquet")
    for name in ("keys", "patients", "fold", "seconds", "female", "age_years", "outcomes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(labels, name))


def test_the_order_of_the_tables_rows_is_of_no_account(labels, tmp_path):
    header, *lines = labels.path.read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([header, *lines[::-1]]))
    turned = read_labels(tmp_path / "turned.csv")
    for name in ("keys", "patients", "fold", "seconds", "female", "age_years", "outcomes", "unreadable"):
        np.testing.assert_array_equal(getattr(turned, name), getattr(labels, name))
    for words, flags in labels.places.items():
        np.testing.assert_array_equal(turned.places[words], flags)


def test_folds_are_numbers_and_ranges():
    there = list(range(20))
    assert parse_folds("19", there, "strat_fold") == (19,)
    assert parse_folds("0-3, 17,19", there, "strat_fold") == (0, 1, 2, 3, 17, 19)
    for asked, says in (
        ("x", "write numbers and ranges"),
        ("", "write numbers and ranges"),
        ("19-18", "names no fold"),
        ("20", "strat_fold has no fold 20: it has 0 to 19"),
    ):
        with pytest.raises(InvalidSettings, match=says):
            parse_folds(asked, there, "strat_fold")


def test_other_folds_are_judged_if_asked_for_and_the_report_says_that_they_are_others(
    labels, planted, bundle, tmp_path
):
    table = read_labels(labels.path, "18,3")
    assert table.folds.development is None
    found = judge_archive(bundle, WHOLE, table, answered(table, planted.rows), draws=DRAWS)
    assert found.figures[ALL].records == sum(row["fold"] != "test" for row in planted.rows)
    text = write_archive_report(tmp_path, found).read_text()
    assert "folds 3, 18 of strat_fold, which is not the published test fold" in text
    assert "the development fold is judged itself" in text


def test_another_column_of_folds_is_judged_by_if_asked_for(planted, tmp_path):
    archive = Archive(tmp_path / "mimic")
    for number in range(6):
        archive.add(40000000 + number, 10000000 + number, fold="train", written=False)
        archive.labels[-1]["fold"] = 17 + number % 3
    path = archive.write() / LABELS
    labels = read_labels(path, fold_column="fold")
    assert (labels.folds.column, labels.folds.judged, labels.folds.are_cohorts) == ("fold", (19,), False)
    assert labels.keys[labels.judged].tolist() == [40000002, 40000005]
    with pytest.raises(InvalidSettings, match="has no column folds: --fold-column names one of"):
        read_labels(path, fold_column="folds")


def test_folds_that_a_model_learned_from_are_refused(labels, planted, bundle):
    manifest = msgspec.structs.replace(bundle.manifest, trained_on="mimic-iv-ecg cohort of 9 patients (7 train)")
    learned = replace(bundle, manifest=manifest)
    answers = answered(labels, planted.rows)
    assert judge_archive(learned, WHOLE, labels, answers, draws=DRAWS).unseen
    for options in ({"asked": "3"}, {"asked": "3,19"}, {"fold_column": "fold"}):
        other = read_labels(labels.path, **options)
        with pytest.raises(InvalidSettings, match="the model learned from this archive's other folds"):
            judge_archive(learned, WHOLE, other, answers, draws=DRAWS)
    assert not is_unseen(replace(labels, torn_patients=1), manifest.trained_on)
    assert is_unseen(replace(labels, torn_patients=1), bundle.manifest.trained_on)  # of simulated patients
    assert not is_unseen(labels, "UK Biobank and MIMIC-IV-ECG; the files do not say which records")


def test_the_report_has_what_became_of_the_ecgs_the_anchors_and_what_the_weights_are(evaluation, bundle, tmp_path):
    report = write_archive_report(tmp_path, evaluation).read_text()
    card = (tmp_path / "model_card.md").read_text()
    for text in (report, card):
        assert "demonstration weights" in text
        assert "Not a medical device" in text
        assert [line for line in text.splitlines() if "nan" in line.split()] == []
    for figure in ("0.838", "0.887", "0.896", "0.849", "0.831", "0.879 (0.853-0.903)", "0.890 (0.836-0.944)"):
        assert figure in report
    assert "| judged, of 200 patients | 500 |" in report
    assert "fold 19 of strat_fold: the published test fold" in report
    assert all((tmp_path / line.split("](")[1].rstrip(")")).is_file() for line in report.splitlines() if "![" in line)
    assert report.count("![") == 8
    written = msgspec.json.decode((tmp_path / "evaluation.json").read_bytes())
    assert written == msgspec.json.decode(msgspec.json.encode(as_json(evaluation)))
    assert written["all_ecgs"]["anchors"]["cardiomyopathy"]["published_auroc"] == 0.887
    assert isinstance(evaluation.figures[ALL].shifts["pericarditis"], Shift)


# PTB-XL

KINDS = {"NORM": "NORM", "MI": "IMI", "STTC": "NDT", "CD": "LAFB", "HYP": "LVH"}


class PlantedPtbXl:
    """ECGs of PTB-XL's superclasses, and a model's answers."""

    def __init__(self, count=900):
        rng = np.random.default_rng(5)
        self.rows, self.said = [], []
        for number in range(1, count + 1):
            names = ["NORM"] if number % 2 else list(rng.choice(list(KINDS)[1:], 1 + number % 3 // 2, replace=False))
            if number % 40 == 1:
                names = ["NORM", "CD"]
            statements = {KINDS[name]: 100.0 for name in names} | {"SR": 0.0}
            self.said.append(np.round(rng.beta(1 + (0 if "NORM" in names else 0.7), 6, 5), 6))
            self.rows.append((number, 1000 + number // 3, 8 + number % 3, statements, {"names": names}))

    def write(self, folder):
        return write_ptb_xl(folder, [(*row[:4], {"sex": row[0] % 2, "age": 40 + row[0] % 40}) for row in self.rows])

    def of_test(self):
        test = [place for place, row in enumerate(self.rows) if row[2] == 10]
        return [self.rows[place][4]["names"] for place in test], np.array([self.said[place] for place in test])

    def answered(self, labels):
        matching = Matching(labels)
        keys = np.array([row[0] for row in self.rows])
        matching.screened(ScreenedBatch(keys, np.full(len(keys), -1), np.array(self.said)))
        return matching.done()


@pytest.fixture(scope="module")
def ptb_xl():
    return PlantedPtbXl()


@pytest.fixture(scope="module")
def ptb_xl_evaluation(ptb_xl, bundle, tmp_path_factory):
    labels = read_labels(ptb_xl.write(tmp_path_factory.mktemp("ptb-xl")))
    return judge_archive(bundle, replace(WHOLE, archive="ptb-xl"), labels, ptb_xl.answered(labels), draws=DRAWS)


def test_ptb_xls_superclasses_are_ranked_against_normal_ecgs_by_each_probability_and_the_highest(
    ptb_xl, ptb_xl_evaluation, bundle
):
    names, said = ptb_xl.of_test()
    figures = ptb_xl_evaluation.figures[ALL]
    assert figures.records == len(names) == 300
    normal = np.array([set(one) == {"NORM"} for one in names])
    thresholds = [head.threshold for head in bundle.manifest.diseases]
    for superclass in ("MI", "STTC", "CD", "HYP"):
        contrast = figures.contrasts[superclass]
        ill = np.array([superclass in one for one in names])
        assert (contrast.positives, contrast.negatives) == (ill.sum(), normal.sum())
        both = ill | normal
        for place, disease in enumerate(DISEASES):
            auroc = roc_auc_score(ill[both], said[both, place])
            assert contrast.auroc[disease].value == pytest.approx(auroc, abs=1e-6)
        assert contrast.flagged_share == pytest.approx((said[ill] >= thresholds).any(axis=1).mean(), abs=1e-6)
    abnormal = np.array([set(one) != {"NORM"} for one in names])
    auroc = roc_auc_score(abnormal, said.max(axis=1))
    assert figures.contrasts[ABNORMAL].auroc[HIGHEST].value == pytest.approx(auroc, abs=1e-6)
    assert auroc > 0.55


def test_an_ecg_that_is_normal_and_something_else_is_not_among_the_normal(ptb_xl, ptb_xl_evaluation):
    names, _ = ptb_xl.of_test()
    mixed = sum({"NORM", "CD"} == set(one) for one in names)
    assert mixed > 0
    figures = ptb_xl_evaluation.figures[ALL]
    assert figures.contrasts[ABNORMAL].negatives + figures.contrasts[ABNORMAL].positives == len(names)
    assert figures.people.everybody.outcomes["NORM"][0] == figures.contrasts[ABNORMAL].negatives + mixed


def test_ptb_xls_report_claims_no_disease(ptb_xl_evaluation, tmp_path):
    text = write_archive_report(tmp_path, ptb_xl_evaluation).read_text()
    assert "fold 10 of strat_fold: the published test fold" in text
    assert "no threshold and no calibration is judged" in text
    assert "Brier" not in text
    assert "plain S4" not in text
    entry = msgspec.json.decode((tmp_path / "evaluation.json").read_bytes())["all_ecgs"]
    assert set(entry["superclasses_against_normal"]) == {"MI", "STTC", "CD", "HYP", ABNORMAL}
    assert set(entry["superclasses_against_normal"]["MI"]["auroc"]) == {HIGHEST, *DISEASES}


def test_ptb_xls_sexes_ages_and_patients_are_read_as_published(tmp_path):
    table = write_ptb_xl(
        tmp_path,
        [
            (1, 15709, 10, {"NORM": 100.0}, {"sex": 1, "age": 56.0}),
            (2, 15709, 10, {"IMI": 0.0}, {"sex": 0, "age": 300.0}),
            (3, 7, 9, {"SR": 0.0, "ABQRS": 0.0}, {"sex": "", "age": ""}),
        ],
    )
    labels = read_labels(table, "9,10")
    assert labels.patients.tolist() == [15709, 15709, 7]
    assert labels.female.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(labels.age_years, np.float32([56, 90, np.nan]))
    assert labels.outcomes.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [-1] * 5]
    assert not labels.unreadable.any()


def test_without_the_table_of_statements_ptb_xl_is_refused_in_a_sentence(tmp_path):
    table = write_ptb_xl(tmp_path, [(1, 1, 9, {"NORM": 1.0}, {}), (2, 2, 10, {"NORM": 1.0}, {})])
    (tmp_path / "scp_statements.csv").unlink()
    with pytest.raises(InvalidSettings, match=r"scp_statements.csv is not there: it says to which superclass"):
        read_labels(table)
    for content in ("code,description\nNORM,x\n", ""):
        (tmp_path / "scp_statements.csv").write_text(content)
        with pytest.raises(UnreadableCohort, match="lacks the columns (, )?diagnostic, diagnostic_class"):
            read_labels(table)


def test_statements_are_read_and_not_evaluated():
    assert parse_statements("{'NORM': 100.0, 'LAFB/LPFB': 0.0, 'PRC(S)': 15}") == ["NORM", "LAFB/LPFB", "PRC(S)"]
    assert parse_statements("{}") == []
    for cell in (None, "", "NORM", "{'NORM'}", "{'NORM': 'x'}", "{1: 2}", "__import__('os')", "{'a': {'b': 1.0}}",
                 "{" + "'A': 1.0, " * 400 + "}"):  # fmt: skip
        with pytest.raises(MalformedRecord):
            parse_statements(cell)


def test_the_label_fixture_has_the_published_columns():
    assert {"strat_fold", "fold", "all_diag_all", "ecg_taken_in_ed", "ecg_taken_in_hosp"} <= set(LABEL_COLUMNS)
