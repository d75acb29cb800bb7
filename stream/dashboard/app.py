"""The dashboard as an ASGI application: the page, its events, what it fetches, and what a person does on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiokafka.errors import KafkaError
from prometheus_client import CONTENT_TYPE_LATEST
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from inference.fhir import FHIR_JSON, encode_bundle
from schemas import topics
from schemas.errors import RecordError, TransientError
from schemas.messages import Acknowledgement, CmrRequest, Identifier, RiskReport, decode_message
from stream.cines.store import CineStore, CorruptCine

from .access import MAX_BODY_BYTES, Guard
from .body import BodyTooLarge, read_body
from .events import BEAT_S
from .feed import Feed
from .metrics import DashboardMetrics
from .record_page import compose_page, fetch_ecg, foreign_to, known_facts

STATIC = Path(__file__).parent / "static"
MAX_ROWS = 1000
BINARY = "application/octet-stream"

T = TypeVar("T")


class AcknowledgeForm(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends when somebody acknowledges an alert."""

    identifier: Identifier
    by: Identifier
    comment: str = ""


class RegenerateForm(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends when somebody requests a cine again."""

    record_id: Identifier


class RefusedRequest(Exception):  # noqa: N818 -- it is an answer, not a failure
    """A request that is refused, with a sentence for the person."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def make_app(
    feed: Feed, redis: Redis, cines: CineStore, *, token: str, hosts: Iterable[str], max_pages: int
) -> Starlette:
    """Return the application over a feed that is running."""
    pages = Pages(feed, redis, cines, max_pages=max_pages)
    routes = [
        Route("/", pages.shell),
        Route("/record", pages.shell),
        Route("/healthz", pages.health),
        Route("/metrics", pages.metrics),
        Route("/api/events", pages.events),
        Route("/api/records", pages.records),
        Route("/api/rejections", pages.rejections),
        Route("/api/record", pages.record),
        Route("/api/ecg", pages.ecg),
        Route("/api/cine", pages.cine),
        Route("/api/fhir", pages.fhir),
        Route("/api/acknowledge", pages.acknowledge, methods=["POST"]),
        Route("/api/regenerate", pages.regenerate, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    guard = Middleware(Guard, token=token, hosts=hosts, sign_in=(STATIC / "sign_in.html").read_bytes())
    return Starlette(routes=routes, middleware=[guard], exception_handlers=HANDLERS)


class Pages:
    """Answers the requests."""

    def __init__(self, feed: Feed, redis: Redis, cines: CineStore, *, max_pages: int) -> None:
        self._feed = feed
        self._redis = redis
        self._cines = cines
        self._max_pages = max_pages
        self._metrics = DashboardMetrics()

    async def shell(self, _: Request) -> Response:
        """Return the page, which fetches everything else."""
        return FileResponse(STATIC / "index.html")

    async def health(self, _: Request) -> Response:
        """Return whether Kafka answers. Everybody may ask, so nothing else is said."""
        kafka = self._feed.header().kafka
        return _json({"status": "ok" if kafka else "no broker answers"}, 200 if kafka else 503)

    async def metrics(self, _: Request) -> Response:
        """Return numbers for Prometheus. Everybody may ask, so they name nobody."""
        return Response(self._metrics.text(self._feed.header().state), media_type=CONTENT_TYPE_LATEST)

    async def events(self, request: Request) -> Response:
        """Return the stream of events, from the last event that the page has seen."""
        if self._feed.hub.pages >= self._max_pages:
            raise RefusedRequest(503, "too many pages of this dashboard are open: close some of them")
        last_id = request.headers.get("last-event-id") or request.query_params.get("last")
        return EventSourceResponse(self._feed.hub.stream(last_id), ping=BEAT_S, ping_message_factory=_beat)

    async def records(self, request: Request) -> Response:
        """Return the newest records as rows."""
        return _json(self._feed.state.records.rows(_limit(request), _text(request)))

    async def rejections(self, request: Request) -> Response:
        """Return the newest rejections."""
        return _json(self._feed.state.rejections.find(_limit(request), _text(request)))

    async def record(self, request: Request) -> Response:
        """Return everything that the page of a record shows."""
        page = compose_page(self._feed.state, _record_id(request))
        return _json(_required(page, "this record is unknown: it may be older than the records that are kept"))

    async def ecg(self, request: Request) -> Response:
        """Return the samples. The header X-Head says how to read them."""
        try:
            name = _record_id(request)
            found = await fetch_ecg(self._redis, name, known_facts(self._feed.state, name))
        except RedisError as error:
            raise RefusedRequest(503, "Redis does not answer, so the ECG cannot be shown now") from error
        except RecordError as error:
            raise RefusedRequest(422, f"the ECG that Redis holds is not drawn: {error}") from error
        head, samples = _required(
            found, "the ECG is not stored: only the ECGs of flagged records are, for a limited time"
        )
        return Response(samples, media_type=BINARY, headers={"X-Head": msgspec.json.encode(head).decode()})

    async def cine(self, request: Request) -> Response:
        """Return the frames as uint8. The header X-Head holds geometry and provenance."""
        try:
            name = _record_id(request)
            cine = await self._cines.get(name)
        except TransientError as error:
            raise RefusedRequest(503, f"the cine cannot be fetched now: {error}") from error
        except CorruptCine as error:
            raise RefusedRequest(422, f"the cine that Redis holds is not shown: {error}") from error
        cine = _required(cine, "the cine has expired, or has not been drawn yet")
        if foreign := foreign_to(self._feed.state, name, cine.provenance):
            raise RefusedRequest(422, f"the cine that Redis holds is not shown: it belongs to {foreign}")
        head = _ascii_json({"geometry": cine.geometry, "provenance": cine.provenance})
        return Response(cine.frames.tobytes(), media_type=BINARY, headers={"X-Head": head})

    async def fhir(self, request: Request) -> Response:
        """Return the report as a FHIR R4 bundle, to be saved as a file."""
        value = _required(self._feed.state.records.report(_record_id(request)), "the report is no longer kept")
        report = decode_message(RiskReport, value)
        attachment = {"Content-Disposition": f'attachment; filename="report-{_file_name(report.report_id)}.fhir.json"'}
        return Response(encode_bundle(report), media_type=FHIR_JSON, headers=attachment)

    async def acknowledge(self, request: Request) -> Response:
        """Publish an acknowledgement. The feed then publishes the alert in its new state."""
        form = await _form(request, AcknowledgeForm)
        entry = _required(self._feed.state.alerts.get(form.identifier), "this alert is no longer kept")
        acknowledgement = Acknowledgement(
            identifier=form.identifier,
            record_id=entry.alert.record_id,
            acknowledged_by=form.by,
            comment=form.comment,
            acknowledged_at=datetime.now(UTC),
        )
        await self._publish(topics.ECG_ALERTS_ACK, acknowledgement, form.identifier, entry.key)
        self._feed.state.alerts.acknowledge(acknowledgement)
        return _json({"status": "acknowledged"})

    async def regenerate(self, request: Request) -> Response:
        """Publish the request for a record's cine again."""
        form = await _form(request, RegenerateForm)
        key, value = _required(
            self._feed.state.records.request(form.record_id), "the request for this cine is no longer kept"
        )
        kept = decode_message(CmrRequest, value)
        await self._publish(topics.CMR_REQUESTS, kept, kept.request_id, key)
        return _json({"status": "requested"})

    async def _publish(
        self, topic: str, message: Acknowledgement | CmrRequest, identifier: str, key: bytes | None
    ) -> None:
        try:
            await self._feed.publish(topic, message, identifier, key)
        except ValueError as error:
            raise RefusedRequest(422, str(error)) from error
        except KafkaError as error:
            raise RefusedRequest(503, "Kafka does not answer, so nothing was saved: try again") from error


def _beat() -> ServerSentEvent:
    """Return an event: a browser does not show a page the comments of a stream."""
    return ServerSentEvent(data="{}", event="beat")


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequest)  # noqa: S101 -- registered for this kind alone
    return _json({"error": str(error)}, error.status)


async def _parting(_: Request, __: Exception) -> Response:
    """Answer nobody: the client left before its request was complete."""
    return Response(status_code=400)


HANDLERS = {RefusedRequest: _refusal, ClientDisconnect: _parting}


async def _form(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await read_body(request, MAX_BODY_BYTES), type=kind)
    except BodyTooLarge as error:
        raise RefusedRequest(413, str(error)) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RefusedRequest(422, f"this is not what the page sends: {error}") from error


def _required(found: T | None, sentence: str) -> T:
    if found is None:
        raise RefusedRequest(404, sentence)
    return found


def _record_id(request: Request) -> str:
    return request.query_params.get("id", "")[:256]


def _text(request: Request) -> str:
    return request.query_params.get("q", "")[:256]


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "")
    return min(MAX_ROWS, int(text)) if text.isdecimal() and len(text) < 6 else 200


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _ascii_json(value: Any) -> str:
    """Return JSON for a header, which may hold only ASCII."""
    import json

    return json.dumps(msgspec.to_builtins(value))


def _file_name(text: str) -> str:
    return "".join(character for character in text if (character.isalnum() and character.isascii()) or character == "-")
