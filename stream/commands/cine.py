"""`cardiacnets cine`: fetches a record's cine from Redis."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from schemas.errors import CardiacNetsError
from stream.plain_text import print_plain

from .options import RedisUrl, settings_with

if TYPE_CHECKING:
    from inference.cine import Cine
    from stream.settings import Settings


class CineNotFound(CardiacNetsError):  # noqa: N818  leaves name the condition
    """Redis has no cine of that record."""

    code: ClassVar[str] = "cine_not_found"


def cine_command(
    record_id: Annotated[str, typer.Argument(help="Record id of the ECG.")],
    out: Annotated[Path, typer.Option(help="File to write: .gif, .mp4, .nii.gz or .png.")],
    redis: RedisUrl = None,
) -> None:
    """Fetch the generated cine of a record from Redis."""
    import asyncio

    from inference.cine_files import cine_writer, write_cine
    from schemas.messages import SYNTHETIC_NOTICE

    cine_writer(out)
    write_cine(asyncio.run(_fetch(settings_with(redis=redis), record_id)), out)
    print_plain(f"{out}: {SYNTHETIC_NOTICE}")


async def _fetch(settings: Settings, record_id: str) -> Cine:
    from redis.exceptions import RedisError

    from stream.cines.store import CineStore, RedisUnavailable
    from stream.redis_check import CINE_COMMAND, ask_redis
    from stream.redis_client import redis_place

    with contextlib.suppress(RedisError, OSError):  # the store says that Redis is away
        await ask_redis(settings.redis, CINE_COMMAND)
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        try:
            cine = await store.get(record_id)
        except RedisUnavailable as error:
            raise RedisUnavailable(f"{error}; set its address by --redis or CARDIACNETS_REDIS") from error
    if cine is None:
        raise CineNotFound(
            f"Redis at {redis_place(settings.redis)} has no cine of the record {record_id!r}: its ECG was not flagged, "
            f"its cine is not drawn yet, or its cine has expired (cines are kept for {settings.cines.ttl_s / 3600:g} h)"
        )
    return cine
