"""The keeper of alerts over a real broker: what it publishes, once, whoever of several keepers is at work."""

import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import ended
from keepers import QUICK, acknowledgement, alert, alerts_topic, keeping, publish_to
from pager import SECRET, pager
from prometheus_client import CollectorRegistry, generate_latest
from waiting import PATIENCE_S, eventually

from schemas.messages import AcknowledgedBy
from schemas.topics import ECG_ALERTS, ECG_ALERTS_ACK
from stream.alerting.keeper_metrics import KeeperMetrics
from stream.alerting.webhook import Webhook
from stream.alerting.webhook_metrics import WebhookMetrics
from stream.alerting.webhook_queue import Patience
from stream.broker.clients import ensure_topics, new_producer
from stream.demo.embedded_servers import free_port
from stream.demo.stage import await_worker, start_worker
from stream.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.any_broker]

BOARD = Path(__file__).parent.parent / "examples" / "alert_board.py"
KILLS = int(os.environ.get("KEEPER_KILLS", "1"))
"""How many keepers are killed: few in CI; `make keeper` kills more."""
A_TURN = int(os.environ.get("KEEPER_ALERTS", "800"))


@pytest.fixture
def settings(broker):
    with broker.place() as place:
        made = Settings.of(partitions=2, **QUICK, **place)
        asyncio.run(ensure_topics(made.kafka))
        yield made


async def ready(keeper):
    async with asyncio.timeout(PATIENCE_S):
        while keeper.unready:
            await asyncio.sleep(0.05)


async def test_an_alert_has_its_whole_life_on_the_topic_and_each_state_is_handed_on_once(settings):
    moved = []

    async def on_moved(one, status):
        moved.append((one.identifier, status))

    left, first, second = (
        alert("left"),
        alert("first", record_id="r"),
        alert("second", record_id="r", code="pericarditis"),
    )
    async with new_producer(settings.kafka) as producer, alerts_topic(settings) as topic:
        await publish_to(producer, ECG_ALERTS, alert("before"))
        async with keeping(settings, on_moved, metrics := KeeperMetrics()) as keeper:
            await ready(keeper)
            await publish_to(producer, ECG_ALERTS, left, first, second, b"no alert", b"")
            await topic.until(lambda states: ("left", "escalated") in states)
            said = acknowledgement(second, whole_record=True)
            await publish_to(producer, ECG_ALERTS_ACK, b"no acknowledgement", said)
            await topic.until(lambda states: {("first", "acknowledged"), ("second", "acknowledged")} <= states.keys())
            assert keeper.unready is None
            await eventually(lambda: len(moved) >= len(topic.states) - 1)
    shown = generate_latest(metrics.registry).decode()
    assert 'cardiacnets_keeper_unreadable_messages{topic="ecg.alerts.v1"} 2.0' in shown
    assert 'cardiacnets_keeper_unreadable_messages{topic="ecg.alerts.ack.v1"} 1.0' in shown
    assert "cardiacnets_keeper_active 1.0" in shown
    by = AcknowledgedBy(name="Dr. A", authenticated=True, at=said.acknowledged_at)
    assert topic.states["first", "acknowledged"][0].acknowledgement == by
    assert topic.states["left", "escalated"][0].acknowledgement is None
    assert topic.events["left", "escalated"] == "left/escalated"
    assert {len(messages) for messages in topic.states.values()} == {1}
    assert set(moved) == topic.states.keys() - {("before", "raised")}
    assert len(moved) == len(set(moved))


def start_keeper(settings, folder, number):
    own = settings.changed(http_port=free_port())
    return start_worker(own, folder / f"keeper-{number}.log", "alert-keeper"), own


async def test_keepers_killed_while_they_publish_lose_no_state_and_publish_none_twice(settings, tmp_path):
    """Of two keepers the one at work is killed while it publishes, and the other one takes over."""
    async with new_producer(settings.kafka) as producer, alerts_topic(settings) as topic:
        with ExitStack() as stack:
            started = itertools.count()

            def start():
                keeper, own = start_keeper(settings, tmp_path, next(started))
                stack.enter_context(keeper)
                return keeper, own

            keepers = [start(), start()]
            for keeper in keepers:
                await asyncio.to_thread(await_worker, *keeper, "keeper")
            for turn in range(KILLS):
                wanted = await raise_alerts(producer, topic, turn)
                killed, _ = keepers.pop(0)
                killed.process.kill()
                await asyncio.to_thread(killed.process.wait, PATIENCE_S)
                if turn + 1 < KILLS:
                    keepers.append(start())
                await topic.until(lambda states, wanted=wanted: wanted <= states.keys())
            await publish_to(producer, ECG_ALERTS_ACK, acknowledgement(alert("0-0")))
            await topic.until(lambda states: ("0-0", "acknowledged") in states)
            assert await asyncio.to_thread(ended, keepers[0][0]) == 0
    assert Counter(status for _, status in topic.states) == {
        "raised": KILLS * A_TURN,
        "escalated": KILLS * A_TURN,
        "acknowledged": 1,
    }
    assert {len(messages) for messages in topic.states.values()} == {1}


async def raise_alerts(producer, topic, turn):
    """Raise alerts that are due together; return their new states when the first of them has been published."""
    names = [f"{turn}-{number}" for number in range(A_TURN)]
    await publish_to(producer, ECG_ALERTS, *map(alert, names))
    wanted = {(name, "escalated") for name in names}
    await topic.until(lambda states: wanted & states.keys())
    return wanted


async def test_a_dashboard_of_somebody_else_shows_the_same_life_from_the_topics_alone(settings):
    board = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BOARD),
        settings.kafka.broker,
        settings.kafka.topic_prefix,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    first, second = alert("first", record_id="r"), alert("second", record_id="r", code="pericarditis", priority="low")

    async def line():
        return (await asyncio.wait_for(board.stdout.readline(), PATIENCE_S)).decode().strip()

    try:
        async with new_producer(settings.kafka) as producer, keeping(settings):
            await publish_to(producer, ECG_ALERTS, first, b"no alert", second)
            assert await line() == "r {'heart_failure': 'raised'} [] []"
            assert await line() == "r {'heart_failure': 'raised', 'pericarditis': 'raised'} [] []"
            assert await line() == "r {'heart_failure': 'escalated', 'pericarditis': 'raised'} [] []"
            board.stdin.write(b"r Dr. A\n")
            assert "acknowledged" in await line()
            assert await line() == "r {'heart_failure': 'acknowledged', 'pericarditis': 'acknowledged'} [] ['Dr. A']"
    finally:
        board.terminate()
        await board.wait()


async def test_a_pager_that_is_down_delays_no_state_and_is_told_what_holds_when_it_is_back(settings):
    first, second, registry = alert("first"), alert("second"), CollectorRegistry()
    with pager() as receiver:
        told = settings.changed(alert_webhook_url=f"http://127.0.0.1:{receiver.port}/", alert_webhook_secret=SECRET)
        webhook = Webhook(told.webhook, told.alerts, WebhookMetrics(registry), Patience(first_s=0.02, longest_s=0.1))
        async with (
            new_producer(settings.kafka) as producer,
            alerts_topic(settings) as topic,
            webhook,
            keeping(settings, webhook.tell) as keeper,
        ):
            webhook.waits = keeper.is_rebuilding
            await ready(keeper)
            await publish_to(producer, ECG_ALERTS, first)
            await eventually(lambda: len(receiver.kept) == 2)  # raised, and escalated
            receiver.close()
            await publish_to(producer, ECG_ALERTS, second)
            await topic.until(lambda states: ("second", "escalated") in states)
            counted = "cardiacnets_alert_webhook_messages_total", {"outcome": "overtaken"}
            await eventually(lambda: registry.get_sample_value(*counted) == 1)  # by the state that is on the topic
            receiver.open()
            await eventually(lambda: len(receiver.kept) == 3)
    assert all(tried.signed and not tried.is_known for tried in receiver.tries)
    said = [(told["data"]["identifier"], told["data"]["status"]) for told in map(json.loads, receiver.kept.values())]
    assert said == [("first", "raised"), ("first", "escalated"), ("second", "escalated")]
