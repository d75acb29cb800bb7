"""Publishes the answers of one lane, counts them, and keeps waveforms."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from engines.batcher import Lane
from inference.report import compose_alerts, compose_cmr_request, compose_rejection, compose_report
from inference.screener import Refused, ScreenedOrRefused, Screening
from schemas.ecg_message import ecg_message
from schemas.errors import UnusableSignal
from schemas.identity import alert_event_id
from schemas.messages import Alert, Message, reasons_of
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_REJECTED, ECG_RISK, record_key, sound_key
from stream.broker.event_producer import EventProducer
from stream.runtime.event import Event

from .alert_suppression import AlertSuppressor
from .archive_slots import ArchiveSlots
from .metrics import Metrics
from .waveform_cache import WaveformCache

SOURCE = "urn:cardiacnets:worker"
CLOCKS_AGREE_S = 1.0
"""A record that took less than nothing by no more than this took nothing. By more, two clocks disagree."""
LONGEST_S = 7 * 86_400.0
"""No topic of ECGs keeps a record for longer: a timestamp from before tells something else than when it came."""

Answer: TypeAlias = tuple[str, str, Message]
"""The topic, the event's id, and the message."""


class OfFlagged(NamedTuple):
    """What there is of a flagged ECG beside its report.

    Attributes:
        waveform: whether Redis keeps the ECG, for people to look at.
        cine: whether the cine that the ECG suggests is asked for.
    """

    waveform: bool
    cine: bool


OF_LIVE_ECGS = OfFlagged(waveform=True, cine=True)


class AnswerPublisher:
    """Turns the answers to ECGs into messages on the topics.

    Args:
        suppressor: decides on the lane's alerts; None if the lane raises no alerts.
        of_flagged: what the lane keeps and asks for.
        cine_slots: of the cines that the lane may ask for; None: it may ask for all.
        keeps_others: whether Redis keeps the other ECGs for a while too.
    """

    def __init__(
        self,
        lane: Lane,
        events: EventProducer,
        waveforms: WaveformCache,
        metrics: Metrics,
        *,
        suppressor: AlertSuppressor | None,
        of_flagged: OfFlagged = OF_LIVE_ECGS,
        cine_slots: ArchiveSlots | None = None,
        keeps_others: bool = False,
    ) -> None:
        self._events = events
        self._keeps_others = keeps_others
        self._waveforms = waveforms
        self._metrics = metrics
        self._suppressor = suppressor
        self._of_flagged, self._cine_slots = of_flagged, cine_slots
        self._is_archive = lane is Lane.BACKFILL
        self._lane = lane.value
        self._screened = metrics.screened.labels(lane.value)
        self._seconds = metrics.seconds.labels(lane.value)
        self._unusable_timestamps = metrics.timestamps.labels(lane.value)

    async def publish(self, event: Event, outcome: ScreenedOrRefused) -> Sequence[Awaitable[object]]:
        """Hand the answer's messages to the producer; return the delivery of each."""
        now = datetime.now(UTC)
        if isinstance(outcome, Screening):
            answers = self._report(event, outcome, now, asks_for_cine=await self._asks_for_cine(outcome))
        else:
            answers = self._reject(event, outcome, now)
        key = record_key(outcome.record) if outcome.record else sound_key(event.key)
        return [await self._events.send(*answer, key, time=now, lane=self._lane) for answer in answers]

    def acknowledged(self, event: Event) -> None:
        """Observe how long the record took, from its Kafka timestamp to its confirmed answer.

        A producer sets that timestamp: it may be missing (-1), 0, in the future, or the time of the recording.
        """
        since = event.message.timestamp
        seconds = time.time() - since if since is not None and since > 0 else math.inf
        if -CLOCKS_AGREE_S <= seconds <= LONGEST_S:
            self._seconds.observe(max(0.0, seconds))
        else:
            self._unusable_timestamps.inc()

    async def _asks_for_cine(self, screening: Screening) -> bool:
        """Return whether the cine is asked for if a risk is flagged."""
        if not (self._of_flagged.cine and screening.finding.flagged_diseases):
            return False
        return self._cine_slots is None or await self._cine_slots.take(screening.record.record_id)

    def _report(self, event: Event, screening: Screening, at: datetime, *, asks_for_cine: bool) -> list[Answer]:
        """Return the report and, if a risk is flagged, its alerts, and its CMR request if a cine is asked for."""
        self._count_and_keep(event, screening)
        report = compose_report(
            screening.record,
            screening.quality,
            screening.finding,
            screening.model,
            at,
            measurements=screening.measurements,
        )
        answers: list[Answer] = [(ECG_RISK, report.report_id, report)]
        answers += [
            (ECG_ALERTS, alert_event_id(alert), alert) for alert in filter(self._raises, compose_alerts(report))
        ]
        request = compose_cmr_request(report, screening.finding) if asks_for_cine else None
        if request:
            answers.append((CMR_REQUESTS, request.request_id, request))
        return answers

    def _count_and_keep(self, event: Event, screening: Screening) -> None:
        self._screened.inc()
        flagged = screening.finding.flagged_diseases
        for disease in flagged:
            self._metrics.flagged.labels(disease).inc()
        for reason in reasons_of(screening.finding.risks):
            self._metrics.not_assessable.labels(reason).inc()
        if flagged and self._of_flagged.waveform:
            came_as = ecg_message(event.value, event.headers)
            self._waveforms.store(screening.record, came_as=came_as, of_archive=self._is_archive)
        elif not flagged and self._keeps_others:
            self._waveforms.store_briefly(screening.record)

    def _raises(self, alert: Alert) -> bool:
        decision = self._suppressor.decide(alert, alert.onset) if self._suppressor else "backfill"
        self._metrics.alerts.labels(decision).inc()
        return decision == "raised"

    def _reject(self, event: Event, refused: Refused, at: datetime) -> list[Answer]:
        self._metrics.rejected.labels(self._lane, refused.error.wire_code).inc()
        if self._keeps_others and refused.record and isinstance(refused.error, UnusableSignal):
            self._waveforms.store_briefly(refused.record)
        place = event.message
        rejection = compose_rejection(refused, f"{place.topic}/{place.partition}/{place.offset}", at)
        return [(ECG_REJECTED, rejection.rejection_id, rejection)]
