"""What others wrote reaches a terminal as text that is drawn, and as nothing else."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from stream.plain_console import PlainConsole
from stream.plain_text import print_plain, shown, shown_in_line

STREAM = Path(__file__).parents[1] / "stream"
HOSTILE = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202egpj\u2066\u200b\x00\r\u2028\x7f"
ACTED_UPON = set(HOSTILE) - set("]0;OWNED[2J31mgpj")


def test_a_text_that_is_drawn_stays_as_it_is():
    for text in ("plain", "two\nlines\tand a tab", "Größe µV 心電図 é", "👩\u200d⚕", "½ – … “” ⟨U+202E⟩"):
        assert shown(text) == text


def test_what_a_terminal_would_act_upon_becomes_a_code():
    assert not ACTED_UPON & set(shown(HOSTILE))
    assert shown("\x1b[2J") == "⟨U+001B⟩[2J"
    assert shown("\u202e") == "⟨U+202E⟩"
    assert shown_in_line("one\ntwo") == "one⟨U+000A⟩two"


def test_what_is_printed_is_plain(capsys):
    print_plain(HOSTILE, "second")
    print_plain(HOSTILE, to_stderr=True)
    printed, said = capsys.readouterr()
    assert not ACTED_UPON & set(printed + said)
    assert printed.endswith("\nsecond\n")


@pytest.mark.parametrize("colours", [True, False])
def test_a_console_draws_colours_of_its_own_and_no_control_of_a_text(colours):
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=colours, width=300, color_system="standard" if colours else None)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, style="red")
    console.print(table, HOSTILE, f"[link=https://example.org]{HOSTILE}[/link]", sep="\n")
    drawn = file.getvalue()
    if colours:
        assert "\x1b[31m" in drawn
        drawn = re.sub(r"\x1b\[[0-9;]*m", "", drawn)  # none of the hostile ones
    assert not ACTED_UPON & set(drawn)
    assert "\x1b]8;" not in drawn


def test_no_other_place_prints():
    allowed = {"plain_text.py", "plain_console.py", "__main__.py"}  # the last one begins without any package
    for path in STREAM.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and path.name not in allowed:
                assert call.func.id not in ("print", "Console"), f"{path}:{call.lineno}"


def run(*arguments, **options):
    command = [sys.executable, "-m", "stream", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def test_the_commands_show_hostile_names_and_details_as_codes(tmp_path):
    name = "\x1b]0;OWNED\x07\x1b[2J\u202efake\nscreened: all well.hea"
    (tmp_path / name).write_text("no header")
    rejected = {"status": "rejected", "source": f"a{HOSTILE}\nb", "detail": f"c{HOSTILE}\nd", "code": "x"}
    (tmp_path / "answers.json").write_text(json.dumps(rejected))
    for arguments in (
        ("screen", tmp_path / name),
        ("screen", tmp_path),
        ("fhir", tmp_path / "answers.json"),
        ("fhir", tmp_path / name),
        ("screen", "x.hea", "--bundle", tmp_path),
    ):
        done = run(*arguments)
        assert done.returncode in (1, 2)
        assert not ACTED_UPON & set(done.stdout + done.stderr), arguments
        assert "\nscreened: all well" not in done.stdout + done.stderr
        assert "\nb was" not in done.stderr
