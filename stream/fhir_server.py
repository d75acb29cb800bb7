"""Posts resources to a FHIR server, each so that it stands there once, however often it is posted.

A transaction finds by our identifiers what the server has already (`inference/fhir_transaction.py`), so a try whose
answer was lost is made again without harm, and so is the whole command.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from inference.fhir import FHIR_JSON
from inference.fhir_codes import Json
from inference.fhir_transaction import addresses, batches, transaction
from schemas.errors import CardiacNetsError, DeploymentError, InvalidSettings
from schemas.shown_text import shown_text
from stream.broker.http_exchange import HttpAnswer, HttpServer, retry_after_s, tls_context
from stream.kafka_login import is_this_machine
from stream.settings import FhirSettings

STEP_S, WHOLE_S = 30.0, 60.0
"""How long a step of an exchange may take, and the whole."""
MAX_ANSWER_BYTES = 4 * 2**20
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a transaction is tried again, where the server does not say how long."""
MOST_WAIT_S = 60.0
"""A server that wants a longer wait ends the run: the same command goes on later."""
MOST_ISSUES, MOST_TEXT = 3, 300
"""Of what a server says of a transaction that it refuses."""
ADDRESS = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")

TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
OF_THE_BUNDLE = frozenset({400, 412, 413, 422})
"""A server refuses these contents, and may take the next ones."""


class FhirServerUnusable(DeploymentError):  # noqa: N818  the condition
    """The server takes nothing: it is away, or our address or login is wrong."""


class BundleRefused(CardiacNetsError):  # noqa: N818  the condition
    """The server refuses these resources. It may take others."""


class Taken(NamedTuple):
    """How many resources a server has taken.

    Attributes:
        created: are new there.
        found: were there, and stay as they are.
        replaced: were there, and hold what we posted.
    """

    created: int
    found: int
    replaced: int


class _Response(msgspec.Struct):
    """What a server says of one entry."""

    status: str = ""
    location: str = ""


class _Entry(msgspec.Struct):
    response: _Response = msgspec.field(default_factory=_Response)


class _Answer(msgspec.Struct):
    """The answer to a transaction."""

    type: str = ""
    entry: list[_Entry] = []


class FhirServer:
    """A FHIR R4 server that takes transactions.

    Args:
        url: the base of the server, such as https://ehr.example/fhir/R4.
        settings: our login.
        wait: waits so many seconds.

    Raises:
        InvalidSettings: the address cannot be used, or not with that login.
    """

    def __init__(self, url: str, settings: FhirSettings, wait: Callable[[float], object] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self.retries = 0
        self._wait = wait
        address = _usable(self.url, settings)
        self._path = address.path or "/"
        context = tls_context("CARDIACNETS_FHIR_CA_FILE", settings.ca_file) if address.scheme == "https" else None
        self._server = HttpServer(address, context, STEP_S, WHOLE_S, MAX_ANSWER_BYTES)
        token = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        self._headers = {"Content-Type": FHIR_JSON, "Accept": FHIR_JSON, "Prefer": "return=minimal"} | token

    def post(self, resources: Sequence[Json]) -> Taken:
        """Have the server take the resources of one report, alert or publication, in as many transactions as it takes.

        Raises:
            BundleRefused: the server does not take these.
            FhirServerUnusable: the server takes nothing.
        """
        known: dict[str, str] = {}
        taken = Taken(0, 0, 0)
        for part in batches(resources):
            bundle = transaction(part, known)
            responses = self._responses(self._answer(msgspec.json.encode(bundle)), len(part))
            known |= addresses(part, [each.location for each in responses])
            methods = [entry["request"]["method"] for entry in bundle["entry"]]
            taken = _sum(taken, _count(methods, responses))
        return taken

    def _answer(self, body: bytes) -> HttpAnswer:
        """Return the answer to a transaction that was taken. What may pass is tried again."""
        for tries in count(1):
            answer = self._ask(body, is_last=tries > len(WAITS_S))
            if answer and answer.status not in TRY_AGAIN:
                self._refuse(answer)
                return answer
            self.retries += 1
            self._wait(self._wait_s(answer, tries))
        raise AssertionError("counting has no end")

    def _ask(self, body: bytes, *, is_last: bool) -> HttpAnswer | None:
        """Return the answer to one try, None where there is none and it was not the last try."""
        try:
            return self._server.exchange("POST", self._path, self._headers, body)
        except (OSError, http.client.HTTPException) as error:
            if is_last or _stays(error):
                raise FhirServerUnusable(self._of_connection(error)) from error
            return None

    def _wait_s(self, answer: HttpAnswer | None, tries: int) -> float:
        """Return how long to wait before the next try. The server's word goes before ours, within a bound."""
        asked_s = retry_after_s(answer.headers.get("Retry-After")) if answer else None
        if answer and (tries > len(WAITS_S) or (asked_s or 0.0) > MOST_WAIT_S):
            wanted = f", and wants us to wait for {asked_s:.0f} s" if asked_s else ""
            raise FhirServerUnusable(
                f"{self._begin()} answers {_status(answer.status)}{wanted}: run the same command again later"
            )
        return WAITS_S[tries - 1] if asked_s is None else asked_s

    def _refuse(self, answer: HttpAnswer) -> None:
        """Raise unless the server took the transaction."""
        status = answer.status
        if status in OF_THE_BUNDLE:
            raise BundleRefused(f"{self.url} refuses it ({_status(status)}): {_outcome(answer.content)}")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            what = "check CARDIACNETS_FHIR_TOKEN, and what it may write"
        elif status in range(300, 400):
            what = "it sends us elsewhere, where no token goes: set the address that it sends to"
        elif status != HTTPStatus.OK:
            what = f"check that the address is the base of a FHIR R4 server. {_outcome(answer.content)}"
        else:
            return
        raise FhirServerUnusable(f"{self._begin()} answers {_status(status)}: {what}")

    def _responses(self, answer: HttpAnswer, count: int) -> list[_Response]:
        try:
            said = msgspec.json.decode(answer.content, type=_Answer)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            said = _Answer()
        if said.type != "transaction-response" or len(said.entry) != count:
            raise FhirServerUnusable(
                f"{self._begin()} does not answer as to a transaction: check that the address is the base of a FHIR R4 "
                "server, such as https://ehr.example/fhir/R4"
            )
        return [each.response for each in said.entry]

    def _begin(self) -> str:
        return f"--server {self.url}"

    def _of_connection(self, error: Exception) -> str:
        name = type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            why = "its certificate is not trusted; set CARDIACNETS_FHIR_CA_FILE to the authority that signed it"
        elif _stays(error):
            why = "it does not speak TLS as we do: check scheme and port"
        else:
            why = f"no server answered {len(WAITS_S) + 1} tries: check the address, and whether it can be reached"
        return f"{self._begin()}: {why} ({name})"


def _usable(url: str, settings: FhirSettings) -> SplitResult:
    """Return the parts of an address, which has no user and no query, and over which a token may go."""
    address = _parts(url)
    if address is None:
        raise InvalidSettings(
            "--server takes the base of a FHIR R4 server, such as https://ehr.example/fhir/R4, without user, password "
            "and query"
        )
    if address.scheme == "http" and settings.ca_file:
        raise InvalidSettings("CARDIACNETS_FHIR_CA_FILE needs a --server that begins with https://")
    if address.scheme == "http" and settings.token and not is_this_machine(address.hostname or ""):
        raise InvalidSettings("CARDIACNETS_FHIR_TOKEN needs a --server that begins with https://: others could read it")
    return address


def _parts(url: str) -> SplitResult | None:
    try:
        address = urlsplit(url)
        usable = bool(ADDRESS.fullmatch(url)) and bool(address.hostname) and address.port != 0
    except ValueError:
        return None
    return address if usable else None


def _stays(error: Exception) -> bool:
    """Return whether a try after this one would fail likewise. A connection that ends early is the moment's fault."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def _count(methods: Sequence[str], responses: Sequence[_Response]) -> Taken:
    created = sum(each.status.startswith("201") for each in responses)
    replaced = sum(
        method == "PUT" and not each.status.startswith("201") for method, each in zip(methods, responses, strict=True)
    )
    return Taken(created, len(responses) - created - replaced, replaced)


def _sum(one: Taken, other: Taken) -> Taken:
    return Taken(*(a + b for a, b in zip(one, other, strict=True)))


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _outcome(content: bytes) -> str:
    """Return what an OperationOutcome says, in its own words, as far as a person reads."""
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        said = None
    issues = said.get("issue") if isinstance(said, dict) else None
    texts = [_issue(each) for each in issues[:MOST_ISSUES]] if isinstance(issues, list) else []
    return shown_text("; ".join(filter(None, texts)) or "it does not say why")


def _issue(issue: Any) -> str:
    if not isinstance(issue, dict):
        return ""
    details = issue.get("details")
    words = (issue.get("diagnostics"), details.get("text") if isinstance(details, dict) else None, issue.get("code"))
    text = next((each for each in words if isinstance(each, str) and each), "")
    places = issue.get("expression")
    place = places[0] if isinstance(places, list) and places and isinstance(places[0], str) else ""
    return (f"{text} at {place}" if place else text)[:MOST_TEXT]
