"""Makes the cine of one request: draws it once, stores it in Redis, and returns a result. Every failure has a code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from engines.batcher import Batcher
from inference.cine import Cine, CineGeometry, CineProvenance
from inference.generator_manifest import EcgModel, check_embedding
from schemas.errors import ForeignEmbedding, ShuttingDown, TransientError
from schemas.identity import embedding_digest
from schemas.messages import CmrRequest, CmrResult, ModelReference
from stream.runtime.event import Tries

from .store import CineStore, CorruptCine, OversizedCine, StoredCine, cine_key

GENERATION_FAILED = "generation_failed"
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Generator(Protocol):
    """What draws cines; see inference/generator.py."""

    @property
    def reference(self) -> ModelReference:
        """The generator's name and version."""

    @property
    def ecg_model(self) -> EcgModel | None:
        """The model whose embeddings the generator reads."""

    @property
    def geometry(self) -> CineGeometry:
        """The geometry of every cine that the generator draws."""

    def draw(self, embeddings: NDArray[np.float32], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Return (n, frames, rows, columns) for (n, 256) embeddings of length 1. Equal seeds give equal cines."""

    def close(self) -> None:
        """Release memory."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The frames of one cine, and how long the drawing of its batch took."""

    frames: NDArray[np.uint8]
    seconds: float


class CineBatcher(Batcher[CmrRequest, Sequence[CmrRequest], Drawn]):
    """Draws cines in its own thread. Requests that wait meanwhile are drawn together."""

    def __init__(self, generator: Generator, *, cines_a_batch: int, max_queue: int, drain_s: float) -> None:
        super().__init__(prepare=tuple, run=self._draw, max_batch=cines_a_batch, max_queue=max_queue, drain_s=drain_s)
        self.generator = generator

    def _draw(self, requests: Sequence[CmrRequest]) -> list[Drawn]:
        started = time.perf_counter()
        embeddings = np.array([request.embedding for request in requests], np.float32)
        cines = self.generator.draw(embeddings, [request.seed for request in requests])
        seconds = time.perf_counter() - started
        return [Drawn(frames, seconds) for frames in cines]


class Patience:
    """The total time that a request may spend waiting for Redis, or for another worker's lock."""

    def __init__(self, limit_s: float, step: Callable[[], object]) -> None:
        self._left_s = limit_s
        self._step = step
        self._wait_s = FIRST_WAIT_S

    @property
    def over(self) -> bool:
        """Whether the request has waited long enough."""
        return self._left_s <= 0

    async def wait(self) -> None:
        """Wait a moment, longer each time."""
        self._left_s -= self._wait_s
        await asyncio.sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._step()

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Return the answer. After a `TransientError` ask again; when the patience is over, raise the last error."""
        while True:
            asked = time.monotonic()
            try:
                return await question()
            except TransientError:
                self._left_s -= time.monotonic() - asked
                if self.over:
                    raise
            await self.wait()


class CineMaker:
    """Answers requests, several at once, each in these steps.

    1. claim    take the lock on the request; while another worker has it, wait and try again
    2. look     if this generator has drawn the request's cine already, answer with that cine
    3. draw     draw the cine, with bounded further tries
    4. store    put the cine into Redis; while Redis is away or full, try again until the patience is over
    5. release  release the lock, and return where the cine is

    Args:
        step: called after every step, so that a watchdog sees progress during a long wait.
    """

    def __init__(
        self,
        batcher: CineBatcher,
        store: CineStore,
        *,
        tries: Tries,
        deadline_s: float,
        step: Callable[[], object] = lambda: None,
    ) -> None:
        self._batcher = batcher
        self._store = store
        self._tries = tries
        self._deadline_s = deadline_s
        self._step = step

    @property
    def reference(self) -> ModelReference:
        """The generator's name and version."""
        return self._batcher.generator.reference

    async def make(self, request: CmrRequest) -> CmrResult:
        """Return a result that says where the cine is, or why there is none.

        Raises:
            ShuttingDown: serving stopped first, so the request stays for another worker.
        """
        try:
            check_embedding(self._batcher.generator.ecg_model, request.model)
            return await self._made(request, Patience(self._deadline_s, self._step))
        except ShuttingDown:
            raise
        except (ForeignEmbedding, OversizedCine) as error:
            log.warning("cine_refused", code=error.code, reason=str(error))
            return failure(request, error.code, str(error), self.reference)
        except TransientError as error:
            code = GENERATION_FAILED if error.code == "engine_failed" else error.code
            log.warning("cine_failed", code=code)
            return failure(request, code, str(error), self.reference)

    async def _made(self, request: CmrRequest, patience: Patience) -> CmrResult:
        while True:
            claim = await patience.ask(lambda: self._store.claim(request.request_id))
            if claim:
                async with claim:
                    return await self._found_or_drawn(request, patience)
            if patience.over:  # the lock's owner lives but does not finish; the lock only saves work, so draw anyway
                return await self._found_or_drawn(request, patience)
            await patience.wait()

    async def _found_or_drawn(self, request: CmrRequest, patience: Patience) -> CmrResult:
        if stored := await patience.ask(lambda: self._find(request)):
            return _success(request, stored.size_bytes, stored.seconds, self.reference)
        drawn = await self._drawn(request)
        cine = self._cine(request, drawn.frames)
        size = await patience.ask(lambda: self._store.put(request.record_id, cine, seconds=drawn.seconds))
        return _success(request, size, drawn.seconds, self.reference)

    async def _find(self, request: CmrRequest) -> StoredCine | None:
        """Return the cine of this request if it is stored, and give it its full time to live again."""
        try:
            stored = await self._store.find(request.record_id)
        except CorruptCine as error:
            log.warning("cine_unreadable", reason=str(error), effect="the cine is drawn again")
            return None
        if stored is None or not self._answers(stored, request):
            return None
        return stored if await self._store.prolong(request.record_id) else None

    def _answers(self, stored: StoredCine, request: CmrRequest) -> bool:
        about = stored.provenance
        return (about.report_id, about.seed, about.generator) == (request.report_id, request.seed, self.reference)

    async def _drawn(self, request: CmrRequest) -> Drawn:
        for failed in range(1, self._tries.limit + 1):
            try:
                return await (await self._batcher.admit(request, alone=failed > 1))
            except ShuttingDown:
                raise
            except TransientError:
                if failed == self._tries.limit:
                    raise
                await asyncio.sleep(self._tries.delay_s(failed))
            finally:
                self._step()
        raise AssertionError("the last try returns or raises")

    def _cine(self, request: CmrRequest, frames: NDArray[np.uint8]) -> Cine:
        return compose_cine(
            frames,
            self._batcher.generator,
            record_id=request.record_id,
            report_id=request.report_id,
            model=request.model,
            seed=request.seed,
            embedding=request.embedding,
        )


def compose_cine(
    frames: NDArray[np.uint8],
    generator: Generator,
    *,
    record_id: str,
    report_id: str,
    model: ModelReference,
    seed: int,
    embedding: Iterable[float],
) -> Cine:
    """Return the frames that a generator drew, with their geometry and provenance."""
    provenance = CineProvenance(
        record_id=record_id,
        report_id=report_id,
        model=model,
        generator=generator.reference,
        seed=seed,
        created_at=datetime.now(UTC),
        embedding=embedding_digest(embedding),
    )
    return Cine(frames, generator.geometry, provenance)


class RequestIds(Protocol):
    """The ids of the request that a result answers."""

    @property
    def request_id(self) -> str:
        """The id of the request."""

    @property
    def report_id(self) -> str:
        """The id of the report."""

    @property
    def record_id(self) -> str:
        """The id of the record."""


def failure(request: RequestIds, code: str, detail: str, generator: ModelReference) -> CmrResult:
    """Return the result that says why there is no cine."""
    return _result(request, generator, status="failed", code=code, detail=detail)


def _success(request: CmrRequest, size_bytes: int, seconds: float, generator: ModelReference) -> CmrResult:
    key = cine_key(request.record_id)
    return _result(request, generator, status="generated", redis_key=key, size_bytes=size_bytes, seconds=seconds)


def _result(
    request: RequestIds,
    generator: ModelReference,
    *,
    status: Literal["generated", "failed"],
    redis_key: str | None = None,
    size_bytes: int | None = None,
    seconds: float | None = None,
    code: str | None = None,
    detail: str | None = None,
) -> CmrResult:
    return CmrResult(
        request_id=request.request_id,
        report_id=request.report_id,
        record_id=request.record_id,
        status=status,
        redis_key=redis_key,
        size_bytes=size_bytes,
        seconds=seconds,
        code=code,
        detail=detail,
        model=generator,
        created_at=datetime.now(UTC),
    )
