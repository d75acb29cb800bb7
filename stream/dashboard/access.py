"""Who may use the dashboard, and what a browser may do with its answers.

Four locks, each independent of the others:

- the Host header must name this dashboard (against DNS rebinding)
- a session, or a trusted proxy that says who the user is, opens the dashboard; the session's cookie is HttpOnly and
  SameSite=Strict
- a change must come from the dashboard's own page (against cross-site requests), and from somebody who may make it
- the content-security policy lets a browser run nothing but the dashboard's own files
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .body import BodyTooLarge, read_body
from .front_door import FrontDoor, TooManyTries
from .home import Home
from .proxies import Proxies
from .sessions import Sessions
from .sign_in_page import SignInPage

OPEN_PATHS = ("/healthz", "/metrics", "/readyz")
OPEN_FOLDER = "/static/"
"""These files hold no secret, and the page that asks for the token needs its style."""
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
SAFE_METHODS = ("GET", "HEAD")
MAX_BODY_BYTES = 16 * 1024
CHECKED_EVERY_S = 900.0
"""How often a page that a proxy let in has to come through the proxy again."""
DISBELIEF_EVERY_S = 60.0
UNKNOWN_HOST = (
    "the dashboard does not know this host name: if it is the name of a proxy, set CARDIACNETS_DASHBOARD_NAME to it"
)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever sends a request that was let in.

    Attributes:
        session: tells sessions apart; it opens nothing.
        name: the user's name, as a trusted proxy says; None where nobody vouches for a name.
        may_acknowledge: whether the person may change something.
        lasts_s: for how long a page may stay open before somebody looks again who it is.
    """

    session: str
    name: str | None
    may_acknowledge: bool
    lasts_s: float


class Guard:
    """ASGI middleware: lets in who is known, and adds the security headers to every answer.

    Args:
        home: where the dashboard lies on its host.
        hosts: further names that the Host header may have: the address that the dashboard listens on, and a proxy's.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: FrontDoor,
        sessions: Sessions,
        proxies: Proxies,
        page: SignInPage,
        home: Home,
        hosts: Iterable[str],
    ) -> None:
        self._app = app
        self._door = door
        self._sessions = sessions
        self._proxies = proxies
        self._page = page
        self._home = home
        self._names = {name.lower() for name in ("localhost", socket.gethostname(), socket.getfqdn(), *hosts)}
        self._disbelieved_at = -DISBELIEF_EVERY_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._home.inside(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # A browser may keep our own files, and asks whether they changed. It keeps nothing about patients.
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith(OPEN_FOLDER) else "no-store")
            await send(message)

        request = Request(scope, receive)
        answer = self._misdirected(request) or await self._answer(request) or self._app
        await answer(scope, receive, send_guarded)

    def _misdirected(self, request: Request) -> Response | None:
        """Return the answer to a request that names another host, or our folder without its slash."""
        if not self._is_ours(request.headers.get("host", "")):
            return PlainTextResponse(UNKNOWN_HOST, 421)
        return self._go_to(_place_of(request)) if self._home.lacks_slash(request.scope) else None

    async def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request that is not passed on."""
        path, safe = request.scope["path"], request.method in SAFE_METHODS
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        if path == SIGN_IN:
            return self._go_to("/") if safe else await self._sign_in(request)
        person = self._recognise(request)
        if safe and (code := request.query_params.get("code")) is not None:
            place = _place_of(request)
            return self._go_to(place) if person else self._admit(request, code, place)
        if person is None:
            return self._turn_away(request)
        request.state.person = person
        return None if safe else self._refused_change(request, person)

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header is safe from rebinding: it is an address, or a name of this dashboard."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    # --- who it is

    def _recognise(self, request: Request) -> Person | None:
        """Return whom a trusted proxy names, or else who has a session here."""
        if (name := self._proxies.user_of(request.scope, request.headers)) is not None:
            return Person(f"user {name}", name, self._proxies.may_acknowledge(request.headers), CHECKED_EVERY_S)
        if self._proxies.claims_a_user(request.headers):
            self._tell_disbelief(request)
        cookie = cookie_parser(request.headers.get("cookie", "")).get(cookie_name(request.scope), "")
        session = self._sessions.recognise(cookie)
        if session is None:
            return None
        return Person(session.name, None, may_acknowledge=True, lasts_s=session.expires_at - time.time())

    def _tell_disbelief(self, request: Request) -> None:
        now = time.monotonic()
        if now - self._disbelieved_at >= DISBELIEF_EVERY_S:
            self._disbelieved_at = now
            log.warning(
                "user_header_not_believed",
                address=self._proxies.address_of(request.scope, request.headers),
                effect="it is no header of a trusted proxy, or not the name of one user",
            )

    async def _sign_in(self, request: Request) -> Response:
        """Answer the form of the sign-in page."""
        if not _is_own_page(request.headers):
            return JSONResponse({"error": "only the dashboard's own page may sign in"}, 403)
        try:
            form = dict(parse_qsl((await read_body(request, MAX_BODY_BYTES)).decode("latin-1"), keep_blank_values=True))
        except (BodyTooLarge, ClientDisconnect, ValueError):
            return JSONResponse({"error": "this is not what the sign-in page sends"}, 413)
        path, _, query = form.get("next", "").partition("?")
        return self._admit(request, form.get("token", ""), _place(path, query))

    def _admit(self, request: Request, given: str, place: str) -> Response:
        """Open a session for whoever has the token or the code, and go on to the place on this dashboard."""
        try:
            opened = self._door.opens(given, self._proxies.address_of(request.scope, request.headers))
        except TooManyTries as error:
            answer = self._page.response(429, place, f"{str(error).capitalize()}.")
            answer.headers["Retry-After"] = str(int(error.wait_s) + 1)
            return answer
        if not opened:
            return self._page.response(401, place, self._page.wrong)
        answer = self._go_to(place)
        secure = self._proxies.is_encrypted(request.scope, request.headers)
        name = cookie_name(request.scope)
        path = self._home.cookie_path
        answer.set_cookie(name, self._sessions.open(), httponly=True, samesite="strict", secure=secure, path=path)
        return answer

    def _go_to(self, place: str) -> Response:
        return RedirectResponse(self._home.address(place), 303)

    def _turn_away(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", "") and request.method in SAFE_METHODS:
            return self._page.response(401, _place_of(request))
        return JSONResponse({"error": "nobody is signed in, or the session is over"}, 401)

    # --- changes

    def _refused_change(self, request: Request, person: Person) -> Response | None:
        """Return the refusal of a change; None if it may be made. Whoever is known may sign out."""
        refusal = _forgery(request.headers)
        if refusal is None and request.scope["path"] != SIGN_OUT and not person.may_acknowledge:
            return JSONResponse({"error": "your role may look at everything, and change nothing"}, 403)
        return refusal


def _is_own_page(headers: Headers) -> bool:
    """Return whether the dashboard's own page sent the request.

    Over TLS and on loopback, browsers say in Sec-Fetch-Site whether the page belongs to the server. Elsewhere the
    page's Origin must be the host that it sent the request to.
    """
    site = headers.get("sec-fetch-site")
    return _netloc(headers.get("origin", "")) == headers["host"] if site is None else site == "same-origin"


def _forgery(headers: Headers) -> Response | None:
    """Return the refusal of a change that does not come from the dashboard's own page."""
    if not _is_own_page(headers):
        return JSONResponse({"error": "only the dashboard's own page may change anything"}, 403)
    if headers.get("content-type", "").split(";")[0] != "application/json":
        return JSONResponse({"error": "a change must be JSON, with the content type application/json"}, 415)
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY_BYTES:
        return JSONResponse({"error": f"a change may have at most {MAX_BODY_BYTES} bytes"}, 413)
    return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _place_of(request: Request) -> str:
    return _place(request.scope["path"], request.scope["query_string"].decode("latin-1"))


def _place(path: str, query: str) -> str:
    """Return an address without token and code. It always stays on this host."""
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in {"token", "code"}]
    path = "/record" if path == "/record" else "/"
    return f"{path}?{urlencode(pairs)}" if pairs else path


def cookie_name(scope: Scope) -> str:
    """Return a name that differs by port: cookies do not, and two dashboards may run on one host."""
    server = scope.get("server")
    return f"cardiacnets_{server[1] if server else 0}"
