"""Publish one ECG to Kafka, as a recording device does: `python examples/publish_minimal.py [host:port]`.

Needs what a device vendor needs, and no more: `pip install cardiacnets aiokafka`.
"""

import asyncio
import math
import sys
from array import array
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from schemas.cloudevents import AVRO, event_headers
from schemas.codec import encode_ecg
from schemas.ecg_record import EcgRecord
from schemas.topics import ECG_RECORDS, record_key

RATE_HZ, SECONDS, STEPS_PER_MV = 500, 10, 200
LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # III, aVR, aVL and aVF are derived
WAVES = ((0.10, 0.03, 0.1), (0.26, 0.01, -0.1), (0.28, 0.012, 1.0), (0.30, 0.01, -0.2), (0.50, 0.06, 0.3))


def draw_lead(size: float) -> array:
    """Return the samples of one lead: P, Q, R, S and T once a second, where a device would read its converter."""
    times = (sample / RATE_HZ % 1 for sample in range(RATE_HZ * SECONDS))
    beats = (sum(mv * math.exp(-(((t - at) / width) ** 2)) for at, width, mv in WAVES) for t in times)
    return array("h", (round(STEPS_PER_MV * size * mv) for mv in beats))


async def publish(broker: str) -> str:
    """Publish one record; return its id once the broker has confirmed it."""
    record = EcgRecord(
        record_id=str(uuid4()),  # names this ECG for ever: publish it again under the same id
        patient_id="pseudonym-17",  # never a name or a hospital number
        recorded_at=datetime.now(UTC),
        leads=LEADS,
        sample_rate_hz=RATE_HZ,
        microvolts_per_step=1000 / STEPS_PER_MV,
        samples=b"".join(draw_lead(0.6 + 0.1 * number).tobytes() for number in range(len(LEADS))),
    )
    headers = event_headers(
        kind=ECG_RECORDS,
        identifier=record.record_id,
        source="urn:example:device",
        time=datetime.now(UTC),
        content_type=AVRO,
    )
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        await producer.send_and_wait(ECG_RECORDS, encode_ecg(record), key=record_key(record), headers=headers)
    return record.record_id


if __name__ == "__main__":
    print(asyncio.run(publish(sys.argv[1] if len(sys.argv) > 1 else "localhost:9092")))
