"""The documents' commands: those that can be run here are run, and the options of all others exist."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer.main
from documents import ROOT, documents, name_of, prose, shell_blocks
from typer import BadParameter
from waiting import PATIENCE_S

from stream.cli import app

BLOCKS = [block for document in documents() if document.name != "CHANGELOG.md" for block in shell_blocks(document)]
RUN = [block for block in BLOCKS if block.reason is None]
PROGRAMS = ("cardiacnets", "make", "python", "node", "npm", "cd", "kafka-acls.sh", "kafka-transactions.sh")
OPERATORS = {"|", ">", "&&", ";"}


def commands_of(block):
    """Yield each command of a block as its words, without comments and redirections."""
    for line in block.lines:
        words, command = shlex.split(line, comments=True), []
        for word in [*words, ";"]:
            if word in OPERATORS:
                if command and command[0] in PROGRAMS:
                    yield command
                command = []
            else:
                command.append(word)


def where(block):
    return f"{name_of(block.document)}: {block.lines[0][:50]}"


CARDIACNETS = [command[1:] for block in BLOCKS for command in commands_of(block) if command[0] == "cardiacnets"]
INLINE = sorted(
    {
        " ".join(words.split())
        for document in documents()
        if document.name != "CHANGELOG.md"
        for words in re.findall(r"`cardiacnets ([a-z][^`…]+)`", prose(document))
    }
)
MAKE = {command[1] for block in BLOCKS for command in commands_of(block) if command[0] == "make" and len(command) > 1}


def parse(words):
    """Parse a command line as Typer would, down to its last command; raise what a user would be told."""
    command, context = typer.main.get_command(app), None
    while hasattr(command, "resolve_command"):
        context = command.make_context("cardiacnets", list(words), parent=context)
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    try:
        command.make_context("cardiacnets", list(words), parent=context)
    except BadParameter as error:  # options are known by now; the files that a document names are not here
        if not error.message.endswith("does not exist."):
            raise


@pytest.mark.parametrize("words", CARDIACNETS, ids=" ".join)
def test_a_commands_arguments_and_options_exist(words):
    parse(words)


@pytest.mark.parametrize("line", INLINE)
def test_a_command_that_a_sentence_names_exists_with_its_options(line):
    try:
        parse([word for word in shlex.split(line) if word != "--help"])
    except BadParameter as error:  # a sentence may leave out what must be given
        if not type(error).__name__.startswith("Missing"):
            raise


def test_an_option_that_does_not_exist_is_found():
    with pytest.raises(Exception, match="No such option.*--nonsense"):
        parse(["train", "align", "--nonsense", "1"])


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert targets >= MAKE


def test_every_line_begins_with_a_program_that_is_known():
    lines = [line for block in BLOCKS for line in block.lines if line and not line.startswith("#")]
    assert not [line for line in lines if line.split()[0] not in PROGRAMS]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """An environment in which `cardiacnets` is this checkout's, and nothing of the user's is touched."""
    folder = tmp_path_factory.mktemp("home")
    program = folder / "cardiacnets"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stream "$@"\n')
    program.chmod(0o755)
    ours = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    return {**os.environ, **ours}


@pytest.mark.commands
@pytest.mark.parametrize("block", RUN, ids=where)
def test_a_block_that_is_not_marked_runs(block, tmp_path, environment):
    for name, content in block.files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    script = "\n".join(["set -e", *block.lines])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
