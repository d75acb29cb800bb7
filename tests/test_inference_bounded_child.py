"""What libraries do to a bounded child is the child's alone: whoever asked gets an answer or a reason, and goes on."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from inference.bounded_child import BoundedChild, ChildFailed, Limits
from inference.reading.in_child import ask
from schemas.errors import UnreadableFile

HERE = "child_functions"
SMALL = Limits(memory=512 * 2**20, processor_s=1, wall_s=60.0, written=4 * 2**20)


@pytest.fixture
def child():
    with closing(BoundedChild(SMALL)) as child:
        yield child


def reason_of(child, function, question=b""):
    with pytest.raises(ChildFailed) as failure:
        child.ask(f"{HERE}:{function}", question)
    return failure.value.reason


def process_of(child):
    return int(child.ask(f"{HERE}:process", b""))


def test_one_child_answers_all_questions(child):
    assert [child.ask(f"{HERE}:echo", bytes([n]) * n * 100_000) for n in range(4)] == [
        bytes([n]) * n * 100_000 for n in range(4)
    ]
    assert process_of(child) == process_of(child) != os.getpid()


@pytest.mark.parametrize(
    ("function", "question", "reason"),
    [
        ("spin", b"", "time"),
        ("hash_without_end", b"", "time"),
        ("allocate", b"2000000000", "memory"),
        ("crash", b"", "died"),
        ("leave", b"", "died"),
        ("fail", b"", "broken"),
    ],
)
def test_whatever_happens_in_the_child_has_a_reason_and_the_next_question_is_answered(
    child, function, question, reason
):
    assert child.ask(f"{HERE}:echo", b"before") == b"before"
    assert reason_of(child, function, question) == reason
    assert child.ask(f"{HERE}:echo", b"after") == b"after"


def test_a_child_that_waits_for_ever_is_ended():
    with closing(BoundedChild(Limits(memory=2**30, processor_s=5, wall_s=3.0, written=0))) as child:
        assert reason_of(child, "sleep", b"600") == "time"


def test_no_words_of_an_error_come_from_the_child(child):
    with pytest.raises(ChildFailed) as failure:
        child.ask(f"{HERE}:fail", b"")
    assert "patient" not in str(failure.value)


def test_time_counts_for_each_question_anew(child):
    for _ in range(3):
        assert child.ask(f"{HERE}:sleep", b"0.01") == b""
    began = process_of(child)
    for _ in range(8):  # together more than one question may take
        child.ask("child_functions:echo", b"1" * 2**22)
    assert process_of(child) == began


def test_a_file_is_not_refused_for_what_the_one_before_it_left_behind(child):
    first = child.ask(f"{HERE}:keep", b"200000000")
    assert child.ask(f"{HERE}:keep", b"200000000") != first or child.ask(f"{HERE}:keep", b"200000000") != first


def test_what_a_library_prints_is_neither_an_answer_nor_seen(child, capfd):
    assert child.ask(f"{HERE}:chatter", b"asked") == b"asked"
    assert child.ask(f"{HERE}:read_input", b"") == b""
    assert child.ask(f"{HERE}:echo", b"in step") == b"in step"
    assert capfd.readouterr() == ("", "")


def test_a_child_leaves_no_core_file_and_writes_no_large_one(child, tmp_path):
    assert child.ask(f"{HERE}:core_limit", b"") == b"0"
    assert reason_of(child, "write_much", b"%s\0%d" % (os.fsencode(tmp_path / "big"), 2**23)) == "broken"
    assert (tmp_path / "big").stat().st_size <= SMALL.written


def test_a_child_imports_only_what_it_needs(child):
    modules = child.ask(f"{HERE}:imported", b"").split()
    assert not {b"numpy", b"torch", b"onnxruntime", b"faust", b"typer"} & set(modules)


def test_many_threads_may_ask(child):
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda n: child.ask(f"{HERE}:echo", b"%d" % n), range(100))
    assert list(answers) == [b"%d" % n for n in range(100)]


def test_a_child_that_is_closed_leaves_nothing_behind_and_begins_again(child):
    first = process_of(child)
    child.close()
    assert not psutil.pid_exists(first)
    assert process_of(child) != first


def test_who_waits_in_another_thread_can_be_interrupted():
    """As the thread that reads ahead is, when the interrupt key ends the run."""
    with closing(BoundedChild(Limits(memory=2**30, processor_s=600, wall_s=600.0, written=0))) as child:
        number = process_of(child)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(reason_of, child, "hash_without_end")
            wait_until(lambda: psutil.Process(number).cpu_times().user > 0.5)
            child.interrupt()
            assert waiting.result(60) == "died"
        assert child.ask(f"{HERE}:echo", b"next") == b"next"


def run_parent(code, **options):
    code = f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


PARENT = """
from inference.bounded_child import BoundedChild, Limits
child = BoundedChild(Limits(memory=2**30, processor_s=600, wall_s=600.0, written=0))
print(int(child.ask("child_functions:process", b"")), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_ends_with_its_parent_however_that_ends(number):
    parent = run_parent(PARENT + "import time; time.sleep(600)")
    with parent:
        child = int(parent.stdout.readline())
        parent.send_signal(number)
        parent.communicate(timeout=60)
    wait_until(lambda: not psutil.pid_exists(child))


def test_the_interrupt_key_ends_who_waits_for_an_answer_at_once():
    parent = run_parent(PARENT + "child.ask('child_functions:hash_without_end', b'')", start_new_session=True)
    with parent:
        child = int(parent.stdout.readline())
        wait_until(lambda: psutil.Process(child).cpu_times().user > 0.5)
        began = time.monotonic()
        os.killpg(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=60)
    assert time.monotonic() - began < 30  # of 600 s of the processor that the child may take
    assert b"KeyboardInterrupt" in said
    wait_until(lambda: not psutil.pid_exists(child))


def test_a_parent_that_just_ends_leaves_no_child():
    with run_parent(PARENT) as parent:
        said, complaints = parent.communicate(timeout=60)
    assert (parent.returncode, complaints) == (0, b"")
    wait_until(lambda: not psutil.pid_exists(int(said)))


def test_a_forked_process_has_a_child_of_its_own(child):
    ours, read, write = process_of(child), *os.pipe()
    forked = os.fork()
    if not forked:
        try:
            os.write(write, b"%d" % process_of(child))
            child.close()
        finally:
            os._exit(0)
    os.waitpid(forked, 0)
    assert int(os.read(read, 100)) != ours
    os.close(read), os.close(write)
    assert process_of(child) == ours


@pytest.mark.parametrize(
    ("function", "question", "code"),
    [("crash", b"", "reader_died"), ("allocate", b"3000000000", "reader_out_of_memory")],
)
def test_a_file_that_breaks_its_reader_is_refused_with_a_code_and_a_sentence(function, question, code):
    with pytest.raises(UnreadableFile, match=r"x\.dcm .*; if the file is damaged, copy it again") as refusal:
        ask(f"{HERE}:{function}", question, Path("x.dcm"))
    assert refusal.value.wire_code == code
    assert ask(f"{HERE}:echo", b"next", Path("y.dcm")) == b"next"
