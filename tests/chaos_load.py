"""A steady load of ECGs, or of requests for cines, while something breaks; and an account of what came back."""

import asyncio
import itertools
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from harness import good_values
from sample_cine import sample_request
from waiting import PATIENCE_S

from schemas.codec import decode_ecg, encode_ecg
from schemas.messages import CmrResult, Rejection, RiskReport, decode_message, encode_message
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_RECORDS, ECG_REJECTED, ECG_RISK, record_key
from stream.broker.clients import new_consumer, new_producer
from stream.broker.event_producer import EventProducer
from stream.broker.rate_limit import Pace

POOL = 100
"""ECGs that are sent again and again, each time under another id."""
REST_S = 90.0
"""After so long without an answer, what is not answered is lost."""
LATE_S = 2.0
"""An answer that takes longer came late: the fault lasts until the last of them."""


def ecgs():
    """Yield id, key and value of ECGs without end."""
    pool = [decode_ecg(value) for _, value in good_values(POOL).values()]
    for number in itertools.count():
        record = msgspec.structs.replace(pool[number % POOL], record_id=f"chaos-{number}")
        yield record.record_id, record_key(record), encode_ecg(record)


def requests():
    """Yield id, key and value of requests for cines without end."""
    for number in itertools.count():
        name = f"chaos-{number}"
        yield name, name.encode(), encode_message(sample_request(name))


@dataclass(frozen=True)
class Kind:
    """What is sent where, and where the answers come."""

    topic: str
    messages: object
    answers: tuple


ECGS = Kind(ECG_RECORDS, ecgs, (ECG_RISK, ECG_REJECTED))
CINES = Kind(CMR_REQUESTS, requests, (CMR_RESULTS,))


def answer_of(topic, value):
    """Return whose answer a message is, and its id: two ids for one record contradict each other."""
    if topic == ECG_RISK:
        report = decode_message(RiskReport, value)
        return report.record_id, report.report_id
    if topic == ECG_REJECTED:
        rejection = decode_message(Rejection, value)
        return rejection.record_id or rejection.source, rejection.rejection_id
    result = decode_message(CmrResult, value)
    return result.record_id, f"{result.request_id}/{result.status}"


@dataclass
class Account:
    """When each message was due, when its first answer came, and what it said."""

    due: dict = field(default_factory=dict)
    confirmed: set = field(default_factory=set)
    answered: dict = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    ids: dict = field(default_factory=lambda: defaultdict(set))
    read_up_to: dict = field(default_factory=dict)
    since: float = 0.0

    def take(self, topic, message):
        """Note a message, unless the reader was given it before."""
        place = (message.topic, message.partition)
        if message.offset <= self.read_up_to.get(place, -1):
            return
        self.read_up_to[place] = message.offset
        name, answer = answer_of(topic, message.value)
        self.answered.setdefault(name, time.monotonic())
        self.counts[name] += 1
        self.ids[name].add(answer)

    @property
    def missing(self):
        """What the broker has confirmed and nobody has answered."""
        return len(self.confirmed - self.answered.keys())

    def waits(self):
        """Return when each answered message was due, of those that count, and how long it waited."""
        return [
            (due, self.answered[name] - due)
            for name, due in self.due.items()
            if due >= self.since and name in self.answered
        ]

    def figures(self, begun):
        """Return the account as figures; the fault began at that time."""
        waits = self.waits()
        seconds = np.array([wait for _, wait in waits] or [0.0])
        late = [due + wait for due, wait in waits if due + wait > begun and wait > LATE_S]
        twice = sum(count - len(self.ids[name]) for name, count in self.counts.items())
        return Figures(
            sent=len(self.due),
            unconfirmed=len(self.due) - len(self.confirmed),
            lost=self.missing,
            twice=twice,
            contradictory=sum(len(ids) > 1 for ids in self.ids.values()),
            recovered_s=round(max(late, default=begun) - begun, 1),
            p50_ms=round(float(np.percentile(seconds, 50)) * 1e3),
            p99_ms=round(float(np.percentile(seconds, 99)) * 1e3),
            longest_s=round(float(seconds.max()), 1),
        )


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault cost.

    Attributes:
        unconfirmed: messages that the broker did not confirm to their sender, who knows it.
        lost: confirmed ones that nobody answered.
        twice: answers that came again.
        contradictory: records with two different answers.
        recovered_s: from the beginning of the fault to the last answer that took longer than `LATE_S`.
    """

    sent: int
    unconfirmed: int
    lost: int
    twice: int
    contradictory: int
    recovered_s: float
    p50_ms: int
    p99_ms: int
    longest_s: float


class OffClock:
    """A producer whose messages carry the time of the load's clock."""

    def __init__(self, producer, load):
        self._producer, self._load = producer, load

    async def send(self, topic, value, **options):
        at = int(time.time() * 1e3) + self._load.shift_ms
        return await self._producer.send(topic, value, timestamp_ms=at, **options)


class Load:
    """Sends at a rate in a thread of its own, so that the main thread can break things, and reads the answers."""

    def __init__(self, settings, kind, rate_hz):
        self.account = Account()
        self.shift_ms = 0
        self._settings, self._kind, self._rate_hz = settings, kind, rate_hz
        self._end = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def begin_anew(self):
        """Count what is due from now on, and not what waited for the start."""
        self.account.since = time.monotonic()

    def finish(self):
        """Send no more, and return when all is answered, or when nothing has come for long."""
        self._end.set()
        self._thread.join()
        if self._error:
            raise self._error

    def _work(self):
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._error = error

    async def _run(self):
        kafka = self._settings.kafka
        consumer = new_consumer(kafka, self._kind.answers, auto_offset_reset="earliest")
        async with consumer, asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(consumer))
            await self._send()
            await self._all_answered()
            reading.cancel()

    async def _send(self):
        pace = Pace(self._rate_hz)
        async with new_producer(self._settings.kafka) as producer:
            events = EventProducer(OffClock(producer, self), "urn:cardiacnets:chaos")
            sending = set()
            for name, key, value in self._kind.messages():
                if self._end.is_set():
                    break
                await pace.step()
                self.account.due[name] = time.monotonic()
                task = asyncio.create_task(self._send_one(events, name, key, value))
                sending.add(task)
                task.add_done_callback(sending.discard)
            await asyncio.gather(*sending)

    async def _send_one(self, events, name, key, value):
        try:
            at = datetime.now(UTC) + timedelta(milliseconds=self.shift_ms)
            await (await events.send(self._kind.topic, name, value, key, time=at))
        except Exception as error:
            print(f"not confirmed: {name}: {error!r}"[:200])
        else:
            self.account.confirmed.add(name)

    async def _read(self, consumer):
        async for message in consumer:
            self.account.take(self._settings.kafka.name_of(message.topic), message)

    async def _all_answered(self):
        left, since = self.account.missing, time.monotonic()
        while left and time.monotonic() - since < REST_S:
            await asyncio.sleep(0.1)
            if self.account.missing != left:
                left, since = self.account.missing, time.monotonic()


def wait_for_answers(load, count):
    """Return when so many are answered."""
    end = time.monotonic() + PATIENCE_S
    while len(load.account.answered) < count:
        assert load._thread.is_alive(), load._error
        assert time.monotonic() < end, "the load is not answered"
        time.sleep(0.05)
