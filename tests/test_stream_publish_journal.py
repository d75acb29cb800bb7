"""`publish --journal`: killed and started again, it sends the rest; of another run it is refused."""

import asyncio
import os
import subprocess
import sys

import msgspec
import pytest
from harness import ward
from test_stream_publishing import ids_on
from waiting import PATIENCE_S, wait_until

from schemas.errors import InvalidSettings
from stream.broker.publish_journal import WRITE_EVERY_S, Journal, JournalWriter, read_journal
from stream.settings import as_environment
from training.simulation.simulate_cohort import write_wfdb

FILES = 60
WANTED = Journal(paths=["/archive"], broker="b:1", topic="ecg.backfill.v1", ids="name", time_zone=None)


def test_it_is_written_at_most_once_a_second_and_always_at_the_end(tmp_path):
    path, now = tmp_path / "journal.json", [0.0]
    writer = JournalWriter(path, WANTED, clock=lambda: now[0])
    kept = []
    for number in range(1, 6):
        writer.confirmed(number)
        kept.append(read_journal(path, WANTED).skip)
        now[0] += WRITE_EVERY_S / 2
    assert kept == [1, 1, 3, 3, 5]
    writer.confirmed(6)
    writer.end(finished=True)
    assert (read_journal(path, WANTED).skip, read_journal(path, WANTED).finished) == (6, True)


@pytest.mark.parametrize("name", ["paths", "broker", "topic", "ids", "time_zone"])
def test_the_journal_of_another_run_is_refused_in_words(tmp_path, name):
    path = tmp_path / "journal.json"
    JournalWriter(path, WANTED).end(finished=False)
    other = msgspec.structs.replace(WANTED, **{name: ["/other"] if name == "paths" else "other"})
    with pytest.raises(InvalidSettings, match=f"journal of another run, with {name}"):
        read_journal(path, other)


def test_a_file_that_is_no_journal_is_not_written_over(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("a,b\n")
    with pytest.raises(InvalidSettings, match="is no journal"):
        read_journal(path, WANTED)


@pytest.mark.servers
def test_a_run_that_is_killed_goes_on_by_the_same_command_and_then_there_is_nothing_to_do(tmp_path, servers):
    archive, journal = tmp_path / "archive", tmp_path / "journal.json"
    write_wfdb(archive, FILES, 3, processes=1)
    with ward(tmp_path, servers) as there:
        command = [sys.executable, "-m", "stream.cli", "publish", str(archive), "--lane", "backfill"]
        command += ["--journal", str(journal)]
        environment = {**os.environ, **as_environment(there.settings)}
        slow = subprocess.Popen([*command, "--rate", "10"], env=environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: slow.poll() is not None or (journal.exists() and b'"skip": 0' not in journal.read_bytes()))
        slow.kill()
        slow.wait()
        before = msgspec.json.decode(journal.read_bytes(), type=Journal)
        rest, nothing = (
            subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            for _ in range(2)
        )
        ids = asyncio.run(ids_on(there.settings, FILES))
    assert 0 < before.skip < FILES
    assert (rest.returncode, nothing.returncode) == (0, 0)
    assert f"published {FILES - before.skip}" in rest.stdout
    assert "says that all was published" in nothing.stderr
    assert set(ids) == {path.stem for path in archive.glob("*.hea")}
