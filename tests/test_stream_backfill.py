"""An archive into tables: what is in them, which archives there are, and what goes on after a fault."""

import shutil
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_engine import ZeroEngine
from small_archive import FIRST_STUDY, FLAT, begin, write_mimic

from inference.bundle import default_bundle, load_bundle
from inference.phenotypes import MEASUREMENTS
from inference.screener import Screener
from schemas.errors import EngineFailed, InvalidSettings, UnreadableFile
from schemas.identity import report_id
from schemas.messages import DISEASES
from stream.backfill.archive import PATH, open_archive
from stream.backfill.columns import Columns
from stream.backfill.dataset import REFUSED, SCREENED, find, refuse_other
from stream.backfill.shard import TRIES, Reading, screen_shard
from stream.backfill.work import Work, do_work
from stream.settings import ModelSettings

COUNT, SHARD = 10, 4


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def archive_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("mimic")
    write_mimic(root, COUNT)
    return root


def begun(folder, bundle, plan, **changes):
    return begin(folder, bundle, plan, **({"engine": "zeros", "shard_records": SHARD} | changes))


def reading(root, ids="name"):
    return Reading(root, ids, UTC, records_a_batch=3)


@pytest.fixture
def dataset(tmp_path, bundle, archive_root):
    return begun(tmp_path / "out", bundle, open_archive(archive_root).plan(print))


@pytest.fixture
def screener(bundle):
    return Screener(bundle, ZeroEngine(bundle.manifest))


def screen_all(screener, dataset, root, ids="name"):
    for number in range(dataset.shards):
        screen_shard(screener, dataset, number, reading(root, ids))
    return [pa.concat_tables(pq.read_table(dataset.file(name, n)) for n in range(dataset.shards)) for name in TABLES]


TABLES = (SCREENED, REFUSED)


def test_each_ecg_of_the_list_has_a_row_in_one_of_two_tables_with_the_archives_own_columns(
    screener, dataset, archive_root
):
    screened, refused = screen_all(screener, dataset, archive_root)
    assert screened.num_rows == COUNT - 1
    assert refused["study_id"].to_pylist() == [FIRST_STUDY + FLAT]
    assert refused["code"].to_pylist() == ["flat_lead"]
    assert "flat" in refused["detail"][0].as_py()
    assert screened["study_id"].type == pa.int64()
    assert screened["record_id"].to_pylist() == [str(study) for study in screened["study_id"].to_pylist()]
    assert (dataset.shards, dataset.count()) == (3, (3, COUNT - 1, {"flat_lead": 1}))


def test_a_row_has_all_that_a_report_has_and_units_are_in_the_schema(screener, dataset, archive_root, bundle):
    screened, _ = screen_all(screener, dataset, archive_root)
    row = screened.slice(0, 1).to_pylist()[0]
    assert all(0 <= row[f"probability_{disease}"] <= 1 for disease in DISEASES)
    assert all(isinstance(row[f"flagged_{disease}"], bool) for disease in DISEASES)
    assert len(row["embedding"]) == 256
    assert row["report_id"] == report_id(row["record_id"], bundle.reference)
    assert row["warnings"] == ["implausible_time", "age_unknown"]  # MIMIC-IV moves its dates, and says no age
    for measurement in MEASUREMENTS:
        assert isinstance(row[measurement.name], float)
        assert screened.schema.field(measurement.name).metadata[b"unit"].decode() == measurement.unit


def test_the_ids_of_a_folder_are_its_paths_and_what_is_no_ecg_is_told(tmp_path, screener, bundle, archive_root):
    root = tmp_path / "folder"
    shutil.copytree(archive_root / "files", root)
    (root / "notes.txt").write_text("no ECG")
    told = []
    archive = open_archive(root)
    plan = archive.plan(told.append)
    assert (archive.kind, archive.ids, plan.column_names) == ("folder", "path", [PATH])
    assert [note.code for note in told if note.code != "part_of_a_record"] == ["not_an_ecg"]
    dataset = begun(tmp_path / "out", bundle, plan, archive="folder", ids="path")
    screened, _ = screen_all(screener, dataset, root, ids="path")
    assert screened["record_id"].to_pylist() == screened["path"].to_pylist()


def test_columns_of_a_list_that_have_our_names_are_told_apart(tmp_path, screener, bundle, archive_root):
    table = tmp_path / "ptb.csv"
    paths = open_archive(archive_root).plan(print)[PATH].to_pylist()
    lines = [f"{number},{number}.0,{path},x" for number, path in enumerate(paths)]
    table.write_text("\n".join(["ecg_id,patient_id,filename_hr,path", *lines]))
    with pytest.raises(InvalidSettings, match="more than once"):
        open_archive(archive_root, table, "path").plan(print)
    archive = open_archive(archive_root, table, "filename_hr")
    plan = archive.plan(print)
    assert plan.column_names == [PATH, "ecg_id", "patient_id", "archive_path"]
    dataset = begun(tmp_path / "out", bundle, plan, archive="list", ids="name")
    screened, _ = screen_all(screener, dataset, archive_root)
    assert screened["archive_patient_id"].type == pa.float64()
    assert set(screened["patient_id"].to_pylist()) != {None}


@pytest.mark.parametrize(
    ("content", "column", "says"),
    [
        ("a,b\n1,2\n", None, "has no column path: name one with --path-column. It has: a, b"),
        ("path,b\nx,2\n,3\n", None, "names no file in 1 rows"),
        ("path,b\nx,2\nx,3\n", None, "names 1 ECGs more than once, x among them"),
        ("path,b\n", None, "there is no ECG"),
        ("path\nx,2\n\x00", None, "is no table of ECGs"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused_in_words(tmp_path, content, column, says):
    table = tmp_path / "list.csv"
    table.write_text(content)
    with pytest.raises(InvalidSettings, match=says):
        open_archive(tmp_path, table, column).plan(print)


def test_an_archive_that_is_not_there_is_refused_in_words(tmp_path):
    with pytest.raises(InvalidSettings, match="is no folder"):
        open_archive(tmp_path / "gone")
    with pytest.raises(InvalidSettings, match="is not there"):
        open_archive(tmp_path, tmp_path / "gone.csv")
    with pytest.raises(InvalidSettings, match="name both, or neither"):
        open_archive(tmp_path, None, "path")
    with pytest.raises(InvalidSettings, match="there is no ECG"):
        open_archive(tmp_path).plan(print)


class Faulty:
    """Reads, but answers a moment's fault for one path, so many times."""

    def __init__(self, root, path, times):
        self._reading, self._path, self.left, self.read_paths = reading(root), path, times, []
        self.records_a_batch = self._reading.records_a_batch

    def read(self, path):
        self.read_paths.append(path)
        if path == self._path and self.left:
            self.left -= 1
            return UnreadableFile("the network drive is away", code="read_error")
        return self._reading.read(self._reading.root, path)

    @contextmanager
    def opened(self, paths):
        yield self.read

    def refuse_if_away(self):
        self._reading.refuse_if_away()


def test_a_file_that_the_drive_did_not_give_is_read_again_and_the_others_are_not(screener, dataset, archive_root):
    paths, waited = dataset.plan(0)[PATH].to_pylist(), []
    faulty = Faulty(archive_root, paths[1], 1)
    screen_shard(screener, dataset, 0, faulty, sleep=waited.append)
    assert faulty.read_paths == [*paths, paths[1]]
    assert len(waited) == 1
    assert pq.read_table(dataset.file(SCREENED, 0)).num_rows == SHARD
    assert pq.read_table(dataset.file(SCREENED, 0))["path"].to_pylist() == paths


def test_a_file_that_the_drive_never_gives_is_refused_once(screener, dataset, archive_root):
    paths = dataset.plan(0)[PATH].to_pylist()
    screen_shard(screener, dataset, 0, Faulty(archive_root, paths[1], TRIES), sleep=lambda _: None)
    assert pq.read_table(dataset.file(REFUSED, 0))["code"].to_pylist() == ["read_error"]


class FailingEngine(ZeroEngine):
    """Fails so many times, and then answers."""

    def __init__(self, manifest, times):
        super().__init__(manifest, self._fail)
        self.left = times

    def _fail(self):
        if self.left:
            self.left -= 1
            raise EngineFailed("out of memory")


def test_an_engine_that_fails_for_a_moment_costs_no_row_and_one_that_fails_on_leaves_the_shard_open(
    bundle, dataset, archive_root
):
    for times, is_done in ((TRIES, False), (1, True)):
        engine = FailingEngine(bundle.manifest, times)
        if is_done:
            screen_shard(Screener(bundle, engine), dataset, 0, reading(archive_root), sleep=lambda _: None)
        else:
            with pytest.raises(EngineFailed):
                screen_shard(Screener(bundle, engine), dataset, 0, reading(archive_root), sleep=lambda _: None)
        assert dataset.is_done(0) == is_done
    assert pq.read_table(dataset.file(SCREENED, 0)).num_rows == SHARD


def test_a_dataset_of_another_model_or_other_settings_is_not_continued(dataset, bundle):
    there = find(dataset.folder)
    refuse_other(there, msgspec.structs.replace(dataset.made, root="/mnt/archive", created_at=datetime.now(UTC)))
    other = msgspec.structs.replace(bundle.reference, version="2")
    for name, value, says in (
        ("model", other, f"{other.name} 2"),
        ("engine", "onnxruntime", "begun with engine 'zeros', and this command has 'onnxruntime'"),
        ("ids", "path", "ids"),
        ("time_zone", "Europe/Berlin", "time_zone None"),
        ("shard_records", 1000, "shard_records 4"),
    ):
        with pytest.raises(InvalidSettings, match=says):
            refuse_other(there, msgspec.structs.replace(dataset.made, **{name: value}))


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    assert find(tmp_path / "new") is None
    assert find(tmp_path) is None
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InvalidSettings, match="thesis.docx"):
        find(tmp_path)


def test_a_machine_that_does_not_see_the_dataset_says_so(tmp_path, archive_root):
    work = Work(tmp_path / "elsewhere", [0], reading(archive_root), ModelSettings(), claim_s=60.0)
    with pytest.raises(InvalidSettings, match="does not share the folder"):
        do_work(work)


def test_verifying_reads_every_column_and_says_what_to_remove(screener, dataset, archive_root, bundle):
    screen_all(screener, dataset, archive_root)
    columns = Columns(bundle.manifest, dataset.plan_schema())
    assert list(dataset.faults(columns)) == []
    damaged = dataset.file(SCREENED, 1)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert [str(damaged) in fault and "remove it" in fault for fault in dataset.faults(columns)] == [True]
    damaged.write_bytes(whole)
    pq.write_table(pq.read_table(damaged).slice(1), damaged)
    assert [fault for fault in dataset.faults(columns) if "does not hold the ECGs of its plan" in fault]
