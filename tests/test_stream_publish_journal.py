"""`publish` that is killed and started again sends the rest, by a journal; an archive's list gives a total."""

import asyncio
import os
import subprocess
import sys

import msgspec
import pytest
from harness import ward
from small_archive import write_mimic
from test_stream_publishing import ids_on
from waiting import PATIENCE_S, wait_until

from schemas.errors import InvalidSettings
from stream.broker.publish_journal import WRITE_EVERY_S, Journal, JournalWriter, place_of_journal, read_journal
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


@pytest.mark.parametrize("name", ["paths", "broker", "topic", "ids", "time_zone", "list_file", "records"])
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


def test_a_journal_that_nobody_has_named_lies_beside_the_archive_or_among_the_users_files(tmp_path, monkeypatch):
    archive = tmp_path / "archive"
    begun = msgspec.structs.replace(WANTED, paths=[str(archive)])
    place = place_of_journal(begun)
    assert place.parent == tmp_path
    assert place.name.startswith(".archive.publish-")
    others = [msgspec.structs.replace(begun, **{name: "other"}) for name in ("broker", "topic", "list_file")]
    assert len({place, *map(place_of_journal, others)}) == 4
    assert place_of_journal(msgspec.structs.replace(begun, skip=7, records=9)) == place
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    nowhere = place_of_journal(msgspec.structs.replace(begun, paths=["/nowhere/at/all"]))
    assert nowhere.is_relative_to(tmp_path / "state")


def run(settings, *arguments):
    command = [sys.executable, "-m", "stream.cli", "publish", *map(str, arguments)]
    environment = {**os.environ, **as_environment(settings)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def killed(settings, journals, *arguments):
    """Start a slow run, kill it once its journal says that something is published, and return the journal's file."""
    command = [sys.executable, "-m", "stream.cli", "publish", *map(str, arguments), "--rate", "10"]
    slow = subprocess.Popen(command, env={**os.environ, **as_environment(settings)}, stderr=subprocess.DEVNULL)

    def has_begun():
        return any(b'"skip": 0' not in path.read_bytes() for path in journals())

    wait_until(lambda: slow.poll() is not None or has_begun())
    slow.kill()
    slow.wait()
    (journal,) = journals()
    return journal


@pytest.mark.servers
def test_an_archive_of_the_backfill_lane_is_gone_on_with_by_itself_and_published_again_after_its_end(tmp_path, servers):
    archive, errors = tmp_path / "archive", tmp_path / "errors.jsonl"
    write_wfdb(archive, FILES, 3, processes=1)

    def journals():
        return list(tmp_path.glob(".archive.publish-*.json"))

    with ward(tmp_path, servers) as there:
        arguments = (archive, "--lane", "backfill", "--errors", errors)
        journal = killed(there.settings, journals, *arguments)
        before = msgspec.json.decode(journal.read_bytes(), type=Journal)
        rest = run(there.settings, *arguments)
        assert journals() == []
        ids = asyncio.run(ids_on(there.settings, FILES))
        again = run(there.settings, archive, "--lane", "backfill")
        realtime = run(there.settings, archive)
    assert 0 < before.skip < FILES
    assert f"published the first {before.skip} ECG files, says {journal}" in rest.stderr
    assert (rest.returncode, f"published {FILES - before.skip}" in rest.stdout) == (0, True)
    assert set(ids) == {path.stem for path in archive.glob("*.hea")}
    for done in (again, realtime):
        assert (done.returncode, f"published {FILES}" in done.stdout, journals()) == (0, True, [])


@pytest.mark.servers
def test_a_folder_that_has_changed_is_not_gone_on_with_unless_all_is_published(tmp_path, servers):
    archive = tmp_path / "archive"
    write_wfdb(archive, FILES, 3, processes=1)

    def journals():
        return list(tmp_path.glob(".archive.publish-*.json"))

    with ward(tmp_path, servers) as there:
        killed(there.settings, journals, archive, "--lane", "backfill")
        for part in archive.glob(f"{min(archive.glob('*.hea')).stem}.*"):
            part.unlink()
        refused = run(there.settings, archive, "--lane", "backfill")
        whole = run(there.settings, archive, "--lane", "backfill", "--no-journal")
        both = run(there.settings, archive, "--no-journal", "--journal", tmp_path / "j.json")
    assert refused.returncode == 2
    assert "files came or went, so nobody knows what was published" in refused.stderr
    assert f"published {FILES - 1}" in whole.stdout
    assert both.returncode == 2


@pytest.mark.servers
def test_an_archive_with_a_list_is_published_by_it_with_a_total(tmp_path, servers):
    archive, count = tmp_path / "archive", 12
    paths = write_mimic(archive, count)
    write_wfdb(archive / "strays", 2, 3, processes=1)
    table = tmp_path / "own.csv"
    table.write_text("number,where\n" + "".join(f"{number},{path}\n" for number, path in enumerate(paths[:5])))
    with ward(tmp_path, servers) as there:
        listed = run(there.settings, archive, "--lane", "backfill")
        ids = asyncio.run(ids_on(there.settings, count))
        walked = run(there.settings, archive)
        own = run(there.settings, archive, "--lane", "backfill", "--list", table, "--path-column", "where")
        with_own = asyncio.run(ids_on(there.settings, count + 5))
        refused = run(there.settings, archive, tmp_path, "--list", table)
    assert f"{count}/{count}" in listed.stderr
    assert f"published {count}" in listed.stdout
    assert ids == sorted(path.rpartition("/")[2] for path in paths)
    assert f"published {count + 2}" in walked.stdout
    assert ("5/5" in own.stderr, sorted({*with_own} - {*ids})) == (True, sorted(paths[:5]))
    assert refused.returncode == 2
    assert "--list names ECGs below one folder" in refused.stderr


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
