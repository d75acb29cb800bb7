"""What is collected from Kafka: each answer of the lane once, and in a sentence what is none."""

import asyncio
import json
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import collect as answers_on
from harness import good_values, publish_values, ward
from small_archive import write_mimic
from waiting import PATIENCE_S
from written_answers import MODEL, collect, collected, environment, files, rejection, report, rows, send

from inference.bundle import default_bundle, load_bundle
from schemas.errors import InvalidSettings
from schemas.messages import ModelReference, Phenotype
from stream.backfill.columns import Columns
from stream.backfill.dataset import find as find_backfill
from stream.collecting.collector import deleted
from stream.collecting.columns import REFUSED, SCREENED, UNKNOWN_TO_A_REPORT, as_batch, screened_row
from stream.collecting.ranges import Place, Range, Segment, file_name, ranges_in, segments

OTHER_MODEL = ModelReference(name="m", version="2", trained=False, weights="untrained")


def test_a_files_name_says_which_offsets_of_which_partition_it_holds(tmp_path):
    place = Place("staging.ecg.risk.v1", 3)
    name = file_name(place, Range(1000, 1999))
    assert name == "staging.ecg.risk.v1-3-00000000000000001000-00000000000000001999.parquet"
    for other in (name, file_name(place, Range(0, 999)), "columns.parquet", f".{name}.host.1.ab.partial"):
        (tmp_path / other).touch()
    assert ranges_in(tmp_path) == {place: [Range(0, 999), Range(1000, 1999)]}


def test_two_files_with_the_same_offsets_are_refused(tmp_path):
    for held in (Range(0, 10), Range(10, 20)):
        (tmp_path / file_name(Place("t", 0), held)).touch()
    with pytest.raises(InvalidSettings, match="two files with the same offsets"):
        ranges_in(tmp_path)


def test_what_no_file_holds_is_left_to_read_and_what_kafka_has_deleted_of_it_is_counted():
    held = [Range(5, 9), Range(20, 29)]
    assert segments(held, 0, 35) == [Segment(0, 5), Segment(10, 20), Segment(30, 35)]
    assert segments(held, 5, 30) == [Segment(10, 20)]
    assert segments([], 7, None) == [Segment(7, None)]
    free = segments(held, 0, None)
    assert [deleted(free, begin) for begin in (0, 3, 7, 15, 25, 40)] == [0, 3, 5, 10, 15, 25]


def test_a_column_that_a_backfill_has_too_is_the_same_column():
    ours = Columns(load_bundle(default_bundle()).manifest, pa.schema([pa.field("path", pa.string())]))
    for collected_schema, backfilled in ((SCREENED, ours.screened), (REFUSED, ours.refused)):
        shared = [field for field in backfilled if field.name not in {"path", *UNKNOWN_TO_A_REPORT}]
        begin = list(collected_schema)[: len(shared)]
        for one, other in zip(begin, shared, strict=True):
            assert (one.name, one.type) == (other.name, other.type)
            if not one.name.startswith("flagged_"):  # whose threshold is the model's
                assert one.metadata == other.metadata
    assert SCREENED.field("LVEF").metadata[b"unit"] == b"%"


def test_a_measurement_that_is_called_as_a_column_changes_no_column():
    odd = (Phenotype(name="record_id", value=1.0, unit=""), Phenotype(name="flagged_heart_failure", value=1, unit=""))
    (row,) = as_batch(SCREENED, [screened_row(report(1, phenotypes=odd, risks=()))]).to_pylist()
    assert (row["record_id"], row["flagged_heart_failure"], row["LVEF"]) == ("r1", None, None)


@pytest.fixture
def place(tmp_path, servers):
    with ward(tmp_path, servers) as there:
        yield there.settings


@pytest.mark.servers
def test_the_answers_of_the_lane_become_rows_and_the_others_are_counted(place, tmp_path):
    out, errors = tmp_path / "out", tmp_path / "errors.jsonl"
    reports = [report(number) for number in range(60)]
    asyncio.run(send(place, *reports, *(rejection(number) for number in range(100, 107))))
    asyncio.run(send(place, *(report(number) for number in range(60, 65)), rejection(200), lane="realtime"))
    asyncio.run(send(place, *(report(number) for number in range(65, 68)), lane=None))
    asyncio.run(
        send(place, rejection(107), rejection(201, source=f"{place.kafka.topic('ecg.records.v1')}/0/1"), lane=None)
    )
    asyncio.run(send(place, b"<html>", b"", b'{"report_id": 7}', b"x" * 40_000))
    asyncio.run(send(place, *reports[:20], rejection(100)))  # a worker was killed, and another one answers again
    summary, _ = collected(place, out, "--errors", errors)
    assert (summary["screened"], summary["refused"]) == (60, {"flat_lead": 8})
    assert summary["passed_over"] == {"malformed": 4, "repeated": 21, "of_other_lanes": 7, "without_lane": 3}
    assert (summary["finished"], summary["deleted"]) == (True, {})
    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert sorted(line["code"] for line in lines) == ["malformed_record"] * 3 + ["oversized_record"]
    topic = place.kafka.topic("ecg.risk.v1")
    assert all(line["path"].startswith(f"{topic}/") for line in lines)
    found = {row["record_id"]: row for row in rows(out)}
    assert set(found) == {one.record_id for one in reports}
    row = found["r55"]
    assert (row["probability_heart_failure"], row["flagged_heart_failure"], row["LVEF"]) == (0.55, True, 55.5)
    assert (row["subtype_dilated"], row["subtype_restrictive"], row["threshold_pericarditis"]) == (0.75, None, 0.5)
    assert (row["warnings"], row["lane"], row["model_version"]) == (["baseline_wander"], "backfill", MODEL.version)
    assert json.loads(row["warning_numbers"]) == {"baseline_wander": {"V1_uV": 600.5}}
    assert {row["record_id"] for row in rows(out, "refused")} == {f"r{number}" for number in range(100, 108)}
    assert collect(place, out).stdout.startswith(f"{out}: 60 ECGs screened, 8 refused")


@pytest.mark.servers
def test_duckdb_reads_it_and_the_readmes_line_leaves_one_row_a_report(place, tmp_path):
    out = tmp_path / "out"
    collected(place, out, "--lane", "all")
    assert duckdb.sql(f"SELECT * FROM '{out}/refused/*.parquet'").fetchall() == []  # no file yet, and yet columns
    asyncio.run(send(place, report(1), report(2), partition=0))
    asyncio.run(send(place, report(1), lane=None, partition=1))  # under another key: nobody can know it here
    summary, _ = collected(place, out, "--lane", "all")
    assert (summary["screened"], summary["passed_over"]["repeated"]) == (3, 0)
    text = (out / "README.md").read_text()
    line = next(line for line in text.splitlines() if "QUALIFY" in line).replace("'screened/", f"'{out}/screened/")
    assert sorted(row[0] for row in duckdb.sql(line).fetchall()) == ["r1", "r2"]
    query = f"SELECT lane FROM '{out}/screened/*.parquet' ORDER BY kafka_partition, kafka_offset"
    assert duckdb.sql(query).fetchall() == [("backfill",), ("backfill",), (None,)]


@pytest.mark.servers
def test_a_repetition_is_known_after_a_restart_and_several_models_are_named(place, tmp_path):
    out = tmp_path / "out"
    asyncio.run(send(place, report(1), report(2)))
    collected(place, out)
    asyncio.run(send(place, report(2), report(1, model=OTHER_MODEL), report(3)))
    summary, _ = collected(place, out)
    assert (summary["models"], summary["passed_over"]["repeated"]) == ({"1": 3, "2": 1}, 1)
    said = collect(place, out)
    assert "the reports are of 2 models" in said.stderr
    assert "came again under the same id" in said.stderr
    assert {row["model_weights"] for row in rows(out)} == {"of the tests", "untrained"}


@pytest.mark.servers
def test_a_file_that_was_removed_is_read_again_and_one_that_is_damaged_is_named(place, tmp_path):
    out = tmp_path / "out"
    asyncio.run(send(place, *map(report, range(50)), partition=0))
    collected(place, out, "--file-rows", 10)
    before, names = rows(out), files(out)
    assert len(names) == 5
    (out / "screened" / names[1]).unlink()
    (out / "screened" / names[3]).unlink()
    summary, _ = collected(place, out, "--file-rows", 10)
    assert (summary["messages"], files(out), rows(out)) == (20, names, before)
    damaged = out / "screened" / names[2]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    refused = collect(place, out)
    assert refused.returncode == 2
    assert f"{names[2]} cannot be read: remove it" in refused.stderr


@pytest.mark.servers
def test_another_lane_another_topic_and_another_folder_are_refused(place, tmp_path):
    out = tmp_path / "out"
    collected(place, out)
    other = collect(place, out, "--lane", "all")
    assert other.returncode == 2
    assert "begun with lane 'backfill', and this command has 'all'" in other.stderr
    nowhere = collect(place.changed(topic_prefix="nowhere."), tmp_path / "new")
    assert nowhere.returncode == 1
    assert "there is no topic nowhere.ecg.risk.v1" in nowhere.stderr
    assert "CARDIACNETS_TOPIC_PREFIX" in nowhere.stderr
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").touch()
    foreign = collect(place, tmp_path / "home")
    assert foreign.returncode == 2
    assert "holds letters.txt and nothing that was collected" in foreign.stderr
    with pytest.raises(InvalidSettings, match="no manifest of a backfill"):
        find_backfill(out)


@pytest.mark.servers
def test_an_archive_through_kafka_becomes_the_rows_of_its_backfill_and_the_ward_none(tmp_path, servers):
    archive, out, backfilled = tmp_path / "archive", tmp_path / "out", tmp_path / "backfilled"
    write_mimic(archive, 24)
    with ward(tmp_path, servers) as there:
        there.start()
        asyncio.run(publish_values(there.settings, good_values(5)))
        command = [sys.executable, "-m", "stream.cli"]
        options = {"env": environment(there.settings), "capture_output": True, "timeout": PATIENCE_S}
        for arguments in (
            ["publish", str(archive / "files"), "--lane", "backfill"],
            ["backfill", str(archive), "--out", str(backfilled), "--engine", "onnxruntime"],
        ):
            assert subprocess.run([*command, *arguments], check=False, **options).returncode == 0
        asyncio.run(answers_on(there.settings, until=lambda answers: answers.answered >= 24 + 5))
        summary, _ = collected(there.settings, out)
    assert (summary["screened"], summary["refused"]) == (23, {"flat_lead": 1})
    assert summary["passed_over"]["of_other_lanes"] == 5
    ours = {row["record_id"]: row for row in rows(out)}
    for row in pq.read_table(backfilled / "screened").to_pylist():
        answer = ours[row["record_id"]]
        shared = row.keys() & answer.keys() - {"warning_numbers"}  # a time ahead of the clock
        assert len(shared) > 100
        numbers = {name for name in shared if isinstance(row[name], float)}
        assert [answer[name] for name in sorted(numbers)] == pytest.approx([row[name] for name in sorted(numbers)])
        assert [answer[name] for name in shared - numbers] == [row[name] for name in shared - numbers]
    (refused,) = rows(out, "refused")
    (other,) = pq.read_table(backfilled / "refused").to_pylist()
    assert (refused["record_id"], refused["code"]) == (other["record_id"], other["code"])
