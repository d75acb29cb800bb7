"""What `publish` does when the broker does not take what it is given."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from harness import REST_MS, ward
from needed import ECGS, needs_real_ecgs
from waiting import PATIENCE_S

from engines.batcher import Lane
from inference.file_account import FileAccount
from schemas.errors import DeploymentError, InvalidSettings
from schemas.topics import ECG_BACKFILL
from stream.broker import clients as kafka
from stream.broker import contract_producer
from stream.broker.clients import new_consumer
from stream.broker.ecg_publisher import publish_files
from stream.commands.file_options import zone_named
from stream.commands.publish import publish_command
from stream.settings import as_environment
from training.simulation.simulate_cohort import write_wfdb

pytestmark = pytest.mark.servers

FILES = 12


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_wfdb(folder, FILES, 3, processes=1)
    return folder


async def ids_on(settings, count):
    """Return the records' ids on the topic, in order: so many, and any more that are there."""
    ids = []
    async with (
        new_consumer(settings.kafka, [ECG_BACKFILL], auto_offset_reset="earliest") as consumer,
        asyncio.timeout(PATIENCE_S),
    ):
        while (batches := await consumer.getmany(timeout_ms=REST_MS)) or len(ids) < count:
            ids += [dict(m.headers)["ce_id"].decode() for batch in batches.values() for m in batch]
    return sorted(ids)


def test_what_the_broker_confirmed_before_it_went_is_told_and_need_not_be_sent_again(
    archive, tmp_path, monkeypatch, broker
):
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 5000)
    monkeypatch.setattr(contract_producer, "DELIVERY_S", 5.0)
    handed = []

    async def kill_when_something_is_confirmed(there):
        """A record comes for the third time: by then the producer has heard that the first one is there."""
        seen = Counter()
        async with new_consumer(there.settings.kafka, [ECG_BACKFILL], auto_offset_reset="earliest") as consumer:
            while max(seen.values(), default=0) < 3:
                seen[(await consumer.getone()).key] += 1
        there.broker.process.kill()
        return len(handed)

    async def publish(there):
        killing = asyncio.create_task(kill_when_something_is_confirmed(there))
        files = itertools.cycle(sorted(archive.glob("*.hea")))  # until the broker goes
        sent = await publish_files(there.settings.kafka, files, lane=Lane.BACKFILL, rate_hz=10, progress=handed.append)
        return sent, await killing

    with ward(tmp_path, broker, own=("broker",)) as there:
        sent, handed_before = asyncio.run(publish(there))
    assert "no longer confirms records" in sent.trouble
    assert 0 < sent.skip <= sent.published <= handed_before + 1


def test_the_rest_is_published_by_the_same_command_and_the_number_of_files_to_skip(archive, tmp_path, broker):
    with ward(tmp_path, broker) as there:
        sent = asyncio.run(publish_files(there.settings.kafka, [archive], lane=Lane.BACKFILL, skip=FILES - 2))
        ids = asyncio.run(ids_on(there.settings, 2))
    assert (sent.published, sent.trouble, sent.skip) == (2, None, None)
    assert ids == sorted(path.stem for path in archive.glob("*.hea"))[-2:]


@pytest.mark.parametrize(
    ("no_journal", "advice"),
    [(True, "the same command with --skip 0 to continue"), (False, "the same command to continue")],
)
def test_the_command_ends_with_a_sentence_that_says_how_to_go_on(
    archive, tmp_path, monkeypatch, capsys, no_journal, advice, broker
):
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 5000)
    monkeypatch.setattr(contract_producer, "DELIVERY_S", 5.0)
    send = AIOKafkaProducer.send

    async def lose_the_broker(producer, *arguments, **options):
        there.broker.process.kill()
        return await send(producer, *arguments, **options)

    with ward(tmp_path, broker, own=("broker",)) as there:
        monkeypatch.setattr(AIOKafkaProducer, "send", lose_the_broker)
        with pytest.raises(DeploymentError, match=advice):
            publish_command([archive], broker=there.settings.kafka.broker, lane="backfill", no_journal=no_journal)
    assert "published 0" in capsys.readouterr().out
    left = list(archive.parent.glob(f".{archive.name}.publish-*.json"))
    assert len(left) == (0 if no_journal else 1)
    for path in left:
        path.unlink()


@pytest.mark.any_broker
def test_a_record_that_is_too_large_for_the_broker_is_named_and_the_rest_goes_on(
    archive, tmp_path, monkeypatch, broker
):
    """As Apache Kafka answers; the embedded broker takes messages of any size."""
    victim = min(archive.glob("*.hea"))
    send = AIOKafkaProducer.send

    async def refuse_one(producer, topic, value, *, key, headers):
        delivery = await send(producer, topic, value, key=key, headers=headers)
        if dict(headers)["ce_id"].decode() != victim.stem:
            return delivery
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(MessageSizeTooLargeError())
        return refused

    monkeypatch.setattr(AIOKafkaProducer, "send", refuse_one)
    with ward(tmp_path, broker) as there:
        account = FileAccount()
        sent = asyncio.run(publish_files(there.settings.kafka, [archive], lane=Lane.BACKFILL, account=account))
    assert (sent.published, sent.trouble) == (FILES - 1, None)
    assert account.counts().refused == {"oversized_record": 1}
    (note,) = account.first_notes
    assert note.path == str(victim)
    assert "max.message.bytes" in note.detail


def published(there, *arguments):
    """Run the command as a person does; return what it printed, as an object, and its exit code."""
    command = [sys.executable, "-m", "stream.cli", "publish", *map(str, arguments), "--json", "--lane", "backfill"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, **as_environment(there.settings)},
    )  # fmt: skip
    return json.loads(done.stdout), done


@pytest.mark.any_broker
@needs_real_ecgs
def test_every_ecg_of_a_pacs_folder_is_published_whatever_the_files_are_called(tmp_path, broker):
    with ward(tmp_path, broker) as there:
        sent, done = published(there, ECGS / "faults" / "pacs_folder")
        ids = asyncio.run(ids_on(there.settings, 3))
    assert (done.returncode, sent["published"], sent["refused"]) == (0, 3, {})
    assert ids == ["00000002", "IM000001", "IM000003"]


@pytest.mark.any_broker
def test_a_folder_is_published_and_every_other_file_of_it_is_counted_and_listed(archive, tmp_path, broker):
    folder, errors = tmp_path / "export", tmp_path / "errors.jsonl"
    shutil.copytree(archive, folder / "patient 1")
    shutil.copytree(archive, folder / "patient 2")  # the same records again
    (folder / "patient 1" / "cut.xml").write_text("<Rest")
    (folder / "notes.csv").write_text("a,b\n1,2\n")
    (folder / "more.zip").write_bytes(b"PK\x03\x04")
    (folder / ".hidden").touch()
    with ward(tmp_path, broker) as there:
        sent, done = published(there, folder, "--errors", errors)
        lines = [json.loads(line) for line in errors.read_text().splitlines()]
        again, redone = published(there, folder, "--errors", errors, "--skip", FILES + 1)
        again_anew = [*redone.args[:4], str(folder), "--errors", str(errors)]
        refused = subprocess.run(again_anew, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (sent["published"], sent["parts"], sent["found"]) == (2 * FILES, 2 * FILES, 2 * FILES + 1)
    assert sent["refused"] == {"not_an_ecg": 1}
    assert sent["passed_over"] == {"archive": 1, "hidden": 1, "not_an_ecg": 3}  # two lists of records
    assert sent["taken_with_a_note"] == {"doubled_record": FILES}
    assert (done.returncode, len(lines)) == (1, FILES + 6)
    assert len(errors.read_text().splitlines()) > len(lines)  # what lies behind the files that were skipped
    assert "passed over: archive 1, hidden 1, not_an_ecg 3" in done.stderr
    assert (again["published"], redone.returncode, again["refused"]) == (FILES, 0, {})
    assert "name another file" in refused.stderr


@pytest.mark.any_broker
def test_a_wfdb_record_is_published_by_its_name_without_an_ending(archive, tmp_path, broker):
    record = min(archive.glob("*.hea")).with_suffix("")
    with ward(tmp_path, broker) as there:
        sent, done = published(there, record)
        ids = asyncio.run(ids_on(there.settings, 1))
    assert (done.returncode, sent["published"], ids) == (0, 1, [record.name])


@pytest.mark.any_broker
def test_a_folder_without_an_ecg_is_no_success(tmp_path, broker):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("hello")
    with ward(tmp_path, broker) as there:
        sent, done = published(there, tmp_path / "folder")
    assert (done.returncode, sent["published"], sent["passed_over"]) == (1, 0, {"not_an_ecg": 1})
    assert "there is no ECG" in done.stderr


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Berlin", "did you mean Europe/Berlin"),
        ("CEST2", "look like Europe/Berlin"),
        ("Europe", "look like"),
        ("..", "look"),
    ],
)
def test_a_time_zone_that_nobody_knows_is_refused_and_the_sentence_says_what_a_name_looks_like(name, advice):
    with pytest.raises(InvalidSettings, match=advice):
        zone_named(name)


def test_a_time_zone_is_known_by_its_name_and_none_is_the_computers():
    assert zone_named("Europe/Berlin").key == "Europe/Berlin"
    assert zone_named(None) is None
