"""Who may use the dashboard, and what a browser may do with its answers.

Four locks, each independent of the others:

- the Host header must name this dashboard (against DNS rebinding)
- a token opens the dashboard; it is compared in constant time, and kept in an HttpOnly SameSite=Strict cookie
- a change must come from the dashboard's own page (against cross-site requests)
- the content-security policy lets a browser run nothing but the dashboard's own files
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/healthz", "/metrics")
OPEN_FOLDER = "/static/"
"""These files hold no secret, and the page that asks for the token needs its style."""
SAFE_METHODS = ("GET", "HEAD")
MAX_BODY_BYTES = 16 * 1024
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


class Guard:
    """ASGI middleware: lets in who has the token, and adds the security headers to every answer.

    Args:
        token: the token that opens the dashboard.
        hosts: further names that the Host header may have: the address that the dashboard listens on, and a proxy's.
        sign_in: the page that asks for the token.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str], sign_in: bytes) -> None:
        self._app = app
        self._token = token.encode()
        self._pass = hashlib.sha256(b"cardiacnets-dashboard\0" + self._token).hexdigest().encode()
        self._names = {name.lower() for name in ("localhost", socket.gethostname(), socket.getfqdn(), *hosts)}
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                # A browser may keep our own files, and asks whether they changed. It keeps nothing about patients.
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith(OPEN_FOLDER) else "no-store")
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let through."""
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", "")):
            return PlainTextResponse(UNKNOWN_HOST, 421)
        if scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER):
            return None
        if scope["method"] in SAFE_METHODS and (given := _token_of(scope)) is not None:
            return self._let_in(scope, headers, given)
        if not self._has_pass(scope, headers):
            return self._turn_away(headers)
        return None if scope["method"] in SAFE_METHODS else _forgery(headers)

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

    def _let_in(self, scope: Scope, headers: Headers, given: str) -> Response:
        if not hmac.compare_digest(given.strip().encode(), self._token):
            return self._turn_away(headers)
        answer = RedirectResponse(_without_token(scope), 303)
        secure = scope["scheme"] == "https"
        name = _cookie_name(scope)
        answer.set_cookie(name, self._pass.decode(), httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    def _has_pass(self, scope: Scope, headers: Headers) -> bool:
        given = cookie_parser(headers.get("cookie", "")).get(_cookie_name(scope), "")
        return hmac.compare_digest(given.encode(errors="replace"), self._pass)

    def _turn_away(self, headers: Headers) -> Response:
        if "text/html" in headers.get("accept", ""):
            return Response(self._sign_in, 401, media_type="text/html; charset=utf-8")
        return JSONResponse({"error": "the token is missing or wrong"}, 401)


def _forgery(headers: Headers) -> Response | None:
    """Return the refusal of a change that does not come from the dashboard's own page.

    Over TLS and on loopback, browsers say in Sec-Fetch-Site whether the page belongs to the server. Elsewhere the
    page's Origin must be the host that it sent the request to.
    """
    site = headers.get("sec-fetch-site")
    ours = _netloc(headers.get("origin", "")) == headers["host"] if site is None else site == "same-origin"
    if not ours:
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


def _token_of(scope: Scope) -> str | None:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)).get("token")


def _without_token(scope: Scope) -> str:
    """Return the same address without the token. It always stays on this host."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([pair for pair in pairs if pair[0] != "token"])
    path = "/record" if scope["path"] == "/record" else "/"
    return f"{path}?{query}" if query else path


def _cookie_name(scope: Scope) -> str:
    """Return a name that differs by port: cookies do not, and two dashboards may run on one host."""
    server = scope.get("server")
    return f"cardiacnets_{server[1] if server else 0}"
