"""Finds the schemas that records were written by, in a registry that speaks Confluent's interface.

The thread that prepares batches asks, and it must not wait for long. So

- a schema that was found is kept, since a registry never changes what an id stands for; the schemas used last are kept;
- what the registry does not have is remembered for 10 s, and an outage for 1 s: a backlog of such records costs one
  request, not one a record;
- a look-up may take 2 s; together they may take 2 s, and a fifth of the time from then on;
- the first 20 ms of a look-up do not count: with a quick registry, many unknown ids cost no more than many ECGs;
- the request runs in a thread of its own, because a name server that does not answer heeds no time limit.
"""

from __future__ import annotations

import base64
import copy
import http.client
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

import structlog

from schemas.codec import FindSchema
from schemas.errors import RecordError, RegistryUnavailable, UnknownSchema, UnusableSchema
from schemas.writer_schema import (
    SHIPPED,
    SchemaReference,
    WriterSchema,
    resolve_schema,
    shipped_schema,
    unknown_schema,
)
from stream.bounded import RecentDict
from stream.settings import RegistrySettings

from .http_exchange import HttpServer, tls_context

LOOK_UP_S = 2.0
"""How long one look-up may take, and all of them together before they are rationed."""
HANG_UP_S = 2 * LOOK_UP_S
"""A request that takes longer is cut off, so that it does not keep the next one waiting."""
SHARE = 0.2
"""The share of the time that look-ups may take from then on."""
UNCOUNTED_S = 0.02
"""Of each look-up. Otherwise a device that sends a new unknown id with every record would use up the ration, and every
record of that lane would have to wait a second for its own look-up."""
UNKNOWN_S = 10.0
OUTAGE_S = 1.0
LEAST_S = 0.2
"""What a look-up gets of a ration that is nearly used up."""
LOG_EVERY_S = 10.0
KEPT_SCHEMAS = 256
KEPT_REFUSALS = 4096
MAX_ANSWER_BYTES = 2**20
MAX_SCHEMA_ID = 2**31 - 1

ADDRESS = re.compile(r"/schemas/ids/(?P<id>[0-9]{1,10})|/subjects/[\w.~%!$&'()*+,;=:-]+/versions/[0-9]{1,9}", re.ASCII)
"""Where a schema lies in a registry. `versions/latest` is not taken, because it changes."""
NOT_THERE = range(40_400, 40_500)
"""What Confluent's interface says, beside 404, of a subject, a version or a schema that it does not have."""
DEFAULT_PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)

Refusal: TypeAlias = RecordError | RegistryUnavailable
RefusalT = TypeVar("RefusalT", bound=Refusal)


class Answer(NamedTuple):
    """What a server answered: its status, and the body as far as it may reach."""

    status: int
    body: bytes


Request: TypeAlias = Callable[[str], Answer]
"""Asks for a path below the registry's address."""


def find_schema_by(settings: RegistrySettings) -> FindSchema:
    """Return what finds writers' schemas: the registry where one is set, else our published schemas alone.

    Raises:
        DeploymentError: the file with the certificate authority cannot be used.
    """
    if settings.url is None:
        return shipped_schema
    return SchemaRegistry(settings.url, http_request(settings))


class SchemaRegistry:
    """A `FindSchema` that asks a registry; several threads may call it, and ask one after the other.

    Args:
        url: the address below which `/schemas/ids/N` lies. Addresses that are not below it are not asked.
        request: asks for a path below it; it may raise OSError, ValueError or HTTPException.
        clock: seconds that only grow.
    """

    def __init__(self, url: str, request: Request, clock: Callable[[], float] = time.monotonic) -> None:
        self._base = urlsplit(url.rstrip("/"))
        self._request = request
        self._clock = clock
        self._lock = Lock()
        self._schemas: RecentDict[str, WriterSchema | UnusableSchema] = RecentDict(KEPT_SCHEMAS)
        self._refusals: RecentDict[str, tuple[float, Refusal]] = RecentDict(KEPT_REFUSALS)
        self._ration = _Ration(clock)
        self._asked: Future[Answer] | None = None
        self._is_away = False
        self._outages = 0
        self._quiet_until = 0.0

    def __call__(self, reference: SchemaReference) -> WriterSchema:
        """Return the schema.

        Raises:
            UnknownSchema: the registry does not have it, or the address is not in the registry.
            UnusableSchema: it does not resolve into ours.
            RegistryUnavailable: the registry does not answer, or not in time.
        """
        if isinstance(reference, str) and (shipped := SHIPPED.get(reference)):
            return shipped
        path = self._path(reference)
        with self._lock:
            found = self._kept(path) or self._look_up(reference, path)
        if isinstance(found, WriterSchema):
            return found
        raise _again(found)

    def _path(self, reference: SchemaReference) -> str:
        """Return where the schema lies below the registry's address."""
        if isinstance(reference, int):
            if reference > MAX_SCHEMA_ID:
                raise unknown_schema(reference, "no registry gives such an id")
            return f"/schemas/ids/{reference}"
        path = _below(self._base, reference)
        if path is None or not ADDRESS.fullmatch(path):
            raise unknown_schema(reference, "that is no address of a schema in the registry that is set")
        return path

    def _kept(self, path: str) -> WriterSchema | Refusal | None:
        if schema := self._schemas.get(path):
            self._schemas.put(path, schema)  # used last, forgotten last
            return schema
        until, refusal = self._refusals.get(path) or (0.0, None)
        return refusal if self._clock() < until else None

    def _look_up(self, reference: SchemaReference, path: str) -> WriterSchema | Refusal:
        found: WriterSchema | UnusableSchema
        try:
            found = self._read(reference, path, self._ask(path))
        except RegistryUnavailable as error:
            self._note_outage(error)
            return self._refuse(path, error, OUTAGE_S)
        except UnknownSchema as error:
            self._is_away = False
            return self._refuse(path, error, UNKNOWN_S)
        except UnusableSchema as error:
            found = _again(error)
        self._is_away = False
        self._schemas.put(path, found)
        log.info("schema_loaded", path=path, usable=isinstance(found, WriterSchema))
        return found

    def _refuse(self, path: str, refusal: Refusal, keep_s: float) -> Refusal:
        kept = _again(refusal)
        self._refusals.put(path, (self._clock() + keep_s, kept))
        return kept

    def _note_outage(self, error: RegistryUnavailable) -> None:
        """Number the outage, and log it now and then; what the registry does not have is in the rejections."""
        self._outages += not self._is_away
        self._is_away = True
        error.outage = self._outages
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + LOG_EVERY_S
            log.warning(error.code, reason=str(error))

    def _ask(self, path: str) -> Answer:
        """Return the registry's answer, in time."""
        if self._asked and not self._asked.done():
            raise RegistryUnavailable("the schema registry has not answered an earlier request")
        with self._ration as limit_s:
            self._asked = answer = _in_a_thread(self._request, path)
            try:
                return answer.result(limit_s)
            except TimeoutError as error:
                raise RegistryUnavailable(f"the schema registry did not answer within {limit_s:.1f} s") from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise RegistryUnavailable(f"the schema registry cannot be reached: {error}") from error

    def _read(self, reference: SchemaReference, path: str, answer: Answer) -> WriterSchema:
        """Return the schema that the answer holds."""
        fields = _json_object(answer)
        if answer.status == http.client.NOT_FOUND and fields.get("error_code") in NOT_THERE:
            raise unknown_schema(reference, "the schema registry does not have it")
        if answer.status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            raise RegistryUnavailable(
                f"the schema registry refuses our credentials ({answer.status}): check "
                "CARDIACNETS_SCHEMA_REGISTRY_USER and …_PASSWORD, or CARDIACNETS_SCHEMA_REGISTRY_TOKEN"
            )
        text, schema_id = fields.get("schema"), _schema_id(path, fields)
        if answer.status != http.client.OK or not isinstance(text, str) or schema_id is None:
            raise RegistryUnavailable(
                f"CARDIACNETS_SCHEMA_REGISTRY answers {answer.status}, and not as a registry does: check the address"
            )
        return _resolved(text, schema_id, fields)


@dataclass(slots=True)
class _Ration:
    """Bounds the time that look-ups take together; a context in which one look-up may take as long as it says."""

    clock: Callable[[], float]
    spent_s: float = 0.0
    _since: float = field(default=0.0)

    def __enter__(self) -> float:
        now = self.clock()
        self.spent_s = max(0.0, self.spent_s - SHARE * (now - self._since))
        self._since = now
        if self.spent_s >= LOOK_UP_S:
            raise RegistryUnavailable("the schema registry is too slow: its look-ups have to wait")
        return max(LEAST_S, LOOK_UP_S - self.spent_s)

    def __exit__(self, *_: object) -> None:
        now = self.clock()
        self.spent_s += max(0.0, now - self._since - UNCOUNTED_S)
        self._since = now


def http_request(settings: RegistrySettings) -> Request:
    """Return what asks the registry over HTTP: it follows no redirect, and sends the credentials nowhere else.

    Raises:
        DeploymentError: the file with the certificate authority cannot be used.
    """
    base = urlsplit((settings.url or "").rstrip("/"))
    headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"} | _credentials(settings)
    context = tls_context("CARDIACNETS_SCHEMA_REGISTRY_CA_FILE", settings.ca_file) if base.scheme == "https" else None

    server = HttpServer(base, context, step_s=LOOK_UP_S, whole_s=HANG_UP_S, max_bytes=MAX_ANSWER_BYTES)
    return lambda path: Answer(*server.ask("GET", base.path + path, headers))


def _credentials(settings: RegistrySettings) -> dict[str, str]:
    if settings.token:
        return {"Authorization": f"Bearer {settings.token}"}
    if settings.user:
        login = base64.b64encode(f"{settings.user}:{settings.password}".encode()).decode()
        return {"Authorization": f"Basic {login}"}
    return {}


def _in_a_thread(request: Request, path: str) -> Future[Answer]:
    """Return the answer to come; the thread is a daemon, for a request that is stuck must not keep the process."""
    answer: Future[Answer] = Future()

    def settle() -> None:
        try:
            answer.set_result(request(path))
        except Exception as error:  # noqa: BLE001  whatever it is, who waits is told
            answer.set_exception(error)

    Thread(target=settle, name="schema-registry", daemon=True).start()
    return answer


def _below(base: SplitResult, address: str) -> str | None:
    """Return what of an address lies below the base, None where it lies elsewhere."""
    try:
        there = urlsplit(address)
        same = (there.scheme, there.hostname, _port(there)) == (base.scheme, base.hostname, _port(base))
    except ValueError:
        return None
    if not same or there.query or there.fragment or "@" in there.netloc or not there.path.startswith(base.path):
        return None
    return there.path.removeprefix(base.path)


def _port(address: SplitResult) -> int | None:
    return address.port or DEFAULT_PORTS.get(address.scheme)


def _json_object(answer: Answer) -> dict[str, Any]:
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _schema_id(path: str, fields: dict[str, Any]) -> int | None:
    """Return the id that the path names, or that the answer does."""
    named = ADDRESS.fullmatch(path)
    if named and named["id"]:
        return int(named["id"])
    schema_id = fields.get("id")
    return schema_id if isinstance(schema_id, int) else None


def _resolved(text: str, schema_id: int, fields: dict[str, Any]) -> WriterSchema:
    if fields.get("schemaType", "AVRO") != "AVRO":
        raise UnusableSchema(f"schema {schema_id} is not an Avro schema", schema_id=schema_id)
    try:
        return resolve_schema(text, schema_id)
    except UnusableSchema as error:
        raise UnusableSchema(f"schema {schema_id}: {error.detail}", schema_id=schema_id) from error


def _again(refusal: RefusalT) -> RefusalT:
    """Return the same refusal as an error of its own: one that is kept must keep no trace, which holds an answer."""
    return copy.copy(refusal)
