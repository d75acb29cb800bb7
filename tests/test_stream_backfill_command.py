"""`cardiacnets backfill` as a data engineer runs it: killed and gone on with, by two at a time, checked and counted."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import duckdb
import pyarrow.parquet as pq
import pytest
from small_archive import FIRST_STUDY, FLAT, write_mimic
from waiting import PATIENCE_S, wait_until

COUNT, SHARD, KILLS = 120, 6, 3
SHARDS = COUNT // SHARD
EVERY_FOURTH = [f"{number:05}" for number in range(1, SHARDS, 4)]
COMMAND = [sys.executable, "-m", "stream.cli", "backfill"]
ENGINE = ("--engine", "onnxruntime")

pytestmark = pytest.mark.commands


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    write_mimic(root, COUNT)
    return root


def arguments(archive, out, *others):
    return [*COMMAND, str(archive), "--out", str(out), "--shard-records", str(SHARD), *ENGINE, *map(str, others)]


def run(archive, out, *others):
    return subprocess.run(
        arguments(archive, out, *others), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def done_shards(out):
    return len(list((out / "screened").glob("[0-9]*.parquet"))) if out.exists() else 0


def rows(out):
    """Return the rows of both tables, without the seconds by which a time of recording is ahead of the clock."""
    tables = [pq.read_table(out / table) for table in ("screened", "refused")]
    return [table.drop_columns(["warning_numbers"] * (number == 0)).to_pylist() for number, table in enumerate(tables)]


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = run(archive, out, "--json", "--processes", 1)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout.splitlines()[-1])


def test_it_counts_what_it_did_and_duckdb_joins_its_table_with_the_archives_list(archive, undisturbed):
    out, summary = undisturbed
    assert (summary["shards"], summary["done"], summary["screened"]) == (SHARDS, SHARDS, COUNT - 1)
    assert summary["refused"] == {"flat_lead": 1}
    screened, listed = f"'{out}/screened/*.parquet'", f"'{archive}/record_list.csv'"
    query = f'SELECT count(*), min("LVEF") > 0 FROM {screened} JOIN {listed} USING (study_id)'
    assert duckdb.sql(query).fetchall() == [(COUNT - 1, True)]
    assert duckdb.sql(f"SELECT study_id, code FROM '{out}/refused/*.parquet'").fetchall() == [
        (FIRST_STUDY + FLAT, "flat_lead")
    ]


def test_killed_at_any_moment_and_started_again_it_makes_the_same_rows(archive, undisturbed, tmp_path):
    out, rng = tmp_path / "out", random.Random(7)
    for _ in range(KILLS):
        process = subprocess.Popen(
            arguments(archive, out, "--processes", 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = done_shards(out) + rng.randrange(3)
        wait_until(lambda: process.poll() is not None or done_shards(out) >= wanted)  # noqa: B023
        time.sleep(rng.random() / 10)  # anywhere in a shard, or in the beginning
        assert process.poll() is None
        process.kill()
        process.wait()
    assert done_shards(out) < SHARDS
    done = run(archive, out, "--processes", 2)
    assert done.returncode == 0, done.stderr
    assert rows(out) == rows(undisturbed[0])
    assert list((out / "claims").iterdir()) == []


def test_two_commands_on_one_folder_share_its_shards(archive, undisturbed, tmp_path):
    out = tmp_path / "out"
    first = subprocess.Popen(arguments(archive, out, "--json", "--processes", 1), stdout=subprocess.PIPE, text=True)
    wait_until((out / "manifest.json").exists)
    second = subprocess.Popen(arguments(archive, out, "--json", "--processes", 1), stdout=subprocess.PIPE, text=True)
    answers = [process.communicate(timeout=PATIENCE_S)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert [json.loads(answer.splitlines()[-1])["done"] for answer in answers] == [SHARDS, SHARDS]
    assert rows(out) == rows(undisturbed[0])


def test_machines_side_by_side_take_every_nth_shard_and_a_limit_takes_the_first(archive, tmp_path):
    out = tmp_path / "out"
    assert run(archive, out, "--shards", "2/4").returncode == 0
    assert sorted(path.stem for path in (out / "screened").iterdir()) == EVERY_FOURTH
    assert run(archive, out, "--limit", SHARD + 1).returncode == 0
    assert done_shards(out) == len(EVERY_FOURTH) + 1
    wrong = run(archive, out, "--shards", "5/4")
    assert wrong.returncode == 2
    assert "write it as I/N" in wrong.stderr


def test_it_verifies_and_says_what_is_damaged_and_goes_on_after_its_removal(archive, tmp_path):
    out = tmp_path / "out"
    assert run(archive, out, "--limit", 3 * SHARD).returncode == 0
    sound = run(archive, out, "--verify")
    assert sound.returncode == 0
    assert f"3 of {SHARDS} shards are done and sound" in sound.stderr
    damaged = out / "screened" / "00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    found = run(archive, out, "--verify")
    assert found.returncode == 1
    assert str(damaged) in found.stdout
    damaged.unlink()
    assert run(archive, out, "--limit", 3 * SHARD).returncode == 0
    assert run(archive, out, "--verify").returncode == 0


def test_another_engine_is_refused_in_a_folder_that_was_begun(archive, undisturbed):
    other = run(archive, undisturbed[0], "--engine", "openvino")
    assert other.returncode == 2
    assert "begun with engine 'onnxruntime', and this command has 'openvino'" in other.stderr


def test_sigterm_ends_it_and_its_processes_and_leaves_whole_files_alone(archive, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(arguments(archive, out, "--processes", 2), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: done_shards(out) > 0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM
    before = done_shards(out)
    assert all(pq.read_metadata(path).num_rows for path in (out / "screened").glob("[0-9]*.parquet"))
    assert before < SHARDS
    assert os.listdir(out / "refused")  # noqa: PTH208


def test_what_was_refused_for_a_file_that_came_later_is_done_again_and_nothing_else(archive, tmp_path):
    out, away = tmp_path / "out", next(archive.rglob("*.dat"))
    hidden = away.with_suffix(".away")
    away.rename(hidden)
    try:
        first = run(archive, out, "--processes", 1, "--json")
    finally:
        hidden.rename(away)
    summary = json.loads(first.stdout.splitlines()[-1])
    assert summary["refused"] == {"flat_lead": 1, "missing_file": 1}
    written = {path: path.stat().st_mtime_ns for path in (out / "screened").iterdir()}
    again = run(archive, out, "--again", "missing_file", "--processes", 1, "--json")
    assert "refused with missing_file, which are done again: 1" in again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["refused"] == {"flat_lead": 1}
    assert sum(path.stat().st_mtime_ns != then for path, then in written.items()) == 1
