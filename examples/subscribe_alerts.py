"""Print each new state of each alert, one a line: `python examples/subscribe_alerts.py [host:port]`.

Needs `pip install cardiacnets aiokafka`. Delivery is at least once, so a message may come twice, and the states of one
alert share its identifier. Of two messages about one alert the one that stands further on in `ALERT_STATUSES` holds,
whichever came first.
"""

import asyncio
import sys
from collections import OrderedDict

from aiokafka import AIOKafkaConsumer

from schemas.errors import MalformedRecord
from schemas.messages import ALERT_STATUSES, Alert, decode_message
from schemas.topics import ECG_ALERTS

ALERTS_KEPT = 10_000
"""Of the newest alerts: a bound on memory."""


class Furthest:
    """Remembers how far each alert has come."""

    def __init__(self) -> None:
        self._ranks: OrderedDict[str, int] = OrderedDict()

    def moves(self, alert: Alert) -> bool:
        """Return whether this message brings the alert further; a repetition does not."""
        rank = ALERT_STATUSES.index(alert.status)
        if rank <= self._ranks.get(alert.identifier, -1):
            return False
        self._ranks[alert.identifier] = rank
        if len(self._ranks) > ALERTS_KEPT:
            self._ranks.popitem(last=False)
        return True


async def subscribe(broker: str, group: str = "example-alerts") -> None:
    """Print alerts until the process is stopped."""
    consumer = AIOKafkaConsumer(
        ECG_ALERTS,
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    furthest = Furthest()
    async with consumer:
        async for message in consumer:
            try:
                alert = decode_message(Alert, message.value)
            except MalformedRecord as error:
                print(f"passed over at offset {message.offset}: {error}", file=sys.stderr, flush=True)
                continue
            if furthest.moves(alert):
                (risk,) = alert.risks
                print(alert.status, alert.priority, alert.code, f"{risk.probability:.2f}", alert.record_id, flush=True)
            await consumer.commit()  # after the work: a crash repeats a message, and loses none


if __name__ == "__main__":
    asyncio.run(subscribe(sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"))
