"""An archive in a store: the same tables as from a disk, many requests at once, and words where the store is away."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fake_engine import ZeroEngine
from object_store import BUCKET, CREDENTIALS, OddStore, s3_server, upload, with_variables
from small_archive import write_mimic
from waiting import PATIENCE_S

from inference.bundle import default_bundle, load_bundle
from inference.screener import Screener
from schemas.errors import DeploymentError, InvalidSettings
from stream.backfill.archive import PATH, open_archive
from stream.backfill.dataset import REFUSED, SCREENED, Made, create
from stream.backfill.fetch import AHEAD, AT_ONCE, fetching
from stream.backfill.readme import readme_of
from stream.backfill.shard import Reading, screen_shard
from stream.backfill.store import Store, place_named
from stream.backfill.stored_archive import archive_at

COUNT = 12
ROOT = Path(__file__).parent.parent
PLACE = "odd://bucket/mimic"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def archive_root(tmp_path_factory):
    """An archive with what archives have: a signal file that is missing, a header in a gzip, an ECG that is cut."""
    root = tmp_path_factory.mktemp("archive") / "mimic"
    paths = write_mimic(root, COUNT)
    (root / f"{paths[0]}.dat").unlink()
    zipped = root / f"{paths[1]}.hea"
    zipped.with_name(zipped.name + ".gz").write_bytes(gzip.compress(zipped.read_bytes()))
    zipped.unlink()
    shutil.rmtree((root / paths[2]).parent)
    with (root / f"{paths[3]}.dat").open("r+b") as file:
        file.truncate(1000)
    (root / f"{paths[4]}.dat").write_bytes(b"")
    return root


@pytest.fixture(autouse=True)
def quiet_store():
    """Leave the store in memory empty, and let every request succeed."""
    yield
    OddStore.told = staticmethod(lambda path: None)
    OddStore.store.clear()


def screened_all(folder, bundle, archive, planned=lambda: None):
    """Return both tables of an archive, screened in one shard after its plan was made."""
    plan = archive.plan(lambda _: None)
    planned()
    made = Made(
        program_version="0",
        created_at=datetime(2200, 1, 1, tzinfo=UTC),
        archive=archive.kind,
        root=archive.place,
        list_file=archive.list_place,
        path_column=archive.path_column,
        ids=archive.ids,
        time_zone=None,
        model=bundle.reference,
        engine="zeros",
        records=plan.num_rows,
        shard_records=plan.num_rows,
        schema="1",
    )
    dataset = create(folder, made, plan, readme_of(bundle.reference))
    screener = Screener(bundle, ZeroEngine(bundle.manifest), clock=lambda: made.created_at)
    screen_shard(screener, dataset, 0, Reading(archive.root, archive.ids, UTC, 3), sleep=lambda _: None)
    return [pq.read_table(dataset.file(table, 0)) for table in (SCREENED, REFUSED)]


def test_the_tables_of_an_archive_in_a_store_are_those_of_the_archive_on_a_disk(archive_root, bundle, tmp_path):
    stored = archive_at(upload(archive_root, PLACE))
    assert (stored.kind, stored.ids, stored.list_place) == ("mimic-iv-ecg", "name", f"{PLACE}/record_list.csv")
    from_store = screened_all(tmp_path / "store", bundle, stored)
    from_disk = screened_all(tmp_path / "disk", bundle, open_archive(archive_root))
    assert [table.num_rows for table in from_disk] == [COUNT - 5, 5]
    assert from_store == from_disk
    codes = from_store[1]["code"].to_pylist()
    assert codes.count("missing_file") == 2
    assert "flat_lead" in codes


def test_a_folder_of_a_store_is_walked_as_one_on_a_disk(archive_root, bundle, tmp_path):
    root = tmp_path / "folder"
    shutil.copytree(archive_root / "files", root / "files")
    (root / "notes.txt").write_text("no ECG")
    (root / "empty.dcm").touch()
    (root / ".hidden").write_text("x")
    (root / "alone.dat").write_bytes(b"\1\2" * 600)
    told = {"disk": [], "store": []}
    on_disk, stored = open_archive(root), archive_at(upload(root, PLACE))
    assert stored.plan(told["store"].append) == on_disk.plan(told["disk"].append)
    start = {"disk": f"{root}/", "store": f"{PLACE}/"}
    notes = {
        where: sorted((note.path.removeprefix(start[where]), note.code, note.status) for note in found)
        for where, found in told.items()
    }
    assert notes["store"] == notes["disk"]
    from_store = screened_all(tmp_path / "store", bundle, stored)
    assert from_store == screened_all(tmp_path / "disk", bundle, on_disk)
    assert from_store[0]["record_id"].to_pylist() == from_store[0][PATH].to_pylist()


def test_a_record_of_segments_is_fetched_by_its_master_and_no_file_outside_its_folder(archive_root, tmp_path):
    paths = open_archive(archive_root).plan(print)[PATH].to_pylist()[5:7]
    folder = tmp_path / "segments"
    folder.mkdir()
    for path in paths:
        for ending in (".hea", ".dat"):
            shutil.copy(archive_root / (path + ending), folder)
    first, second = (path.rpartition("/")[2] for path in paths)
    (folder / "all.hea").write_text(f"all/4 12 500 10000\n{first} 5000\n../secret 0\n~ 100\n{second} 5000\n")
    upload(folder, f"{PLACE}/records")
    upload(folder, PLACE)
    with fetching(Store(PLACE), ["records/all"]) as take:
        fetched = take("records/all")
        found = sorted(path.relative_to(fetched.folder).as_posix() for path in fetched.folder.rglob("*.*"))
        assert found == sorted(
            f"records/{name}"
            for name in ("all.hea", *(f"{one}{ending}" for one in (first, second) for ending in (".hea", ".dat")))
        )
        fetched.remove()
        assert not fetched.folder.exists()


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "folder/", ""])
def test_a_list_makes_nobody_read_what_lies_outside_the_archive(path):
    with fetching(Store(PLACE), [path]) as take:
        refusal = take(path).refusal
        assert refusal.wire_code == "missing_file"
        assert "leads out of the archive" in refusal.detail


def test_many_requests_run_at_once_within_a_bound_and_files_that_were_read_are_gone(archive_root):
    upload(archive_root, PLACE)
    most, running, enough = [0], [0], threading.Event()
    lock = threading.Lock()

    def told(path):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if running[0] >= COUNT:
            enough.set()
        assert enough.wait(PATIENCE_S)  # each waits until as many have come as there are ECGs
        with lock:
            running[0] -= 1

    paths = open_archive(archive_root).plan(print)[PATH].to_pylist()
    OddStore.told = staticmethod(told)
    with fetching(Store(PLACE), paths) as take:
        for path in paths:
            fetched = take(path)
            fetched.remove()
            assert not fetched.folder.exists()
    assert COUNT <= most[0] <= AT_ONCE <= AHEAD


def test_what_a_killed_process_fetched_is_removed_by_the_next_one_and_that_of_a_living_one_stays():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"cardiacnets-fetched.{socket.gethostname()}.{process}.x" for process in (gone.pid, os.getpid())]
    left, used = (Path(tempfile.gettempdir()) / name for name in names)
    for folder in (left, used):
        (folder / "0").mkdir(parents=True)
    with fetching(Store(PLACE), ["a"]):
        assert (left.exists(), used.exists()) == (False, True)
    shutil.rmtree(used)


class Fault:
    """Fails so many requests for paths that end so."""

    def __init__(self, ending, times, error):
        self.ending, self.left, self.error = ending, times, error

    def __call__(self, path):
        if path.endswith(self.ending) and self.left:
            self.left -= 1
            raise self.error


@pytest.mark.parametrize(
    ("times", "error", "code"),
    [
        (2, ConnectionResetError("away"), None),
        (99, TimeoutError(), "read_error"),
        (99, PermissionError("no"), "permission_denied"),
    ],
)
def test_what_the_store_does_not_give_is_asked_for_again_and_what_it_forbids_is_not(
    times, error, code, archive_root, bundle, tmp_path
):
    stored = archive_at(upload(archive_root, PLACE))
    last = stored.plan(print)[PATH].to_pylist()[-1]
    fault = Fault(f"{last}.dat", times, error)
    OddStore.told = staticmethod(fault)
    screened, refused = screened_all(tmp_path / "out", bundle, stored)
    why = dict(zip(refused[PATH].to_pylist(), refused["code"].to_pylist(), strict=True))
    assert why.get(last) == code
    assert (last in screened[PATH].to_pylist()) == (code is None)
    if code == "permission_denied":
        assert fault.left == 98


def test_a_store_that_goes_away_ends_the_work_and_marks_no_shard_as_done(archive_root, bundle, tmp_path):
    stored, asked = archive_at(upload(archive_root, PLACE)), []

    def go_away_soon(path):
        asked.append(path)
        if len(asked) > COUNT:
            raise ConnectionResetError("away")

    def planned():
        OddStore.told = staticmethod(go_away_soon)

    with pytest.raises(DeploymentError, match=f"{PLACE} does not answer, or not to us .away.: check the address"):
        screened_all(tmp_path / "out", bundle, stored, planned)
    assert list((tmp_path / "out" / "screened").iterdir()) == []


def test_a_folder_that_went_away_is_told_from_files_that_are_missing(archive_root, bundle, tmp_path):
    root = tmp_path / "mounted"
    shutil.copytree(archive_root, root)

    def planned():
        shutil.rmtree(root)
        root.mkdir()  # as a mount point is left

    with pytest.raises(InvalidSettings, match="it went away, or this machine does not share the folder"):
        screened_all(tmp_path / "out", bundle, open_archive(root), planned)
    assert list((tmp_path / "out" / "screened").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sftp://me:hunter2@host/archive", "holds a password or a key"),
        ("https://host/archive?sig=hunter2", "holds a password or a key"),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(text, says):
    with pytest.raises(InvalidSettings, match=says) as refused:
        place_named(text)
    assert "hunter2" not in str(refused.value)


def test_places_that_nothing_reaches_are_refused_in_words(tmp_path):
    assert place_named(f"file://{tmp_path}") == tmp_path
    assert place_named("s3://bucket/folder/") == Store("s3://bucket/folder")
    with pytest.raises(InvalidSettings, match="nosuch://x cannot be reached from here: Protocol not known: nosuch"):
        archive_at("nosuch://x")
    with pytest.raises(InvalidSettings, match="odd://bucket/none holds nothing: name the folder of the archive"):
        archive_at("odd://bucket/none")
    with pytest.raises(InvalidSettings, match="lies in a store, and"):
        archive_at(str(tmp_path), f"{PLACE}/list.csv")


COMMAND = (sys.executable, "-m", "stream.cli", "backfill")
BEGUN = ("--engine", "onnxruntime", "--shard-records", "20", "--json", "--processes", "1")


def ended(variables, *arguments):
    """Return a finished `cardiacnets backfill`."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments), *BEGUN],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=with_variables(variables),
    )


def rows(out):
    """Return the rows of both tables, without the seconds by which a time of recording is ahead of the clock."""
    tables = [pq.read_table(out / table) for table in ("screened", "refused")]
    return [table.drop_columns(["warning_numbers"] * (number == 0)).to_pylist() for number, table in enumerate(tables)]


@pytest.mark.commands
def test_an_archive_in_s3_makes_the_rows_that_it_makes_on_a_disk_and_no_secret_is_kept(tmp_path):
    write_mimic(tmp_path / "mimic", 60)
    (tmp_path / "mimic/files/p1000/p10000034/s40000005/40000005.dat").unlink()
    assert ended({}, tmp_path / "mimic", "--out", tmp_path / "disk").returncode == 0
    with s3_server(tmp_path / "mimic", "data/mimic") as variables:
        done = ended(variables, f"s3://{BUCKET}/data/mimic", "--out", tmp_path / "store")
        assert done.returncode == 0, done.stderr
        nothing = ended(variables, f"s3://{BUCKET}/nothing", "--out", tmp_path / "nothing")
    assert json.loads(done.stdout.splitlines()[-1])["refused"] == {"flat_lead": 1, "missing_file": 1}
    assert rows(tmp_path / "store") == rows(tmp_path / "disk")
    kept = (
        b"".join(path.read_bytes() for path in (tmp_path / "store").glob("*.*")) + (done.stdout + done.stderr).encode()
    )
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in kept
    assert nothing.returncode == 2
    assert f"s3://{BUCKET}/nothing holds nothing" in nothing.stderr
    away = ended(variables, f"s3://{BUCKET}/data/mimic", "--out", tmp_path / "away")
    assert away.returncode == 1
    assert away.stderr.startswith(f"cardiacnets: s3://{BUCKET}/data/mimic does not answer, or not to us (")
    assert away.stderr.count("\n") == 1
    assert not (tmp_path / "away").exists()


@pytest.mark.commands
def test_tables_are_written_to_a_folder_and_a_store_without_its_library_says_what_to_install(tmp_path):
    there = ended({}, tmp_path, "--out", "s3://bucket/table")
    assert there.returncode == 2
    assert "--out s3://bucket/table is no folder" in there.stderr
    hiding = "import hidden_library; from stream.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hiding, "backfill", "s3://bucket/mimic", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=with_variables({"HIDDEN": "s3fs", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}),
    )
    assert done.returncode == 2
    assert done.stderr == "cardiacnets: s3://bucket/mimic cannot be reached from here: pip install 'cardiacnets[s3]'\n"
