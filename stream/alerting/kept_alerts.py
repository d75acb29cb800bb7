"""What the keeper knows of the alerts: messages of both topics merged into a book. It does no input or output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from schemas import topics
from schemas.errors import MalformedRecord
from schemas.messages import Acknowledgement, Alert, decode_message
from schemas.topics import bounded_value, sound_key
from stream.settings import AlertSettings

from .acknowledgements import Place
from .alert_book import AlertBook, with_status

KEPT_TOPICS = (topics.ECG_ALERTS, topics.ECG_ALERTS_ACK)


class Came(NamedTuple):
    """A message as it came.

    Attributes:
        arrived: when it arrived, as far as that is known.
    """

    key: bytes | None
    value: bytes
    place: Place
    arrived: datetime

    @property
    def size(self) -> int:
        """Bytes that are kept of it."""
        return len(self.value) + len(self.key or b"")


Receive: TypeAlias = Callable[[Came], Alert | None]


class KeptAlerts:
    """Merges messages into the book.

    Args:
        limit: how many alerts are kept.

    Attributes:
        unreadable: how many messages broke the contract, by topic.
    """

    def __init__(self, settings: AlertSettings, *, limit: int) -> None:
        self.book = AlertBook.from_settings(settings, limit=limit)
        self.unreadable: Counter[str] = Counter(dict.fromkeys(KEPT_TOPICS, 0))
        self._receivers: dict[str, Receive] = {
            topics.ECG_ALERTS: self._receive_alert,
            topics.ECG_ALERTS_ACK: self._receive_acknowledgement,
        }

    def receive(
        self, topic: str, key: bytes | None, value: bytes | None, *, place: Place, arrived: float
    ) -> Alert | None:
        """Merge a message in; return the alert that it brought to a new state, as the message says it.

        Raises:
            MalformedRecord: the message breaks the contract. It is counted, and has no other effect.
        """
        try:
            held = bounded_value(topic, value)
            return self._receivers[topic](Came(sound_key(key), held, place, datetime.fromtimestamp(arrived, UTC)))
        except MalformedRecord:
            self.unreadable[topic] += 1
            raise

    def _receive_alert(self, it: Came) -> Alert | None:
        alert = decode_message(Alert, it.value)
        if not alert.risks:
            raise MalformedRecord("an alert without a risk")
        before = self.book.announced(alert)
        entry = self.book.receive_alert(alert, it.key, arrived=it.arrived, size=it.size)
        return with_status(entry.alert, entry.announced) if entry.announced != before else None

    def _receive_acknowledgement(self, it: Came) -> None:
        ack = decode_message(Acknowledgement, it.value)
        self.book.receive_ack(ack, key=it.key, place=it.place, arrived=it.arrived, size=it.size)
