"""Asks Redis at the start whether it can serve us: no cluster, transactions, and the rights that a process uses.

Rights are asked for within a transaction that is thrown away, so nothing is written: Redis says of each command at once
whether this user may run it on this key. A process that can work without Redis says what is missing, and goes on.
"""

# ruff: noqa: N818 -- the errors are leaves of the tree in schemas/errors.py, and name the condition

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as Disconnected

from schemas.errors import DeploymentError

from .redis_bounds import order_key
from .redis_client import SENTINELS, new_redis, redis_place
from .settings import RedisSettings

WAVEFORM, ECG_ID = "cardiacnets:waveform:r", "cardiacnets:ecg-id:1:r"
KEEPING = (("RPUSH", "r"), ("LPOP", 1))
ORDERED = ("waveform", "other-waveform", "ecg-id")
CINE, LOCK = "cardiacnets:cine:r", "cardiacnets:cine-lock:r"
TRANSACTION: Sequence[tuple[str | int, ...]] = (("EXEC",), ("DISCARD",))
"""Outside a transaction Redis refuses them to everybody, but to whom lacks the right in other words."""
REFUSALS = ("unknown command", "NOPERM")
"""To a refused EXEC Redis says that it discards the transaction because of NOPERM."""
MAX_WORDS = 200
RIGHTS = 'docs/operations.md, "Redis", has the rights of each process'

log = structlog.get_logger(__name__)


class RedisUser(NamedTuple):
    """What a process asks of Redis.

    Attributes:
        commands: each that it runs, on a key of each kind that it runs it on.
        transactions: whether it cannot do without.
        without: what happens without Redis, or without a right; None: the process does not start without the rights.
    """

    commands: Sequence[tuple[str | int, ...]]
    transactions: bool
    without: str | None


WORKER = RedisUser(
    [
        *(("SET", key, "") for key in (WAVEFORM, ECG_ID)),
        ("MGET", ECG_ID),
        *(
            (name, order_key(kind), *more)
            for kind in ("waveform", "other-waveform", "ecg-id")
            for name, *more in KEEPING
        ),
        ("UNLINK", WAVEFORM),
        ("UNLINK", ECG_ID),
    ],
    transactions=False,
    without="screening goes on; waveforms and the ids of ECGs are not kept",
)
CMR_WORKER = RedisUser(
    [
        ("DEL", CINE),
        ("UNLINK", CINE),
        *((name, order_key("cine"), *more) for name, *more in KEEPING),
        ("HSET", CINE, "version", "1"),
        ("EXPIRE", CINE, 60),
        ("HSTRLEN", CINE, "version"),
        ("EXISTS", CINE),
        ("HMGET", CINE, "version"),
        ("SET", LOCK, ""),
        ("GET", LOCK),
        ("DEL", LOCK),
        ("PEXPIRE", LOCK, 60),
        ("EVAL", "return 0", 1, LOCK),
    ],
    transactions=True,
    without=None,
)
CINE_COMMAND = RedisUser(
    [("HSTRLEN", CINE, "version"), ("EXISTS", CINE), ("HMGET", CINE, "version"), ("HGET", CINE, "frames")],
    transactions=True,
    without=None,
)
DASHBOARD = RedisUser(
    [("PING",), ("STRLEN", WAVEFORM), ("GET", WAVEFORM), *CINE_COMMAND.commands],
    transactions=True,
    without="the dashboard shows no ECG or no cine",
)


class RedisRefusal(DeploymentError):
    """Redis answers, and cannot serve this process as it is set up."""


class MissingRights(RedisRefusal):
    """The user may not do all that the process does."""


async def check_redis(settings: RedisSettings, user: RedisUser) -> None:
    """Check what Redis can do for a process. A Redis that is away is said, and no reason to end.

    Raises:
        InvalidSettings: the URL cannot be used.
        DeploymentError: Redis is of a kind that cannot serve, or refuses what the process cannot do without.
    """
    try:
        await ask_redis(settings, user)
    except MissingRights as refusal:
        if user.without is None:
            raise
        log.warning("redis_refuses", reason=str(refusal), effect=user.without)
    except (RedisError, OSError) as error:
        reason = f"{redis_place(settings)}: {str(error)[:MAX_WORDS]}"
        log.warning("redis_unavailable", reason=reason, effect=user.without or "requests wait for it")


async def ask_redis(settings: RedisSettings, user: RedisUser) -> None:
    """Ask Redis for all that a process needs of it.

    Raises:
        InvalidSettings: the URL cannot be used.
        RedisRefusal: Redis is of a kind that cannot serve, or refuses something.
        RedisError: it does not answer.
    """
    place = redis_place(settings)
    async with new_redis(settings) as redis:
        pool: Any = redis.connection_pool
        try:
            connection = await pool.get_connection()
        except AuthenticationError as error:
            raise MissingRights(f"Redis at {place} refuses the user and the password of CARDIACNETS_REDIS") from error
        except ResponseError as error:  # of the commands that begin a connection
            raise RedisRefusal(
                f"Redis at {place} does not begin as Redis 6 or newer does: it says {str(error)[:MAX_WORDS]!r}. Is it "
                "an older one, or a proxy?"
            ) from error
        try:
            await _ask_on(connection, user, place)
        finally:
            await connection.disconnect()  # and the transaction ends with it
            await pool.release(connection)


async def _ask_on(connection: Any, user: RedisUser, place: str) -> None:
    _check_kind(await _answer(connection, "HELLO"), place)
    transaction = TRANSACTION if user.transactions else ()
    refused = [command for command in transaction if await _is_refused(connection, *command)]
    if await _begins_transaction(connection, user, place):
        refused += [command for command in user.commands if await _is_refused(connection, *command)]
        _check_rights(refused, place)


async def _answer(connection: Any, *command: str | int) -> Any:
    """Return the answer to a command; an error that is the answer is returned too."""
    await connection.send_command(*command)
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _is_refused(connection: Any, *command: str | int) -> bool:
    """Return whether this user may not run the command, or Redis does not know it."""
    answer = await _answer(connection, *command)
    return isinstance(answer, NoPermissionError) or any(words in str(answer) for words in REFUSALS)


def _check_kind(about: Any, place: str) -> None:
    facts = {_text(key): _text(value) for key, value in about.items()} if isinstance(about, dict) else {}
    if facts.get("mode") == "cluster":
        raise RedisRefusal(
            f"Redis at {place} is a cluster, which cannot serve: set CARDIACNETS_REDIS to a single server, or to "
            f"Sentinels (redis{SENTINELS}://host-1:26379,host-2:26379/mymaster/0)"
        )
    if facts.get("mode") == "sentinel":
        raise RedisRefusal(
            f"Redis at {place} is a Sentinel, which stores nothing: write redis{SENTINELS}://{place}/mymaster/0 as "
            "CARDIACNETS_REDIS, with the master's name in place of mymaster"
        )


async def _begins_transaction(connection: Any, user: RedisUser, place: str) -> bool:
    """Begin the transaction in which rights are asked for; return whether it has begun.

    Raises:
        RedisRefusal: the process needs transactions, and there are none.
    """
    try:
        answer = await _answer(connection, "MULTI")
    except Disconnected as error:  # as some proxies answer what they do not know
        answer = error
    if _text(answer) == "OK":
        return True
    if user.transactions and isinstance(answer, NoPermissionError):
        _check_rights([("MULTI",)], place)
    if user.transactions:
        raise RedisRefusal(
            f"Redis at {place} has no transactions (MULTI): a proxy stands before it that does not hand them on. Set "
            "CARDIACNETS_REDIS to Redis itself"
        )
    return False


def _check_rights(refused: Sequence[tuple[str | int, ...]], place: str) -> None:
    if not refused:
        return
    names = [str(name).lower() + (f" on {_kind_of(keys)}" if keys else "") for name, *keys in refused]
    raise MissingRights(f"Redis at {place} refuses to our user: {', '.join(dict.fromkeys(names))}. {RIGHTS}")


def _kind_of(arguments: Sequence[str | int]) -> str:
    """Return the pattern of the key among a command's arguments."""
    key = next(str(argument) for argument in arguments if str(argument).startswith("cardiacnets:"))
    kind = ":".join(key.split(":")[:2])
    return key if kind == "cardiacnets:order" else f"{kind}:*"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
