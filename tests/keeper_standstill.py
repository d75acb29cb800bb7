"""`make keeper`: a keeper stands still while it publishes, another one takes over, and the first one goes on.

It is no part of the test run: it takes a while, and `test_stream_alert_keeper.py` kills keepers there.
"""

import asyncio
import signal
import urllib.request
from contextlib import suppress

import pytest
from keepers import alert, alerts_topic, publish_to
from test_stream_alert_keeper import A_TURN, raise_alerts, settings, start_keeper
from waiting import PATIENCE_S, wait_until

from schemas.topics import ECG_ALERTS
from stream.broker.clients import new_producer
from stream.demo.stage import await_worker

pytestmark = [pytest.mark.servers, pytest.mark.any_broker]
__all__ = ["settings"]


async def test_a_keeper_that_stood_still_publishes_nothing_of_its_own_afterwards(settings, tmp_path):
    """It stands still while it publishes: what it had sent already may come twice, and is the same both times."""
    async with new_producer(settings.kafka) as producer, alerts_topic(settings) as topic:
        first, first_settings = start_keeper(settings, tmp_path, 0)
        second, second_settings = start_keeper(settings, tmp_path, 1)
        with first, second:
            await asyncio.to_thread(await_worker, first, first_settings, "keeper")
            await asyncio.to_thread(await_worker, second, second_settings, "keeper")
            wanted = await raise_alerts(producer, topic, 0)
            first.process.send_signal(signal.SIGSTOP)
            await topic.until(lambda states: wanted <= states.keys())
            wanted = {(f"1-{number}", "escalated") for number in range(A_TURN)}
            await publish_to(producer, ECG_ALERTS, *(alert(name) for name, _ in sorted(wanted)))
            first.process.send_signal(signal.SIGCONT)
            await topic.until(lambda states: wanted <= states.keys())
            port = first_settings.process.http_port
            await asyncio.to_thread(wait_until, lambda: "keeper_active 0.0" in metrics_at(port))
    twice = {state: messages for state, messages in topic.states.items() if len(messages) > 1}
    print(f"{len(twice)} states of {len(topic.states)} are there twice")
    assert not twice.keys() & wanted
    assert all(one == messages[0] for messages in twice.values() for one in messages)


def metrics_at(port):
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        return answer.read().decode()
    return ""
