"""The command line as a person meets it: each command explains itself, and starting it is light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from waiting import PATIENCE_S

from stream.cli import app
from stream.commands.stage_options import options_of, take_settings
from training.stages.settings import (
    Align,
    Finetune,
    PretrainCmr,
    PretrainEcg,
    TrainGenerator,
    TrainSegmenter,
    TrainVae,
)

ROOT = Path(__file__).parent.parent
HEAVY = ("aiokafka", "faust", "matplotlib", "numpy", "onnxruntime", "openvino", "scipy", "torch", "wfdb")
OPTIONS_OF_EVERY_LEARNER = {
    "--cohort", "--out", "--seed",
    "--epochs", "--batch-size", "--learning-rate", "--weight-decay", "--warm-up-epochs", "--patience",
}  # fmt: skip
STARTS = (
    "import json, runpy, sys; sys.argv = ['cardiacnets', *sys.argv[1:]]\n"
    "try: runpy.run_module('stream.cli', run_name='__main__')\n"
    "finally: print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
)


def cardiacnets(*arguments):
    """Run the command line as a person does."""
    command = [sys.executable, "-m", "stream.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def commands_below(group, *names):
    """Yield the words of each command and each group."""
    yield names
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_below(command, *names, name)


def find_command(words):
    """Return the command of these words."""
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command


ALL_COMMANDS = list(commands_below(typer.main.get_command(app)))


def test_the_command_line_is_complete():
    assert len(ALL_COMMANDS) == 1 + 16 + 3 + 2 + 1 + 13  # the program, its commands, its groups, and what is in them


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=lambda words: " ".join(words) or "cardiacnets")
def test_each_command_and_each_of_its_options_explains_itself(words):
    from typer.testing import CliRunner

    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0, shown.output
    command = find_command(words)
    assert command.help
    assert "Raises:" not in command.help
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


@pytest.mark.parametrize("words", [(), ("screen",), ("worker",), ("train",), ("train", "finetune"), ("evaluate",)])
def test_help_imports_nothing_heavy(words):
    done = subprocess.run(
        [sys.executable, "-c", STARTS, *words, "--help"], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert "Usage" in done.stdout
    assert set(json.loads(done.stderr)) & set(HEAVY) == set()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("pretrain-ecg", {"--preset", "--mask"}),
        ("pretrain-cmr", {"--preset", "--mask", "--components", "--features"}),
        ("align", {"--preset", "--keep", "--cmr", "--encoder"}),
        (
            "finetune",
            {"--preset", "--label-fraction", "--keep", "--encoder-rate", "--min-epoch-rows", "--max-positive-weight",
             "--disease-weight", "--phenotype-weight", "--subtype-weight", "--alignment-weight", "--encoder",
             "--aligned"},
        ),
        ("train-vae", {"--preset", "--edge-weight", "--divergence-weight"}),
        ("train-generator", {"--least-mask", "--dropped", "--noises", "--shrinkage", "--vae", "--ecg"}),
        ("segmenter", {"--frames"}),
    ],
)  # fmt: skip
def test_every_setting_of_a_stage_is_an_option_of_its_command(command, more):
    options = {option for parameter in find_command(("train", command)).params for option in parameter.opts}
    assert options == OPTIONS_OF_EVERY_LEARNER | more


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["screen", "a.hea", "--bundle", "nowhere"], 2, "'nowhere' does not exist"),
        (["screen", "a.hea", "--cine", "c.avi"], 2, ".gif, .mp4"),
        (["publish", "nowhere"], 2, "no such file or folder: nowhere"),
        (["publish", ".", "--lane", "express"], 2, "'realtime', 'backfill'"),
        (["publish", ".", "--broker", "127.0.0.1:1"], 1, "no Kafka broker answers at 127.0.0.1:1"),
        (["dashboard", "--port", "70000"], 2, "65535"),
        (["demo", "--once", "--ecgs", "empty"], 2, "there is no ECG file"),
        (["demo", "--once", "--logs", "file"], 2, "'file' is a file"),
        (["fhir", "nowhere"], 2, "give a file of reports"),
        (["cine", "r", "--out", "c.gif", "--redis", "redis://127.0.0.1:1/0"], 1, "--redis"),
        (["simulate", "--patients", "1", "--out", "file/cohort"], 1, "Not a directory; name another path"),
        (["evaluate", "--report", "file"], 2, "name a folder"),
        (["bundle", "import", "nowhere.pth", "--out", "b"], 2, "nowhere.pth"),
        (["train", "pretrain-ecg", "--cohort", "empty", "--out", "o"], 2, "cardiacnets simulate"),
        (["train", "align", "--cohort", "empty", "--out", "o", "--cmr", "c", "--keep", "0"], 2, "--keep"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_mistake_ends_in_a_sentence_that_says_what_to_do(arguments, code, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    done = cardiacnets(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("stage", [PretrainEcg, PretrainCmr, Align, Finetune, TrainVae, TrainGenerator, TrainSegmenter])
def test_options_arrive_in_the_settings_and_the_others_keep_their_defaults(stage):
    defaults = {option.name: option.default.default for option in options_of(stage())}
    assert take_settings(stage(), dict(defaults)) == stage()
    chosen = take_settings(stage(), defaults | {"seed": 7, "patience": 2, "cmr": "of the stage itself"})
    assert (chosen.seed, chosen.learning.patience) == (7, 2)
    assert chosen.learning.epochs == stage().learning.epochs
    with pytest.raises(typer.BadParameter, match="int"):
        take_settings(stage(), defaults | {"epochs": 0})
