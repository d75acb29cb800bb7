"""`cardiacnets screen`: an answer a file, in order, whatever the file is."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs
from waiting import PATIENCE_S

from inference.bundle import default_bundle, load_bundle
from inference.intake import take_in
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
from inference.screen_files import screen_files
from inference.screener import Screener, Screening
from schemas.ecg_record import LEADS
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES
from stream.commands.screen import screen_command
from stream.screening.model import load_screener
from stream.settings import ModelSettings
from training.simulation.simulate_cohort import write_wfdb


@pytest.fixture(scope="module")
def screener():
    return load_screener(ModelSettings(engine="onnxruntime"), max_batch=16)


def cardiacnets(*arguments):
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "stream.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_file_that_is_not_there_is_an_answer_and_not_an_error(screener, tmp_path):
    (tmp_path / "text.xml").write_text("no ECG")
    answers = list(screen_files(screener, [tmp_path / "absent.hea", tmp_path / "text.xml", tmp_path]))
    assert {a.status for a in answers} == {"rejected"}
    assert [a.code for a in answers] == ["missing_file", "not_an_ecg", "unreadable_file"]


@pytest.mark.commands
@needs_real_ecgs
def test_the_command_prints_one_json_object_a_file_in_order_and_nothing_else():
    paths = [*list(find_ecgs([ECGS / "wfdb" / "ludb"]))[:3], ECGS / "none.hea"]
    done = cardiacnets("screen", *paths, "--json", "--engine", "onnxruntime")
    assert done.returncode == 1, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["source"] for answer in answers] == [str(path) for path in paths]
    assert [answer["status"] for answer in answers] == ["screened"] * 3 + ["rejected"]
    report = answers[0]["report"]
    assert report["model"]["trained"] is True
    assert report["model"]["weights"] == "demonstration weights, simulated cohort"
    assert [risk["disease"] for risk in report["risks"]] == list(DISEASES)
    assert len(report["phenotypes"]) == 82


@pytest.mark.commands
@needs_real_ecgs
def test_without_json_it_prints_a_table_that_says_what_the_weights_are():
    done = cardiacnets("screen", next(find_ecgs([ECGS / "wfdb" / "ludb"])), "--engine", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert "demonstration weights" in " ".join(done.stdout.split())
    assert "CM cardiomyopathy" in done.stdout


def test_brackets_in_a_files_name_are_shown_and_obeyed_by_nobody(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        screen_command([Path("[red]a[/].hea")], engine="onnxruntime")
    assert "[red]a[/].hea" in capsys.readouterr().out
    monkeypatch.setattr("stream.commands.screen_cine.screen_cine", lambda *_: None)
    with pytest.raises(SystemExit, match="1"):
        screen_command([Path("a.hea")], engine="onnxruntime", cine=Path("scan[/b].gif"))
    assert "scan[/b].gif" in capsys.readouterr().out


@pytest.mark.commands
def test_an_unknown_engine_ends_with_a_sentence_that_names_the_known_ones():
    done = cardiacnets("screen", "x.hea", "--engine", "abacus")
    assert done.returncode == 1
    assert "onnxruntime" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.commands
def test_a_misspelt_variable_is_a_misuse(monkeypatch):
    monkeypatch.setenv("CARDIACNETS_ENGIN", "x")
    done = cardiacnets("screen", "x.hea")
    assert (done.returncode, "CARDIACNETS_ENGINE" in done.stderr) == (2, True)


def logits(screener, records):
    """Return (records, 5) disease logits."""
    inputs = take_in(records, 3).inputs
    outputs = screener.engine.run(inputs.reshape(-1, *inputs.shape[2:]))
    return outputs["disease_logits"].reshape(len(records), 3, -1).mean(axis=1)


def probabilities(screener, records):
    """Return (records, 5) calibrated probabilities."""
    return np.array([[risk.probability for risk in found.finding.risks] for found in screener.screen(records)])


def in_5_microvolts(record):
    """Return a record with its samples rounded to MIMIC's step."""
    steps = np.frombuffer(record.samples, "<i2") * (record.microvolts_per_step / 5)
    return msgspec.structs.replace(record, microvolts_per_step=5.0, samples=np.round(steps).astype("<i2").tobytes())


@needs_real_ecgs
def test_copies_in_mimics_layout_get_the_logits_of_their_originals(screener):
    with (ECGS / "mimic_format" / "record_list.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (ECGS / "labels.csv").open() as file:
        originals = {row["record"]: ECGS / f"{row['file']}.hea" for row in csv.DictReader(file)}
    copies = [read_ecg(ECGS / "mimic_format" / f"{row['path']}.hea") for row in rows]
    sources = [read_ecg(originals[row["source_record"]]) for row in rows]
    assert len(copies) == 24
    assert copies[0].leads.index("aVF") < copies[0].leads.index("aVL")  # MIMIC's order
    difference = np.abs(logits(screener, copies) - logits(screener, sources)).max()
    by_column = [msgspec.structs.replace(copy, leads=LEADS) for copy in copies]
    mistaken = np.abs(logits(screener, by_column) - logits(screener, sources)).max()
    rounded = np.abs(logits(screener, copies) - logits(screener, list(map(in_5_microvolts, sources)))).max()
    assert rounded < 1e-3  # the same samples give the same logits
    moved = np.abs(probabilities(screener, copies) - probabilities(screener, sources)).max()
    assert moved < 0.01  # what rounding to MIMIC's 5 µV costs
    assert mistaken > 10 * rounded
    print(f"largest difference {difference:.1e}, as a probability {moved:.1e}")
    print(f"of equally rounded samples {rounded:.1e}, by column {mistaken:.1e}")


@needs_real_ecgs
def test_a_batch_gives_what_each_record_gives_alone(screener):
    records = list(map(read_ecg, list(find_ecgs([ECGS / "wfdb"]))[::40]))
    together = screener.screen(records)
    for record, outcome in zip(records, together, strict=True):
        (alone,) = screener.screen([record])
        assert type(alone) is type(outcome)
        if isinstance(alone, Screening):
            for one, other in zip(alone.finding.risks, outcome.finding.risks, strict=True):
                assert one.probability == pytest.approx(other.probability, abs=2e-5)


def test_a_refused_record_among_good_ones_moves_nobody(screener):
    from training.simulation.ecg import generate_ecgs

    good = list(generate_ecgs(3, seed=4))
    short = msgspec.structs.replace(good[0], record_id="short", samples=good[0].samples[: 12 * 2 * 100])
    outcomes = screener.screen([good[0], short, good[1], good[2]])
    assert [isinstance(outcome, Screening) for outcome in outcomes] == [True, False, True, True]
    assert [outcome.record.record_id for outcome in outcomes if isinstance(outcome, Screening)] == [
        ecg.record_id for ecg in good
    ]
    assert (outcomes[1].error.wire_code, outcomes[1].record.record_id) == ("too_short", "short")


def test_the_bundles_number_of_crops_is_what_the_engine_sees():
    bundle = load_bundle(default_bundle())
    seen = []

    class Spy:
        name, output_names = "spy", ()

        def run(self, inputs):
            seen.append(len(inputs))
            return {}

    from training.simulation.ecg import generate_ecgs

    with pytest.raises(Exception, match="disease_logits"):
        Screener(bundle, Spy()).screen(list(generate_ecgs(2, seed=4)))
    assert seen == [2 * bundle.manifest.input.n_crops]


@pytest.mark.commands
def test_a_folder_is_walked_and_every_other_file_is_counted_and_listed(tmp_path):
    write_wfdb(tmp_path / "ecgs", 2, 3, processes=1)
    (tmp_path / "ecgs" / "cut.xml").write_text("<Rest")
    (tmp_path / "ecgs" / "notes.txt").write_text("Dear colleague")
    errors = tmp_path / "errors.jsonl"
    done = cardiacnets(
        "screen", tmp_path / "ecgs", "--json", "--engine", "onnxruntime", "--errors", errors, "--time-zone", "UTC"
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [(answer["status"], answer.get("code")) for answer in answers] == [
        ("rejected", "not_an_ecg"), ("screened", None), ("screened", None),
    ]  # fmt: skip
    listed = Counter((line["status"], line["code"]) for line in map(json.loads, errors.read_text().splitlines()))
    assert listed == {("refused", "not_an_ecg"): 1, ("passed_over", "not_an_ecg"): 2}  # one is labels.csv
    assert "refused: not_an_ecg 1" in done.stderr
    again = cardiacnets("screen", tmp_path / "ecgs", "--engine", "onnxruntime", "--errors", errors)
    assert (again.returncode, "name another file" in again.stderr) == (2, True)


@pytest.mark.commands
def test_the_table_has_the_code_of_a_refusal_and_its_sentence_stands_below_in_one_line(tmp_path):
    write_wfdb(tmp_path, 1, 3, processes=1)
    (tmp_path / "cut.xml").write_text("<RestingECG>")
    done = cardiacnets("screen", tmp_path, "--engine", "onnxruntime")
    assert done.returncode == 1
    assert "unreadable_file" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "not whole XML" in line]
    assert line.count("cut.xml") == 1


@pytest.mark.commands
def test_a_folder_of_which_every_ecg_is_screened_is_a_success_and_one_without_an_ecg_is_none(tmp_path):
    write_wfdb(tmp_path / "ecgs", 1, 3, processes=1)
    (tmp_path / "none").mkdir()
    assert cardiacnets("screen", tmp_path / "ecgs", "--engine", "onnxruntime").returncode == 0
    done = cardiacnets("screen", tmp_path / "none", "--engine", "onnxruntime")
    assert (done.returncode, "there is no ECG" in done.stderr) == (1, True)


def test_a_cine_is_of_one_file_and_not_of_a_folder(tmp_path):
    with pytest.raises(InvalidSettings, match="is a folder"):
        screen_command([tmp_path], engine="onnxruntime", cine=tmp_path / "scan.gif")
