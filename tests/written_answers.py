"""Reports and rejections as workers send them, put on the topics by the tests: many, and as odd as they like."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow.parquet as pq
from waiting import PATIENCE_S

from inference.phenotypes import MEASUREMENTS
from schemas.identity import rejection_id, report_id
from schemas.messages import (
    DISEASES,
    ModelReference,
    Phenotype,
    Quality,
    QualityWarning,
    Rejection,
    Risk,
    RiskReport,
    encode_message,
)
from schemas.topics import ECG_REJECTED, ECG_RISK
from stream.broker.clients import new_producer
from stream.broker.event_producer import EventProducer
from stream.settings import as_environment

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
MODEL = ModelReference(name="m", version="1", trained=True, weights="of the tests")
WARNING = QualityWarning(code="baseline_wander", detail="it wanders", numbers={"V1_uV": 600.5})
COMMAND = [sys.executable, "-m", "stream.cli", "collect"]


def report(number, *, model=MODEL, **changes):
    """Return the report of a record; its numbers follow from its number."""
    share = number % 97 / 100
    risks = tuple(Risk(disease=name, probability=share, threshold=0.5, flagged=share >= 0.5) for name in DISEASES)
    fields = {
        "report_id": report_id(f"r{number}", model),
        "record_id": f"r{number}",
        "patient_id": f"p{number % 10}",
        "model": model,
        "risks": risks,
        "phenotypes": tuple(Phenotype(name=one.name, value=number + 0.5, unit=one.unit) for one in MEASUREMENTS),
        "cardiomyopathy_subtype": {"dilated": 0.75, "hypertrophic": 0.25} if share >= 0.5 else None,
        "quality": Quality(warnings=(WARNING,) * (number % 2), sample_rate_hz=500.0, duration_s=10.0, derived_leads=()),
        "created_at": AT + timedelta(seconds=number),
    }
    return RiskReport(**fields | changes)


def rejection(number, *, source="ecg.backfill.v1/0/1", **changes):
    """Return the rejection of a record."""
    fields = {
        "rejection_id": rejection_id(f"r{number}", "flat_lead"),
        "record_id": f"r{number}",
        "code": "flat_lead",
        "detail": "V1 is flat",
        "numbers": {"lead": "V1"},
        "source": source,
        "created_at": AT,
    }
    return Rejection(**fields | changes)


async def send(settings, *messages, lane="backfill", partition=None):
    """Send answers as a worker does, or bytes as anybody may, to their topic; a key for each patient."""
    async with new_producer(settings.kafka) as producer:
        events = EventProducer(producer, "urn:cardiacnets:worker")
        sent = [await _send(producer, events, message, lane, partition) for message in messages]
        await asyncio.gather(*sent)


async def _send(producer, events, message, lane, partition):
    if isinstance(message, bytes):
        return await producer.send(ECG_RISK, message, key=b"k", partition=partition)
    topic = ECG_RISK if isinstance(message, RiskReport) else ECG_REJECTED
    if partition is not None:
        headers = [("ce_lane", lane.encode())] if lane else []
        return await producer.send(topic, encode_message(message), key=b"k", partition=partition, headers=headers)
    identifier = msgspec.structs.astuple(message)[0]
    key = (getattr(message, "patient_id", None) or message.record_id).encode()
    return await events.send(topic, identifier, message, key, lane=lane)


def environment(settings):
    """Return the environment of a command that uses these settings."""
    return {**os.environ, **as_environment(settings)}


def collect(settings, out, *options):
    """Run `cardiacnets collect` to its end."""
    command = [*COMMAND, "--out", str(out), *map(str, options)]
    return subprocess.run(
        command, env=environment(settings), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def collected(settings, out, *options):
    """Return what a run counts, which must succeed, and what it says."""
    done = collect(settings, out, "--json", *options)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout.splitlines()[-1]), done.stderr


def rows(out, table="screened"):
    """Return the rows of a table, in the order of the topic."""
    found = pq.read_table(out / table).to_pylist()
    return sorted(found, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def files(out, table="screened"):
    """Return the names of the files that hold offsets."""
    return sorted(path.name for path in (out / table).glob("*-*-*.parquet"))
