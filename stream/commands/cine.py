"""`cardiacnets cine` fetches a cine from Redis; `cardiacnets screen --cine` draws one without Kafka or Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from inference.cine import Cine
from inference.cine_files import cine_writer, write_cine
from inference.files import read_or_refuse
from inference.generator_manifest import check_embedding
from inference.screener import Screener, Screening
from schemas.errors import CardiacNetsError, InvalidSettings
from schemas.identity import cine_seed, report_id
from schemas.messages import SYNTHETIC_NOTICE
from stream.cines.maker import Generator, compose_cine
from stream.cines.store import CineStore, RedisUnavailable, redis_place
from stream.settings import Settings


class CineNotFound(CardiacNetsError):  # noqa: N818  leaves name the condition
    """Redis has no cine of that record."""

    code: ClassVar[str] = "cine_not_found"


def cine_command(settings: Settings, record_id: str, out: Path) -> None:
    """Fetch the record's cine from Redis and write it in the format that the file's name asks for.

    Raises:
        InvalidSettings: the name asks for no format that there is, or the file cannot be written.
        CineNotFound: there is none, or none any more.
        RedisUnavailable: Redis does not answer.
        CorruptCine: the key holds something else.
    """
    cine_writer(out)
    write_cine(asyncio.run(_fetch(settings, record_id)), out)
    print(f"{out}: {SYNTHETIC_NOTICE}")


async def _fetch(settings: Settings, record_id: str) -> Cine:
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        try:
            cine = await store.get(record_id)
        except RedisUnavailable as error:
            raise RedisUnavailable(f"{error}; CARDIACNETS_REDIS says where it is") from error
    if cine is None:
        raise CineNotFound(
            f"Redis at {redis_place(settings.redis)} has no cine of the record {record_id!r}: its ECG was not flagged, "
            f"its cine is not drawn yet, or it has expired (cines are kept for {settings.cines.ttl_s / 3600:g} h)"
        )
    return cine


def check_cine_request(files: Sequence[Path], out: Path) -> None:
    """Check, before anything is computed, what `screen --cine` is asked for.

    Raises:
        InvalidSettings: more than one ECG, or a format that there is not.
    """
    cine_writer(out)
    if len(files) != 1:
        raise InvalidSettings(f"--cine draws one cine: give one ECG, not {len(files)}")


def screen_cine(settings: Settings, screener: Screener, file: Path, out: Path) -> None:
    """Draw the cine that an ECG file suggests, flagged or not, and write it; the same that a cmr-worker would draw.

    Raises:
        RecordError: the ECG cannot be screened.
        CorruptBundle: the generator's folder is not what its manifest says.
        ForeignEmbedding: the generator belongs to another model.
        InvalidSettings: the file cannot be written.
    """
    from inference.generator import CineGenerator

    (outcome,) = screener.screen([read_or_refuse(file)])
    if not isinstance(outcome, Screening):
        raise outcome.error
    generator = CineGenerator.load(settings.cines.generator, threads=settings.model.threads)
    try:
        write_cine(draw_cine(generator, outcome), out)
    finally:
        generator.close()


def draw_cine(generator: Generator, screening: Screening) -> Cine:
    """Return the cine of one screening, with the seed that its record and model have on the stream as well."""
    model, record_id = screening.model, screening.record.record_id
    check_embedding(generator.ecg_model, model)
    seed = cine_seed(record_id, model)
    (frames,) = generator.draw(np.asarray(screening.finding.embedding, np.float32)[None], [seed])
    return compose_cine(
        frames, generator, record_id=record_id, report_id=report_id(record_id, model), model=model, seed=seed
    )
