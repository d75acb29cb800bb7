"""Tells a receiver over HTTP of alerts, such as a pager: signed, again until it confirms, and never in anybody's way.

What waits lies in memory alone. The keeper's offsets say which states were told to their end (`moves.py`): the next
keeper hands on the others, each of which has the id that it had before.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import structlog

from schemas.identity import webhook_id
from schemas.messages import Alert, AlertStatus
from stream.bounded import RecentDict
from stream.broker.http_exchange import HttpServer, retry_after_s, tls_context
from stream.settings import AlertSettings, WebhookSettings

from .webhook_metrics import WebhookMetrics
from .webhook_page import Page, compose_page, signed_headers
from .webhook_queue import PageQueue, Patience

CONFIRMED_KEPT = 50_000
"""Of so many pages it is known that the receiver has confirmed them."""
LOOKS_S = 0.1
MAX_ANSWER_BYTES = 4096
"""Nobody reads what a receiver answers."""

log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """What came of a try.

    Attributes:
        status: of the answer; None where there was none in time.
        retry_after_s: the pause that the receiver asks for, if it does.
        trouble: why there was no answer.
    """

    status: int | None
    retry_after_s: float | None = None
    trouble: str = ""

    @property
    def confirms(self) -> bool:
        """Whether the receiver has taken the page."""
        return self.status is not None and http.client.OK <= self.status < http.client.MULTIPLE_CHOICES


class Webhook:
    """Tells a receiver of alerts while it is entered.

    Args:
        settings: with a URL.
        ages: when alerts escalate and expire.

    Attributes:
        waits: returns whether later states may still be unknown, so that nothing is to be sent yet.

    Raises:
        DeploymentError: the file with the certificate authority cannot be used.
    """

    def __init__(
        self, settings: WebhookSettings, ages: AlertSettings, metrics: WebhookMetrics, patience: Patience | None = None
    ) -> None:
        address = urlsplit(settings.url or "")
        is_encrypted = address.scheme == "https"
        context = tls_context("CARDIACNETS_ALERT_WEBHOOK_CA_FILE", settings.ca_file) if is_encrypted else None
        self._settings = settings
        self._came_after_s = {"escalated": ages.escalates_s, "expired": ages.expires_s}
        self._server = HttpServer(address, context, settings.timeout_s, settings.timeout_s, MAX_ANSWER_BYTES)
        self._path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._patience = patience or Patience()
        self._queue = PageQueue(self._patience, left=self._settle)
        self._ends: dict[str, asyncio.Future[None]] = {}
        self._confirmed: RecentDict[str, None] = RecentDict(CONFIRMED_KEPT)
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._failing_since: float | None = None
        self._is_gone = False
        self.waits: Callable[[], bool] = lambda: False
        metrics.follow(waiting=lambda: len(self._queue), failing_s=self._failing_s)

    async def __aenter__(self) -> Self:
        """Begin to send."""
        self._threads = ThreadPoolExecutor(self._patience.at_once, "webhook")
        self._sending = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send nothing more. A try that is under way ends in a thread of its own, within its deadline."""
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def tell(self, alert: Alert, status: AlertStatus) -> None:
        """Tell of an alert that came to a state, if the settings ask for it.

        Return when the receiver has confirmed it, when it was given up, or when a later state has overtaken it.
        """
        page_id = webhook_id(alert)
        if (status, alert.priority) not in self._settings.occasions:
            self._metrics.messages.labels("overtaken").inc(self._queue.drop(alert.identifier))
        elif self._is_gone:
            self._metrics.messages.labels("receiver_gone").inc()
        elif page_id not in self._confirmed:
            await self._told(self._page_of(alert))

    def _page_of(self, alert: Alert) -> Page:
        came_at = alert.onset + timedelta(seconds=self._came_after_s.get(alert.status, 0.0))
        if alert.acknowledgement is not None:
            came_at = alert.acknowledgement.at
        ends_at = time.monotonic() + self._settings.deadline_s
        return compose_page(alert, came_at=came_at, ends_at=ends_at, dashboard=self._settings.dashboard)

    async def _told(self, page: Page) -> None:
        """Return when a page has left the queue."""
        end = self._ends.get(page.message_id)
        if end is None:
            self._ends[page.message_id] = end = asyncio.get_running_loop().create_future()
            self._metrics.messages.labels("overtaken").inc(self._queue.put(page))
            self._tell_given_up()
            self._changed.set()
        try:
            await asyncio.wait({end, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not end.done():  # the keeper ends: the next one tells it
                self._queue.drop(page.identifier)
        if self._sending.done():
            self._sending.result()  # raises what ended it

    def _settle(self, page: Page) -> None:
        """Let those go on who wait for a page."""
        end = self._ends.pop(page.message_id, None)
        if end is not None and not end.done():
            end.set_result(None)

    async def _send_all(self) -> None:
        async with asyncio.TaskGroup() as sending:
            await self._dispatch(sending)

    async def _dispatch(self, sending: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            while not self.waits() and (page := self._queue.take(time.monotonic())):
                sending.create_task(self._send(page))
            self._tell_given_up()
            # 0: too many are under way, and the end of each wakes us
            wait_s = LOOKS_S if self.waits() else self._queue.wait_s(time.monotonic()) or self._patience.longest_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _send(self, page: Page) -> None:
        headers = signed_headers(page, self._settings.keys, time.time())
        outcome = await asyncio.get_running_loop().run_in_executor(self._threads, self._post, headers, page.body)
        self._metrics.tries.labels(_kind(outcome.status)).inc()
        if outcome.confirms:
            self._note_confirmed(page)
        else:
            self._note_failed(page, outcome)
        self._changed.set()

    def _post(self, headers: dict[str, str], body: bytes) -> Outcome:
        """Send a page, in a thread."""
        began = time.monotonic()
        try:
            answer = self._server.exchange("POST", self._path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            is_late = time.monotonic() - began >= self._server.step_s
            # The error's text may name the address, which may be secret.
            return Outcome(None, trouble="no answer in time" if is_late else type(error).__name__)
        return Outcome(answer.status, retry_after_s(answer.headers.get("Retry-After")))

    def _note_confirmed(self, page: Page) -> None:
        self._metrics.messages.labels("confirmed").inc()
        self._confirmed.put(page.message_id, None)
        self._queue.succeeded(page)
        if self._failing_since is not None:
            log.info("webhook_receiver_is_back", away_s=round(self._failing_s(), 1), waiting=len(self._queue))
            self._failing_since = None

    def _note_failed(self, page: Page, outcome: Outcome) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            log.warning(
                "webhook_receiver_fails",
                answer=outcome.status or outcome.trouble,
                effect="alerts wait for it; their states on the topic do not",
            )
        self._queue.failed(page, time.monotonic(), outcome.retry_after_s)
        if outcome.status == http.client.GONE:
            self._is_gone = True
            self._queue.give_up_all()
            log.error("webhook_receiver_is_gone", effect="it answered 410: nothing is sent until the next start")
        self._tell_given_up()

    def _tell_given_up(self) -> None:
        if not self._queue.given_up:
            return
        log.error("webhook_pages_given_up", **{str(why): number for why, number in self._queue.given_up.items()})
        for why, number in self._queue.given_up.items():
            self._metrics.messages.labels(why).inc(number)
        self._queue.given_up.clear()

    def _failing_s(self) -> float:
        return 0.0 if self._failing_since is None else time.monotonic() - self._failing_since


def _kind(status: int | None) -> str:
    return "none" if status is None else f"{status // 100}xx"
