"""Publishes the answers of one lane, counts them, and keeps the waveforms that were flagged."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from engines.batcher import Lane
from inference.screener import Screening
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_message import ecg_message
from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, RecordError
from schemas.messages import Alert, ModelReference
from schemas.topics import record_key, sound_key
from stream.runtime.event import Event

from .alert_suppression import AlertSuppressor
from .answers import Outgoing, rejection_answers, report_answers
from .lane import Outcome
from .metrics import Metrics
from .waveform_cache import WaveformCache


class AnswerPublisher:
    """Turns outcomes into messages on the wire.

    Args:
        suppressor: decides on the lane's alerts; None if the lane raises no alerts.
    """

    def __init__(
        self,
        lane: Lane,
        producer: AIOKafkaProducer,
        model: ModelReference,
        waveforms: WaveformCache,
        metrics: Metrics,
        *,
        suppressor: AlertSuppressor | None,
    ) -> None:
        self._producer = producer
        self._model = model
        self._waveforms = waveforms
        self._metrics = metrics
        self._suppressor = suppressor
        self._lane = lane.value
        self._screened = metrics.screened.labels(lane.value)
        self._seconds = metrics.seconds.labels(lane.value)

    async def publish(self, event: Event, outcome: Outcome) -> Sequence[Awaitable[object]]:
        """Hand the answers to the producer; return one awaitable a delivery."""
        answers = self._report(event, outcome) if isinstance(outcome, Screening) else self._refusal(event, outcome)
        return [
            await self._producer.send(answer.topic, answer.value, key=answer.key, headers=answer.headers)
            for answer in answers
        ]

    def acknowledged(self, event: Event) -> None:
        """Observe how long the record took, from its Kafka timestamp to its confirmed answer."""
        self._seconds.observe(max(0.0, time.time() - event.message.timestamp))

    def _report(self, event: Event, screening: Screening) -> list[Outgoing]:
        self._screened.inc()
        flagged = screening.finding.flagged_diseases
        for disease in flagged:
            self._metrics.flagged.labels(disease).inc()
        if flagged:
            self._waveforms.store(screening.record.record_id, _readable_alone(event, screening.record))
        key = record_key(screening.record)
        return report_answers(screening, self._model, key, datetime.now(UTC), self._raises)

    def _raises(self, alert: Alert) -> bool:
        outcome = self._suppressor.decide(alert, alert.onset) if self._suppressor else "backfill"
        self._metrics.alerts.labels(outcome).inc()
        return outcome == "raised"

    def _refusal(self, event: Event, error: CardiacNetsError) -> list[Outgoing]:
        self._metrics.rejected.labels(self._lane, error.wire_code).inc()
        message, record = event.message, _readable(event)
        source = f"{message.topic}/{message.partition}/{message.offset}"
        if record:
            return rejection_answers(error, record, source, record_key(record), datetime.now(UTC))
        origin = error if isinstance(error, RecordError) else None
        return rejection_answers(error, origin, source, sound_key(event.key), datetime.now(UTC))


def _readable_alone(event: Event, record: EcgRecord) -> bytes:
    """Return the record as whoever draws it can read it: without its message's headers, and without a registry."""
    message = ecg_message(event.value, event.headers)
    return encode_ecg(record) if message.names_schema else message.value


def _readable(event: Event) -> EcgRecord | None:
    """Return the record that was refused, if its bytes are one: no error carries it."""
    try:
        return decode_ecg(event.value or b"")
    except RecordError:
        return None
