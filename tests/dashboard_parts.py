"""What the tests of the dashboard's state and of its pages share: one case, one clock, a state and what fills it."""

from datetime import UTC, datetime

from schemas.messages import Acknowledgement, encode_message
from stream.dashboard.events import Hub
from stream.dashboard.feed import Header
from stream.dashboard.state import DashboardState
from stream.settings import AlertSettings

HOME = "http://127.0.0.1:8081"
NOW = datetime.now(UTC)
FLAGGED = dict.fromkeys(("heart_failure", "cardiomyopathy"), 0.7) | dict.fromkeys(
    ("coronary_artery_disease", "pulmonary_hypertension", "pericarditis"), 0.01
)


class StubFeed:
    """The feed's surface, over a state that the test fills; what would go to Kafka is kept."""

    def __init__(self, state):
        self.state, self.hub, self.sent, self.failure = state, Hub(list), [], None

    def header(self):
        return Header(self.state.overview(NOW.timestamp()), 0, kafka=self.failure is None, redis=True)

    async def publish(self, topic, message, identifier, key):
        encode_message(message)
        if self.failure:
            raise self.failure
        self.sent.append((topic, message, key))

    def unready(self):
        return None


def new_state(capacity=100, started_at=0.0):
    return DashboardState(capacity, AlertSettings(escalates_s=900, expires_s=43_200), started_at=started_at)


def feed_all(state, messages, now=NOW):
    for topic, key, message in messages:
        state.receive(topic, key, message if isinstance(message, bytes) else encode_message(message), now.timestamp())
    return state


def ack_of(alert, by="Sister Ines", comment="seen"):
    return Acknowledgement(
        identifier=alert.identifier, record_id=alert.record_id, acknowledged_by=by, comment=comment, acknowledged_at=NOW
    )
