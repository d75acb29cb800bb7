"""Files written whole: a reader sees the old file or the new one, whatever happens to the writer."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from engines.whole_file import unfinished_path, whole_file, write_whole

HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
NO_PROCESS = 2**22 + 1  # Linux gives no process so high a number


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_when_the_block_has_ended_and_not_before(tmp_path):
    with whole_file(tmp_path / "f") as unfinished:
        unfinished.write_bytes(b"content")
        assert not (tmp_path / "f").exists()

    assert (tmp_path / "f").read_bytes() == b"content"
    assert names(tmp_path) == ["f"]


def test_a_block_that_fails_leaves_the_former_file_and_nothing_else(tmp_path):
    write_whole(tmp_path / "f", b"former")

    def fail():
        with whole_file(tmp_path / "f") as unfinished:
            unfinished.write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert (tmp_path / "f").read_bytes() == b"former"
    assert names(tmp_path) == ["f"]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_former_file(tmp_path):
    write_whole(tmp_path / "f", b"former")

    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "f"):
        pass

    assert (tmp_path / "f").read_bytes() == b"former"


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "f", b"content")


def test_threads_that_write_the_same_file_leave_one_whole_content(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(16)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole(tmp_path / "f", content), contents))

    assert (tmp_path / "f").read_bytes() in contents
    assert names(tmp_path) == ["f"]


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    code = (
        "import sys; from pathlib import Path; from engines.whole_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as unfinished:\n"
        "    unfinished.write_bytes(b'half'); print('written', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "f"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1

    write_whole(tmp_path / "f", b"whole")

    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"whole"


def test_what_a_living_process_or_somebody_else_wrote_stays(tmp_path):
    strange = [
        f".f.{HOST}.x.y.partial",
        f".g.{HOST}.1.2.partial",
        f".f.{HOST}.{os.getppid()}.abcd.partial",
        "f.partial",
    ]
    strange.append(f".f.another-container.{NO_PROCESS}.abcd.partial")
    for name in [*strange, f".f.{HOST}.{NO_PROCESS}.abcd.partial", f".f.{HOST}.{10**30}.abcd.partial"]:
        (tmp_path / name).write_text("?")

    write_whole(tmp_path / "f", b"whole")

    assert names(tmp_path) == sorted([*strange, "f"])


def test_the_name_may_have_any_characters(tmp_path):
    left = unfinished_path(tmp_path / "a[b]*?", NO_PROCESS)
    left.write_text("?")

    write_whole(tmp_path / "a[b]*?", b"whole")

    assert names(tmp_path) == ["a[b]*?"]


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); import engines.whole_file\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "['engines']"
