"""The screening service: the batcher and the parts around it. It lives from before the first event until the last."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from engines.batcher import Batcher, Lane, preparers_for
from engines.options import usable_cores
from inference.screener import PreparedBatch, ReceivedEcg, ScreenedOrRefused, Screener
from schemas.messages import Quality
from stream.alerting.shelvings import Shelvings
from stream.broker.clients import LANE_TOPICS
from stream.redis_client import longest_ttl_s
from stream.runtime.event import Tries
from stream.runtime.group import Group
from stream.runtime.topic_service import TopicService
from stream.settings import Settings

from .alert_suppression import AlertSuppressor
from .alert_topics import AlertTopics
from .answer_publisher import SOURCE, AnswerPublisher, OfFlagged
from .archive_slots import ArchiveSlots
from .known_ecgs import ClaimingEcg, KnownEcgs
from .lane import ScreeningLane
from .metrics import Metrics
from .waveform_cache import ARCHIVE_TTL_S, WaveformCache

REQUEST_WAITS_S = 86_400
"""How long `cmr.requests.v1` keeps a request that nobody has answered."""


class PreparedEcgs(NamedTuple):
    """A batch for the device, and the ECGs that it was made of."""

    ecgs: Sequence[ReceivedEcg]
    batch: PreparedBatch


class ScreeningService(TopicService):
    """Owns the parts that the lanes share.

    Args:
        group: the consumer group of the workers.
    """

    def __init__(
        self,
        settings: Settings,
        screener: Screener,
        *,
        group: Group,
        **options: Any,
    ) -> None:
        self.metrics = Metrics()
        super().__init__(
            settings,
            self.metrics.registry,
            source=SOURCE,
            group=group,
            progress_word="record finished",
            **options,
        )
        self._screener = screener
        self._lanes: dict[Lane, ScreeningLane] = {}

    def new_lane(self, lane: Lane) -> ScreeningLane:
        """Return a lane over the shared batcher."""
        settings = self._settings.screening
        is_live = lane is Lane.REALTIME
        publisher = AnswerPublisher(
            lane,
            self._events,
            self._waveforms,
            self.metrics,
            suppressor=self._suppressors.get(lane),
            of_flagged=OfFlagged(
                waveform=is_live or settings.backfill_waveforms, cine=is_live or settings.backfill_cines
            ),
            cine_slots=None if is_live else self._archive_cines,
            keeps_others=is_live and self._settings.redis.other_waveform_ttl_s > 0,
        )
        self._lanes[lane] = ScreeningLane(
            self._batcher,
            lane,
            publisher,
            tries=Tries(settings.engine_tries, self._settings.process.retry_backoff_s),
            in_flight=settings.in_flight,
            failures_in_a_row=settings.engine_failures_in_a_row,
        )
        return self._lanes[lane]

    @property
    def waits_for_registry(self) -> bool:
        """Whether a lane has stopped until the schema registry answers again."""
        return any(lane.waits_for_registry for lane in self._lanes.values())

    async def _start_parts(self, stack: AsyncExitStack) -> Batcher[Any, Any, Any]:
        archive_waveforms = await stack.enter_async_context(self._archive_slots_of_waveforms())
        self._archive_cines = await stack.enter_async_context(self._archive_slots_of_cines())
        self._waveforms = await stack.enter_async_context(
            WaveformCache(self._settings.redis, self.metrics, archive=archive_waveforms)
        )
        known = KnownEcgs(self._settings.redis, self.metrics, limit=self._settings.screening.known_ecgs)
        await stack.enter_async_context(self._alert_topics())
        self._known_ecgs = await stack.enter_async_context(known)
        self._batcher: Batcher[ReceivedEcg, PreparedEcgs, ScreenedOrRefused] = await stack.enter_async_context(
            self._new_batcher()
        )
        model = self._screener.model
        self.metrics.model.info({"name": model.name, "version": model.version, "engine": self._screener.engine.name})
        return self._batcher

    def _alert_topics(self) -> AlertTopics:
        """Return what tells the lanes of the alerts that other workers raised."""
        settings, shelvings = self._settings, Shelvings()
        suppressors = {lane: AlertSuppressor.for_lane(lane, settings.alerts, shelvings) for lane in Lane}
        self._suppressors = {lane: one for lane, one in suppressors.items() if one is not None}
        return AlertTopics(settings.kafka, settings.alerts, self._suppressors, shelvings)

    def _archive_slots_of_waveforms(self) -> ArchiveSlots:
        limit = self._settings.screening.backfill_waveforms_at_most
        return ArchiveSlots(self._settings.redis, "waveforms", limit=limit, ttl_s=longest_ttl_s(ARCHIVE_TTL_S))

    def _archive_slots_of_cines(self) -> ArchiveSlots:
        """Return slots that last while a request may wait, and then its cine."""
        limit, ttl_s = self._settings.screening.backfill_cines_at_most, longest_ttl_s(self._settings.cines.ttl_s)
        return ArchiveSlots(self._settings.redis, "cines", limit=limit, ttl_s=REQUEST_WAITS_S + ttl_s)

    def _new_batcher(self) -> Batcher[ReceivedEcg, PreparedEcgs, ScreenedOrRefused]:
        return Batcher(
            prepare=self._prepare,
            run=self._run,
            max_batch=self._settings.screening.max_batch or self._screener.records_wanted,
            max_queue=self._settings.screening.max_queue,
            preparers=self._settings.screening.preparers or preparers_for(usable_cores()),
            drain_s=self._settings.process.drain_s,
        )

    def _prepare(self, ecgs: Sequence[ReceivedEcg]) -> PreparedEcgs:
        return PreparedEcgs(ecgs, self._screener.prepare_received(ecgs))

    def _run(self, prepared: PreparedEcgs) -> Sequence[ScreenedOrRefused]:
        """Begin to look up the ids of the ECGs that passed the gate, and screen them meanwhile.

        Batches come here in order, so of two ECGs under one id the first one owns it, however many threads prepare.
        """
        passed = zip(prepared.ecgs, prepared.batch.outcomes, strict=True)
        self._known_ecgs.look_up(
            [ecg for ecg, outcome in passed if isinstance(ecg, ClaimingEcg) and isinstance(outcome, Quality)]
        )
        return self._screener.run(prepared.batch)

    def _close(self) -> None:
        self._screener.engine.close()

    def _held(self) -> int:
        # A copy: the watchdog asks from its own thread, and a lane may be added meanwhile.
        return sum(lane.held for lane in list(self._lanes.values()))

    def _finished(self) -> int:
        return sum(lane.finished for lane in list(self._lanes.values()))

    def _measure(self) -> None:
        for lane, worker in self._lanes.items():
            self.metrics.held.labels(lane.value).set(worker.held)
        # The group does not name its topics before it has joined.
        ours = map(self._settings.kafka.topic, LANE_TOPICS.values())
        for topic, records in (dict.fromkeys(ours, 0) | dict(self._group.reading.left)).items():
            self.metrics.lag.labels(topic).set(records)
