"""The dashboard as an ASGI application: the page, its events, what it fetches, and what a person does on it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
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
from schemas.messages import Acknowledgement, CmrRequest, Disease, Identifier, RiskReport, Shelving, decode_message
from stream.cines.store import CineStore, CorruptCine
from stream.settings import DashboardSettings

from .access import MAX_BODY_BYTES, SIGN_OUT, Guard, Person, cookie_name
from .body import BodyTooLarge, read_body
from .events import BEAT_S
from .feed import Feed
from .front_door import FrontDoor
from .home import Home
from .metrics import DashboardMetrics
from .proxies import Proxies, is_plain_name
from .record_page import compose_page, fetch_ecg, foreign_to, known_facts
from .sessions import Sessions
from .shelving import ShelveForm, UnshelveForm, new_shelving, shelving_row
from .sign_in_page import SignInPage

STATIC = Path(__file__).parent / "static"
MAX_ROWS = 1000
BINARY = "application/octet-stream"

T = TypeVar("T")
log = structlog.get_logger(__name__)


class AcknowledgeForm(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends when somebody acknowledges an alert."""

    identifier: Identifier
    whole_record: bool = False
    """Whether all alerts of the ECG are acknowledged."""
    by: Identifier | None = None
    """What the person typed. The name that a proxy vouches for takes its place."""
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
    feed: Feed, redis: Redis, cines: CineStore, settings: DashboardSettings, *, door: FrontDoor, max_pages: int
) -> Starlette:
    """Return the application over a feed that is running."""
    # Without a token of the operator's, sessions end with the process.
    sessions = Sessions(settings.token or secrets.token_urlsafe(32), settings.session_s)
    home = Home(settings.prefix or "")
    pages = Pages(feed, redis, cines, sessions, home=home, max_pages=max_pages)
    routes = [
        Route("/", pages.shell),
        Route("/record", pages.shell),
        Route("/healthz", pages.health),
        Route("/metrics", pages.metrics),
        Route("/readyz", pages.readiness),
        Route("/api/session", pages.session),
        Route("/api/events", pages.events),
        Route("/api/records", pages.records),
        Route("/api/rejections", pages.rejections),
        Route("/api/record", pages.record),
        Route("/api/ecg", pages.ecg),
        Route("/api/cine", pages.cine),
        Route("/api/fhir", pages.fhir),
        Route("/api/acknowledge", pages.acknowledge, methods=["POST"]),
        Route("/api/shelvings", pages.shelvings),
        Route("/api/shelve", pages.shelve, methods=["POST"]),
        Route("/api/unshelve", pages.unshelve, methods=["POST"]),
        Route("/api/regenerate", pages.regenerate, methods=["POST"]),
        Route(SIGN_OUT, pages.sign_out, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    guard = Middleware(
        Guard,
        door=door,
        sessions=sessions,
        proxies=Proxies(settings),
        page=SignInPage(STATIC / "sign_in.html", settings, home),
        home=home,
        hosts=[name for name in (settings.host, settings.name) if name],
    )
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=HANDLERS)
    app.router.redirect_slashes = False  # Starlette would name the host and the scheme that it sees behind a proxy
    return app


class Pages:
    """Answers the requests."""

    def __init__(
        self, feed: Feed, redis: Redis, cines: CineStore, sessions: Sessions, *, home: Home, max_pages: int
    ) -> None:
        self._feed = feed
        self._redis = redis
        self._cines = cines
        self._sessions = sessions
        self._home = home
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
        feed = self._feed
        text = self._metrics.text(feed.state, feed.header(), pages=feed.hub.pages, sessions=feed.hub.sessions)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def readiness(self, _: Request) -> Response:
        """Return whether the pages show all that is on the topics. Everybody may ask."""
        trouble = self._feed.unready()
        return _json({"status": trouble or "ok"}, 503 if trouble else 200)

    async def session(self, request: Request) -> Response:
        """Return who is signed in, and what they may do."""
        person = _person(request)
        return _json(
            {
                "session": person.session,
                "name": person.name,
                "may_acknowledge": person.may_acknowledge,
                "may_sign_out": person.name is None,
            }
        )

    async def sign_out(self, request: Request) -> Response:
        """End the session: its cookie, and the streams of all its pages. A proxy's sessions are the proxy's to end."""
        person = _person(request)
        if person.name is not None:
            raise RefusedRequest(409, "the proxy signed you in: sign out there")
        self._sessions.end(person.session)
        self._feed.hub.end_session(person.session)
        log.info("signed_out")
        answer = _json({"status": "signed out"})
        path = self._home.cookie_path
        answer.delete_cookie(cookie_name(request.scope), path=path, httponly=True, samesite="strict")
        return answer

    async def events(self, request: Request) -> Response:
        """Return the stream of events, from the last event that the page has seen."""
        if self._feed.hub.pages >= self._max_pages:
            raise RefusedRequest(503, "too many pages of this dashboard are open: close some of them")
        last_id = request.headers.get("last-event-id") or request.query_params.get("last")
        person = _person(request)
        stream = self._feed.hub.stream(last_id, session=person.session, lasts_s=max(0.0, person.lasts_s))
        return EventSourceResponse(stream, ping=BEAT_S, ping_message_factory=_beat)

    async def records(self, request: Request) -> Response:
        """Return the newest records as rows."""
        kind = request.query_params.get("show")
        return _json(self._feed.state.records.rows(_limit(request), _text(request), _site(request), kind))

    async def rejections(self, request: Request) -> Response:
        """Return the newest rejections."""
        return _json(self._feed.state.rejections.find(_limit(request), _text(request), _site(request)))

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
            found, "the ECG is not stored: flagged ECGs are kept for some days, others for some hours or not at all"
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
        form, person = await _form(request, AcknowledgeForm), _person(request)
        by = _name_of(person, form.by)
        entry = _required(self._feed.state.alerts.get(form.identifier), "this alert is no longer kept")
        acknowledgement = Acknowledgement(
            identifier=form.identifier,
            record_id=entry.alert.record_id,
            whole_record=form.whole_record and entry.contradicts is None,
            acknowledged_by=by,
            authenticated=person.name is not None,
            comment=form.comment,
            acknowledged_at=max(datetime.now(UTC), entry.raised_at),  # a worker's clock may be ahead of ours
        )
        await self._publish(topics.ECG_ALERTS_ACK, acknowledgement, form.identifier, entry.key)
        self._feed.state.alerts.acknowledge(acknowledgement, key=entry.key)
        return _json({"status": "acknowledged"})

    async def shelvings(self, _: Request) -> Response:
        """Return what is shelved."""
        return _json([shelving_row(one) for one in self._feed.state.shelvings.at_present(datetime.now(UTC))])

    async def shelve(self, request: Request) -> Response:
        """Publish that somebody wants no further alert about the disease and the patient of an alert for a while."""
        form, person = await _form(request, ShelveForm), _person(request)
        alert = _required(self._feed.state.alerts.get(form.identifier), "this alert is no longer kept").alert
        if alert.subject is None:
            raise RefusedRequest(
                422, "an alert of an unknown patient cannot be shelved: nobody knows whose the next one is"
            )
        await self._shelve(alert.subject, alert.code, person, form.by, hours=form.hours, reason=form.reason)
        return _json({"status": "shelved"})

    async def unshelve(self, request: Request) -> Response:
        """Publish that a shelving ends now."""
        form, person = await _form(request, UnshelveForm), _person(request)
        await self._shelve(form.patient_id, form.disease, person, form.by, hours=0, reason="ended before its time")
        return _json({"status": "ended"})

    async def _shelve(
        self, patient: str, disease: Disease, person: Person, typed: str | None, *, hours: float, reason: str
    ) -> None:
        now, by = datetime.now(UTC), _name_of(person, typed)
        signed = person.name is not None
        shelving = new_shelving(patient, disease, at=now, hours=hours, reason=reason, by=by, authenticated=signed)
        await self._publish(topics.ECG_ALERTS_SHELVED, shelving, shelving.shelving_id, patient.encode())
        self._feed.state.shelvings.note(shelving)

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
        self, topic: str, message: Acknowledgement | CmrRequest | Shelving, identifier: str, key: bytes | None
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


def _person(request: Request) -> Person:
    """Return whom the guard let in."""
    person: Person = request.state.person
    return person


def _name_of(person: Person, typed: str | None) -> str:
    """Return who says something: whom the proxy vouches for, else the name that was typed."""
    by = person.name or (typed or "").strip()
    if not is_plain_name(by):
        raise RefusedRequest(422, "write your name, in characters that can be seen")
    return by


def _record_id(request: Request) -> str:
    return request.query_params.get("id", "")[:256]


def _text(request: Request) -> str:
    return request.query_params.get("q", "")[:256]


def _site(request: Request) -> str | None:
    site = request.query_params.get("site")
    return None if site is None else site[:256]


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
