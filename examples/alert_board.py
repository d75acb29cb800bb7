"""A ward's board from the topics alone: `python examples/alert_board.py [host:port [topic prefix]]`.

Needs `pip install aiokafka`. Prints an ECG's line whenever something becomes of one of its alerts: its states by
disease, what was doubted of the ECG, who took note. Type a record's id and your name to acknowledge all alerts of that
ECG.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BROKER, PREFIX, *_ = [*sys.argv[1:], *["localhost:9092", ""][len(sys.argv) - 1 :]]
ALERTS, ACKNOWLEDGEMENTS = PREFIX + "ecg.alerts.v1", PREFIX + "ecg.alerts.ack.v1"
STATES = ["raised", "escalated", "expired", "acknowledged"]  # of two messages the one that stands further on holds
KEPT = 10_000
ecgs: dict[str, dict[str, dict]] = {}  # record_id → identifier → the alert; one row an ECG, its diseases in it
keys: dict[str, bytes] = {}


async def follow() -> None:
    """Show what becomes of alerts."""
    async with AIOKafkaConsumer(ALERTS, bootstrap_servers=BROKER, auto_offset_reset="earliest") as consumer:
        async for message in consumer:
            try:
                alert = json.loads(message.value)
                record, identifier, state = alert["record_id"], alert["identifier"], STATES.index(alert["status"])
            except (ValueError, TypeError, KeyError):
                continue  # somebody's mistake: it is counted by the operators
            alerts = ecgs.setdefault(record, {})
            if identifier not in alerts or state > STATES.index(alerts[identifier]["status"]):
                alerts[identifier], keys[record] = alert, message.key
                show(record, alerts)
            if len(ecgs) > KEPT:
                ecgs.pop(next(iter(ecgs)))


def show(record: str, alerts: dict[str, dict]) -> None:
    """Print the line of an ECG."""
    quality = next(iter(alerts.values())).get("ecg_quality") or {"warnings": []}
    doubts = [warning["code"] for warning in quality["warnings"]]
    by = {alert["acknowledgement"]["name"] for alert in alerts.values() if alert.get("acknowledgement")}
    print(record, {alert["code"]: alert["status"] for alert in alerts.values()}, doubts, sorted(by), flush=True)


async def acknowledge() -> None:
    """Publish what somebody types. The keeper of alerts then moves the alerts."""
    async with AIOKafkaProducer(bootstrap_servers=BROKER, acks="all") as producer:
        while line := await asyncio.to_thread(sys.stdin.readline):
            record, _, name = line.strip().partition(" ")
            if name and record in ecgs:
                note = {"identifier": next(iter(ecgs[record])), "record_id": record, "whole_record": True}
                note |= {"acknowledged_by": name, "comment": "", "acknowledged_at": datetime.now(UTC).isoformat()}
                await producer.send_and_wait(ACKNOWLEDGEMENTS, json.dumps(note).encode(), key=keys[record])


async def main() -> None:
    """Do both."""
    await asyncio.gather(follow(), acknowledge())


asyncio.run(main())
