"""The Faust app of a process that serves a topic: how it is made from the settings, and its orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any, NoReturn

import faust
from faust.tables.manager import TableManager
from faust.types.auth import CredentialsT
from mode import Service
from yarl import URL

from schemas.errors import DeploymentError
from stream.broker.clients import FETCH_BYTES, FETCH_WAIT_MS, METADATA_AGE_MS, tls_context
from stream.broker.kerberos import check_kerberos
from stream.broker.needs import Needs
from stream.broker.oauth_tokens import token_provider
from stream.broker.start_check import ready_topics
from stream.redis_check import RedisUser, check_redis
from stream.settings import KafkaSettings, Settings

from .faust_transport import use_prompt_transport
from .group import Group
from .health import check_port

STREAM_BUFFER = 64
"""How many records of a topic Faust holds before it stops fetching. Its default, 4096, is half a gigabyte of ECGs."""


class StatelessApp(faust.App):
    """A Faust app that writes nothing to disk. A container that may not write would fail on Faust's table folder."""

    def _create_directories(self) -> None:
        pass


class NoTables(TableManager):
    """The tables of an app that has none. Faust waits a second for tables before it joins the group."""

    async def on_start(self) -> None:
        """Say at once that all tables are known."""
        await self._update_channels()
        await self.recovery.start()


class ServingWorker(faust.Worker):
    """Faust's worker, which tells the service when the shutdown begins, and ends when the group refuses it."""

    def __init__(self, app: faust.App, service: Service, group: Group, shutdown_begins: Callable[[], None]) -> None:
        # Faust would replace the logging that is configured already.
        super().__init__(app, service, quiet=True, redirect_stdouts=False, override_logging=False)
        self._shutdown_begins = shutdown_begins
        self._group = group
        group.when_refused(lambda: self.loop.call_soon_threadsafe(self._on_sigterm))

    def serve(self) -> NoReturn:
        """Serve until SIGTERM, and exit: with 0, or with 1 after anything unforeseen.

        Raises:
            DeploymentError: the group refuses the process.
        """
        try:
            self.execute_from_commandline()
        except SystemExit as end:
            if sentence := self._group.refusal or self._group.refusal_by(self.crash_reason):
                raise DeploymentError(sentence) from end
            raise

    async def _sentinel_task(self) -> None:
        """Turn the loop once more before it is closed. Mode waits a second here, and nothing is left to wait for."""
        await asyncio.sleep(0)

    def _on_sigterm(self) -> None:
        self._shutdown_begins()
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._shutdown_begins()
        super()._on_sigint()


def check_surroundings(settings: Settings, needs: Needs, redis_user: RedisUser) -> None:
    """Check Redis, the HTTP port, the broker and the rights before the slow model load; create missing topics.

    So a mistake ends in one sentence before the load, and not in Faust's traceback after it.

    Args:
        settings: of the process.
        needs: what it needs of the broker.
        redis_user: what it asks of Redis.

    Raises:
        DeploymentError: one of them cannot be used.
    """
    check_port(settings.process.http_host, settings.process.http_port)
    # Not asyncio.run: it would leave the thread without a loop, and Faust needs one.
    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(check_redis(settings.redis, redis_user))
        loop.run_until_complete(ready_topics(settings.kafka, needs, needs.group(settings)))


def create_app(settings: KafkaSettings, group: Group, *, buffer: int, fetch_wait_ms: int = FETCH_WAIT_MS) -> faust.App:
    """Return a Faust app that only consumes, at least once, without tables and without Faust's web server.

    Args:
        settings: of the broker.
        group: the consumer group; the app writes down there what it sees.
        buffer: how many records of a topic Faust holds before it stops fetching.
        fetch_wait_ms: how long the embedded broker may hold an empty fetch.
    """
    app = StatelessApp(
        group.name,
        TableManager=NoTables,
        broker=[URL(f"kafka://{address.strip()}") for address in settings.broker.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.session_timeout_s,
        broker_rebalance_timeout=settings.rebalance_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_commit_interval=settings.commit_interval_s,
        consumer_auto_offset_reset="none",  # our transport finds the place, and says what is not there
        consumer_metadata_max_age_ms=METADATA_AGE_MS,
        consumer_max_fetch_size=FETCH_BYTES,
        stream_buffer_maxsize=min(STREAM_BUFFER, buffer),
        topic_allow_declare=False,  # they were created with our settings
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        autodiscover=False,
        web_enabled=False,
        cython_optimizations=False,
    )
    use_prompt_transport(app, group, settings.isolation_level, fetch_wait_ms)
    group.is_joined = lambda: has_joined(app)
    return app


def has_joined(app: faust.App) -> bool:
    """Return whether the app has joined its group and knows its partitions; among many workers it may have none."""
    return app.rebalancing_count > 0 and not app.rebalancing


def _credentials(settings: KafkaSettings) -> CredentialsT | None:
    context: Any = tls_context(settings)
    if not settings.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context=context) if context else None
    match settings.sasl_mechanism:
        case "OAUTHBEARER":
            return faust.auth.OAuthCredentials(oauth_cb=token_provider(settings), ssl_context=context)
        case "GSSAPI":
            check_kerberos(settings)
            return faust.GSSAPICredentials(
                kerberos_service_name=settings.kerberos_service,
                kerberos_domain_name=settings.kerberos_host,
                mechanism=settings.sasl_mechanism,
                ssl_context=context,
            )
        case _:
            return faust.SASLCredentials(
                username=settings.sasl_username,
                password=settings.sasl_password,
                mechanism=settings.sasl_mechanism,
                ssl_context=context,
            )
