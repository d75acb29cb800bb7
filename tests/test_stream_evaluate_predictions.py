"""`cardiacnets evaluate --predictions` as a researcher runs it: from an archive's files to figures, and wrong turns."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from judged_archive import mimic_ecg, ptb_xl_ecg, write_answers, write_ptb_xl
from mimic_archive import LABEL_COLUMNS, Archive, write_table
from sklearn.metrics import roc_auc_score
from small_archive import FIRST_STUDY, FIRST_SUBJECT, FLAT, write_mimic
from typer.testing import CliRunner
from waiting import PATIENCE_S

from inference.bundle import default_bundle, load_bundle
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from stream.backfill.answers import open_finished, read_answers
from stream.cli import app
from stream.collecting.dataset import Made
from training.cohort.mimic import LABELS
from training.evaluation.archives.label_table import read_labels

RNG = np.random.default_rng(3)
SAID = [tuple(map(float, row)) for row in RNG.beta(1, 6, (60, 5)).round(6)]
ILL = [bool(RNG.random() < 3 * said[2]) for said in SAID]


COLLECTED = Made(
    program_version="0.2.0",
    created_at=datetime.now(UTC),
    broker="kafka:9092",
    cluster=None,
    topics=["ecg.risk.v1", "ecg.rejected.v1"],
    lane="backfill",
    begins={},
    schema="1",
)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture
def labels(tmp_path):
    """60 ECGs of 30 patients: 40 to be tested on, 20 for development."""
    archive = Archive(tmp_path / "mimic")
    for number, ill in enumerate(ILL):
        fold = "test" if number < 40 else "development"
        archive.add(
            40000000 + number, 10000000 + number // 2, codes=["I500" if ill else "Z000"], fold=fold, written=False
        )
    return archive.write() / LABELS


def ecgs(**more):
    return [mimic_ecg(40000000 + number, 10000000 + number // 2, said, **more) for number, said in enumerate(SAID)]


def evaluate(folder, labels, *others):
    return CliRunner().invoke(
        app, ["evaluate", "--predictions", str(folder), "--labels", str(labels), *map(str, others)]
    )


def answer(folder, labels, *others):
    done = evaluate(folder, labels, "--json", *others)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def refusal(folder, labels, *others):
    done = evaluate(folder, labels, *others)
    assert isinstance(done.exception, InvalidSettings), done.exception
    return str(done.exception)


def heart_failure(ill, said):
    return roc_auc_score(ill, [row[2] for row in said])


def test_json_has_both_ways_to_count_and_what_became_of_the_ecgs(tmp_path, bundle, labels):
    answers = ecgs()
    answers[1].probabilities = None
    write_answers(tmp_path / "out", bundle, answers)
    found, warned = answer(tmp_path / "out", labels)
    assert (found["archive"], found["folds"]["judged"], found["model"]["weights"]) == (
        "mimic-iv-ecg", [19], "demonstration weights, simulated cohort",
    )  # fmt: skip
    assert found["account"]["refused"] == {"flat_lead": {"records": 1, "labelled": 1, "ill": int(ILL[1])}}
    everything, first = found["all_ecgs"], found["one_ecg_a_patient"]
    assert (everything["records"], first["records"], first["patients"]) == (39, 20, 20)
    kept = [number for number in range(40) if number != 1]
    auroc = heart_failure([ILL[number] for number in kept], [SAID[number] for number in kept])
    assert everything["diseases"]["heart_failure"]["auroc"][0] == pytest.approx(auroc, abs=1e-6)
    assert first["diseases"]["heart_failure"]["auroc"][0] == pytest.approx(
        heart_failure(ILL[:40:2], SAID[:40:2]), abs=1e-6  # of one time, the lower id
    )  # fmt: skip
    assert everything["diseases"]["pericarditis"]["auroc"][0] is None  # nobody has it
    assert "part of the table is missing" in warned  # this table has two folds


def test_tables_name_the_weights_the_fold_and_both_ways_to_count(tmp_path, bundle, labels):
    write_answers(tmp_path / "out", bundle, ecgs())
    done = evaluate(tmp_path / "out", labels, "--report", tmp_path / "report")
    assert done.exit_code == 0, done.exception
    for words in (
        "demonstration weights", "fold 19 of strat_fold", "The first ECG of each patient: 20 ECGs of 20 patients",
        "All ECGs: 40 ECGs of 20 patients", "plain S4", "Not a medical device", "wrote the report to",
    ):  # fmt: skip
        assert words in " ".join(done.stdout.split())
    assert {path.name for path in (tmp_path / "report").iterdir()} > {"report.md", "model_card.md", "evaluation.json"}
    assert "nan" not in done.stdout


@pytest.mark.parametrize("listed", [True, False], ids=["the archive's list", "a folder's paths"])
def test_the_key_is_the_lists_study_or_the_files_name(tmp_path, bundle, labels, listed):
    answers = ecgs()
    if not listed:
        for one in answers:
            one.path, one.listed = f"{one.path}.hea", {}
    dataset = write_answers(tmp_path / "out", bundle, answers, kind="folder")
    table = read_labels(labels)
    found = read_answers(dataset, table)
    np.testing.assert_array_equal(found.probabilities, SAID)
    assert found.unlisted == 0


def test_an_archive_that_is_not_screened_to_its_end_is_judged_with_a_warning(tmp_path, bundle, labels):
    write_answers(tmp_path / "out", bundle, ecgs(), shard_records=10, done={0, 1, 3, 4})
    found, warned = answer(tmp_path / "out", labels, "--report", tmp_path / "report")
    assert "The archive is not screened to its end: 4 of 6 shards are done." in " ".join(warned.split())
    assert (found["account"]["open"], found["all_ecgs"]["records"]) == (10, 30)
    head = (tmp_path / "report" / "report.md").read_text().split("## Summary")[0]
    assert "4 of 6 shards are done" in head
    write_answers(tmp_path / "begun", bundle, ecgs(), done=())
    assert "has no shard that is done" in refusal(tmp_path / "begun", labels)


def test_ecgs_of_other_patients_are_left_out_and_told(tmp_path, bundle, labels):
    answers = ecgs()
    answers[4].patient_id = "10099999"
    answers[5].patient_id = None  # the file says nothing
    answers[6].patient_id = "a pseudonym"
    write_answers(tmp_path / "out", bundle, answers)
    found, warned = answer(tmp_path / "out", labels)
    assert (found["account"]["other_patient"], found["all_ecgs"]["records"]) == (1, 39)
    assert "ECG files that name another patient than the labels: 1." in " ".join(warned.split())


def test_ptb_xl_is_ranked_by_its_superclasses(tmp_path, bundle):
    rows = [
        (number + 1, 500 + number, 9 + (number < 40), {"NORM": 100.0} if ill else {"IMI": 100.0}, {})
        for number, ill in enumerate(ILL)
    ]
    table = write_ptb_xl(tmp_path / "ptb-xl", rows)
    answers = [ptb_xl_ecg(row[0], float(row[1]), said) for row, said in zip(rows, SAID, strict=True)]
    write_answers(tmp_path / "out", bundle, answers, kind="ptb-xl")
    found, _ = answer(tmp_path / "out", table, "--report", tmp_path / "report")
    against = found["all_ecgs"]["superclasses_against_normal"]["MI"]
    auroc = roc_auc_score([not ill for ill in ILL[:40]], [said[0] for said in SAID[:40]])
    assert against["auroc"]["coronary_artery_disease"][0] == pytest.approx(auroc, abs=1e-6)
    done = evaluate(tmp_path / "out", table)
    assert "coronary artery disease" in " ".join(done.stdout.split())


def test_labels_of_another_archive_are_refused_in_a_sentence(tmp_path, bundle, labels):
    write_answers(tmp_path / "out", bundle, ecgs())
    other = write_ptb_xl(tmp_path / "ptb", [(n, n, 9 + n % 2, {"NORM": 1.0}, {}) for n in range(1, 5)])
    assert "none of the archive's 60 ECGs is in" in refusal(tmp_path / "out", other)


def test_folders_that_are_no_dataset_are_refused_in_words(tmp_path, bundle, labels):
    assert "is no folder: name the folder that `cardiacnets backfill` wrote" in refusal(tmp_path / "gone", labels)
    assert "is no folder" in refusal(labels, labels)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no manifest.json, so `cardiacnets backfill` did not write it" in refusal(empty, labels)
    assert "is no manifest of a backfill" in refusal(default_bundle(), labels)
    write_answers(tmp_path / "both" / "first", bundle, ecgs())
    assert f"{tmp_path / 'both' / 'first'} has one: name that folder" in refusal(tmp_path / "both", labels)
    write_answers(tmp_path / "both" / "second", bundle, ecgs())
    assert "holds 2 folders with a manifest.json, first and second among them" in refusal(tmp_path / "both", labels)
    part = tmp_path / "both" / "first" / "screened"
    assert f"is a part of a dataset: name {part.parent}" in refusal(part, labels)


def test_tables_that_were_collected_from_kafka_are_refused_in_words(tmp_path, labels):
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(COLLECTED))
    assert "was written by `cardiacnets collect`" in refusal(tmp_path, labels)


def test_tables_that_are_not_this_datasets_are_refused_in_words(tmp_path, bundle, labels):
    write_answers(tmp_path / "out", bundle, ecgs())
    write_answers(tmp_path / "other", bundle, ecgs(), model_version="9.9")
    place = tmp_path / "out" / "screened" / "00001.parquet"
    shutil.copy(tmp_path / "other" / "screened" / "00001.parquet", place)
    assert "holds answers of model version 9.9" in refusal(tmp_path / "out", labels)
    shutil.copy(tmp_path / "out" / "screened" / "00002.parquet", place)
    assert "has two answers" in refusal(tmp_path / "out", labels)
    pq.write_table(pq.read_table(place).drop_columns(["probability_pericarditis"]), place)
    assert "has no column probability_pericarditis" in refusal(tmp_path / "out", labels)
    place.write_bytes(b"PAR1 and no more")
    assert "cannot be read" in refusal(tmp_path / "out", labels)


def test_answers_of_another_model_than_the_bundle_are_refused_in_a_sentence(tmp_path, bundle, labels):
    dataset = write_answers(tmp_path / "out", bundle, ecgs())
    text = (dataset.folder / "manifest.json").read_bytes()
    other = text.replace(bundle.reference.version.encode(), b"0.0.9+other")
    (dataset.folder / "manifest.json").write_bytes(other)
    said = refusal(tmp_path / "out", labels)
    assert "holds answers of cardiacnets-reference 0.0.9+other" in said
    assert "--bundle" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--predictions", "out"], "name both"),
        (["--labels", "labels.csv"], "name both"),
        (["--folds", "19"], "name both"),
        (["--fold-column", "fold"], "name both"),
        (["--predictions", "a", "--predictions", "b", "--labels", "c"], "--predictions is given 2 times"),
        *(
            (["--predictions", "a", "--labels", "c", *option], f"drop {option[0]}")
            for option in (
                ["--cohort", "x"], ["--seed", "3"], ["--patients", "50"], ["--baselines", "."], ["--ecgs", "x"],
                ["--generator"],
            )
        ),
        (["--predictions", "a", "--labels", "c", "--seed", "3", "--ecgs", "x"], "drop --seed, --ecgs"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused_in_a_sentence(options, says):
    done = CliRunner().invoke(app, ["evaluate", *options])
    assert isinstance(done.exception, InvalidSettings)
    assert says in str(done.exception)


COUNT = 48


@pytest.mark.commands
def test_the_whole_way_from_an_archives_files_to_its_figures(tmp_path):
    root, out = tmp_path / "mimic", tmp_path / "out"
    write_mimic(root, COUNT)
    rows = [
        dict.fromkeys(LABEL_COLUMNS, "")
        | {
            "study_id": FIRST_STUDY + number,
            "subject_id": FIRST_SUBJECT + number // 2,
            "ecg_time": f"2180-07-23 08:{number % 60:02}:00",
            "all_diag_all": str(["I4289"] if number % 5 < 2 else ["E785"]) if number % 12 else "[]",
            "gender": "F",
            "age": 63.0,
            "strat_fold": 19 if number < 40 else 18,
        }
        for number in range(COUNT)
    ]
    write_table(root / LABELS, LABEL_COLUMNS, rows)
    command = [sys.executable, "-m", "stream.cli"]
    report = ["--report", str(tmp_path / "report"), "--json"]
    for words in (
        ["backfill", str(root), "--out", str(out), "--engine", "onnxruntime", "--shard-records", "20"],
        ["evaluate", "--predictions", str(out), "--labels", str(root / LABELS), *report],
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["account"]["refused"] == {"flat_lead": {"records": 1, "labelled": 1, "ill": 0}}
    assert (found["account"]["unlabelled"], found["account"]["judged"]) == (4, 35)
    table = pq.read_table(out / "screened").to_pylist()
    judged = [
        (rows[row["study_id"] - FIRST_STUDY]["all_diag_all"] == "['I4289']", row)
        for row in table
        if row["study_id"] - FIRST_STUDY < 40 and rows[row["study_id"] - FIRST_STUDY]["all_diag_all"] != "[]"
    ]
    assert len(judged) == 35
    one = found["all_ecgs"]["diseases"]["cardiomyopathy"]
    ill = np.array([has for has, _ in judged])
    said = [row["probability_cardiomyopathy"] for _, row in judged]
    flagged = np.array([row["flagged_cardiomyopathy"] for _, row in judged])
    assert one["auroc"][0] == pytest.approx(roc_auc_score(ill, said), abs=1e-6)
    assert one["sensitivity"] == pytest.approx(flagged[ill].mean(), abs=1e-6)
    assert one["specificity"] == pytest.approx((~flagged)[~ill].mean(), abs=1e-6)
    assert found["one_ecg_a_patient"]["records"] == 20
    assert (tmp_path / "report" / "report.md").is_file()
    assert FLAT < 40


def test_the_description_of_a_dataset_names_no_path_of_the_machine(tmp_path, bundle, labels):
    write_answers(tmp_path / "out", bundle, ecgs())
    assert open_finished(tmp_path / "out").made.root == "/archive"
    _ = answer(tmp_path / "out", labels, "--report", tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text() + (tmp_path / "report" / "evaluation.json").read_text()
    assert str(tmp_path) not in text
    assert len(
        msgspec.json.decode((tmp_path / "report" / "evaluation.json").read_bytes())["all_ecgs"]["diseases"]
    ) == len(DISEASES)
