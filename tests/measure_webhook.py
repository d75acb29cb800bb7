"""`python tests/measure_webhook.py`: what the webhook of alerts sends when, while its receiver is down, slow and back.

A real receiver on a loopback port keeps the ids of what it took. The keeper's part is started anew on the way. The
pauses are those of an installation, so it takes most of a minute.
"""

import asyncio
import time
from contextlib import asynccontextmanager

import msgspec
from keepers import alert
from pager import SECRET, TAKEN, pager
from prometheus_client import CollectorRegistry

from stream.alerting.webhook import Webhook
from stream.alerting.webhook_metrics import WebhookMetrics
from stream.settings import AlertSettings, Settings

TIMEOUT_S = 2.0
HEADS = ("second", "message", "alert", "receiver", "answer", "signed", "new to it")


class Watched(Webhook):
    """A webhook that notes each of its tries."""

    tries = None

    def _post(self, headers, body):
        at, outcome = time.monotonic(), super()._post(headers, body)
        self.tries.append((at, headers["webhook-id"], body, outcome.status or outcome.trouble))
        return outcome


def main():
    """Play it, and print the table."""
    with pager() as receiver:
        tries, said, states, began = asyncio.run(play(receiver))
    print(table(receiver, tries, states, began))
    for line in said:
        print(line)


async def play(receiver):
    """Let the receiver go and come while alerts are told; return the tries, the counts, and the states by time."""
    tries, states, began = [], [], time.monotonic()
    first, second, third = (alert(name) for name in ("A", "B", "C"))
    escalated = msgspec.structs.replace(first, status="escalated")

    async def state(name, seconds):
        states.append((time.monotonic(), name))
        await asyncio.sleep(seconds)

    async with keeping(receiver, tries) as hand_on:
        hand_on(first)
        await state("up", 2)
        receiver.close()
        hand_on(second)
        await state("down", 5)
        receiver.answer = None
        receiver.open()
        await state("slow", 12)
        receiver.answer = (500,)
        await state("says 500", 1)
        hand_on(escalated)
        await state("says 500", 5)
    async with keeping(receiver, tries) as hand_on:  # the next keeper has what was not confirmed
        first_again, second_again = hand_on(escalated), hand_on(second)
        await state("says 500", 5)
        receiver.answer = TAKEN
        await state("up", 0)
        await asyncio.gather(first_again, second_again)
        await hand_on(third)
        said = hand_on.counts()
    return tries, said, states, began


@asynccontextmanager
async def keeping(receiver, tries):
    """Have a webhook as a keeper has it; what is under way at the end is left to the next one."""
    registry, under_way = CollectorRegistry(), []
    settings = Settings.of(
        alert_webhook_url=f"http://127.0.0.1:{receiver.port}/",
        alert_webhook_secret=SECRET,
        alert_webhook_timeout_s=TIMEOUT_S,
    )
    hook = Watched(settings.webhook, AlertSettings(), WebhookMetrics(registry))
    hook.tries = tries

    def hand_on(one):
        under_way.append(asyncio.create_task(hook.tell(one, one.status)))
        return under_way[-1]

    hand_on.counts = lambda: [
        f"{sample.name}{sample.labels} {sample.value:g}"
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    ]
    async with hook:
        yield hand_on
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def table(receiver, tries, states, began):
    """Return the tries as a table."""
    heard = iter(receiver.tries)
    rows = [HEADS, tuple("---" for _ in HEADS)]
    for at, name, body, answer in tries:
        data = msgspec.json.decode(body)["data"]
        was = [state for since, state in states if since <= at][-1]
        came = next(heard) if was != "down" else None
        signed, new = ("", "") if came is None else (yes(came.signed), yes(not came.is_known))
        rows.append(
            (f"{at - began:.1f}", name[4:12], f"{data['identifier']} {data['status']}", was, answer, signed, new)
        )
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def yes(is_so):
    return "yes" if is_so else "no"


if __name__ == "__main__":
    main()
