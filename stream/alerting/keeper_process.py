"""The process of a keeper of alerts: the keeper, its HTTP and its watchdog, until a signal ends them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from contextlib import AsyncExitStack

import structlog

from schemas.errors import DeploymentError
from stream.runtime.group import Group
from stream.runtime.group_metrics import GroupCollector
from stream.runtime.health import check_port, health_server
from stream.runtime.watchdog import Watchdog
from stream.settings import Settings

from .keeper import Keeper
from .keeper_metrics import KeeperMetrics
from .moves import to_nobody
from .webhook import Webhook
from .webhook_metrics import WebhookMetrics

LEAVE_S = 15.0
"""How long it may take to leave the group, beside what is being handed on."""

log = structlog.get_logger(__name__)


async def serve_alert_keeper(settings: Settings) -> None:
    """Keep the alerts until SIGTERM or Ctrl-C, and hand their new states on to the webhook, if there is one.

    Raises:
        DeploymentError: the broker or the port cannot be used, or the broker refuses what the keeper needs.
    """
    process = settings.process
    check_port(process.http_host, process.http_port)
    metrics, group = KeeperMetrics(), Group(settings.kafka, settings.keeper_group)
    metrics.registry.register(GroupCollector(group))
    async with AsyncExitStack() as stack:
        webhook = await _webhook(settings, metrics, stack)
        keeper = Keeper(settings, metrics, group, on_moved=webhook.tell if webhook else to_nobody)
        if webhook:
            webhook.waits = keeper.is_rebuilding
        watchdog = Watchdog(lambda: 1, lambda: keeper.rounds, process.watchdog_s, outside=lambda: group.outside)
        stack.callback(watchdog.stop)
        await stack.enter_async_context(keeper)
        port = await stack.enter_async_context(
            health_server(
                process.http_host,
                process.http_port,
                registry=metrics.registry,
                healthy=lambda: _unhealthy(watchdog, group, process.watchdog_s),
                ready=lambda: keeper.unready,
            )
        )
        watchdog.start()
        log.info("service_started", http=f"http://{process.http_host}:{port}")
        await _keep_until_told(keeper, group)
        watchdog.allow(process.drain_s + LEAVE_S)
    if group.refusal:
        raise DeploymentError(group.refusal)


async def _webhook(settings: Settings, metrics: KeeperMetrics, stack: AsyncExitStack) -> Webhook | None:
    """Begin to send to the receiver that the settings name, if they name one."""
    if settings.webhook.url is None:
        return None
    return await stack.enter_async_context(Webhook(settings.webhook, settings.alerts, WebhookMetrics(metrics.registry)))


async def _keep_until_told(keeper: Keeper, group: Group) -> None:
    """Return after a signal, or when the broker refuses us; raise what else ends the keeper."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    group.when_refused(told.set)
    keeping, waiting = asyncio.create_task(keeper.keep()), asyncio.create_task(told.wait())
    await asyncio.wait({keeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (keeping, waiting):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _unhealthy(watchdog: Watchdog, group: Group, patience_s: float) -> str | None:
    if watchdog.stalled_s <= patience_s / 2:
        return None
    return group.outside or f"no round of work for {watchdog.stalled_s:.0f} s"
