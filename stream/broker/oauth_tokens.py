"""Tokens for a login by OAUTHBEARER: fetched with our client's secret, kept, and replaced before they end.

A broker that ends connections when their token ends (`connections.max.reauth.ms`) gets the next one on the next
connection. While the token endpoint is away, the token that we have serves until it ends.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
import ssl
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from stream.settings import KafkaSettings

from .http_exchange import HttpServer, tls_context

FETCH_S = 5.0
MAX_ANSWER_BYTES = 256 * 2**10
MAX_TOKEN = 64 * 2**10
USED = 0.8
"""After this part of its life a token is replaced."""
LEAST_S = 5.0
"""A token that ends sooner is not used any more: it has to reach the broker."""
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What RFC 6750 lets a bearer token be; nothing else may stand in the broker's login."""
CODE = re.compile(r"[a-z_]{1,40}")
SETTING = "CARDIACNETS_OAUTH_TOKEN_URL"


class TokenUnavailable(KafkaError):  # type: ignore[misc]  # noqa: N818  the condition
    """There is no token to log in with; the text says why, and holds no secret."""

    retriable = True


class Token(NamedTuple):
    """A token, and the times of our clock from which it is replaced, and no longer used."""

    text: str
    replaced_at: float
    ends_at: float


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives each connection a token that is valid now. Any thread and any event loop may ask.

    Args:
        fetch: asks the token endpoint.
        clock: says the time in seconds.
    """

    def __init__(self, fetch: Callable[[], tuple[str, float]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = Lock()
        self._token: Token | None = None

    async def token(self) -> str:
        """Return a token.

        Raises:
            TokenUnavailable: there is none.
        """
        return await asyncio.to_thread(self._valid)

    def _valid(self) -> str:
        with self._lock:
            kept, now = self._token, self._clock()
            if kept and now < kept.replaced_at:
                return kept.text
            try:
                text, life_s = self._fetch()
            except TokenUnavailable:
                if kept and now < kept.ends_at:
                    return kept.text
                raise
            self._token = Token(text, now + USED * life_s, now + life_s - LEAST_S)
            return text


def token_provider(settings: KafkaSettings) -> TokenProvider:
    """Return what gives a client its tokens.

    Raises:
        DeploymentError: the file with the certificate authority cannot be used.
    """
    return TokenProvider(_fetch_by(settings))


def _fetch_by(settings: KafkaSettings) -> Callable[[], tuple[str, float]]:
    """Return what asks the token endpoint, by the grant of client credentials (RFC 6749, 4.4)."""
    url = settings.oauth_token_url or ""
    address = urlsplit(url)
    context = tls_context("CARDIACNETS_OAUTH_CA_FILE", settings.oauth_ca_file) if address.scheme == "https" else None
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    form = {"grant_type": "client_credentials", "scope": settings.oauth_scope, "audience": settings.oauth_audience}
    body = urlencode({name: value for name, value in form.items() if value})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"} | _login(settings)

    server = HttpServer(address, context, step_s=FETCH_S, whole_s=FETCH_S, max_bytes=MAX_ANSWER_BYTES)

    def fetch() -> tuple[str, float]:
        try:
            status, content = server.ask("POST", path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            raise TokenUnavailable(_of_connection(url, error)) from None  # its text is the server's
        return _read(status, content, settings)

    return fetch


def _login(settings: KafkaSettings) -> dict[str, str]:
    names = (settings.oauth_client_id or "", settings.oauth_client_secret or "")
    login = base64.b64encode(":".join(quote(name, safe="") for name in names).encode()).decode()
    return {"Authorization": f"Basic {login}"}


def _read(status: int, content: bytes, settings: KafkaSettings) -> tuple[str, float]:
    """Return the token that an answer holds, and for how many seconds it is valid."""
    url, fields = settings.oauth_token_url, _fields(content)
    if status != http.client.OK:
        raise TokenUnavailable(_of_status(status, fields, settings))
    text, life_s = fields.get("access_token"), fields.get("expires_in")
    if not isinstance(text, str) or len(text) > MAX_TOKEN or not TOKEN.fullmatch(text):
        raise TokenUnavailable(f"{SETTING}={url} answers without an access_token that can be used: check the address")
    if str(fields.get("token_type", "Bearer")).lower() != "bearer":
        raise TokenUnavailable(
            f"{SETTING}={url} gives tokens of another kind than Bearer: ask for a client of that kind"
        )
    life_s = _seconds(life_s)
    if life_s is None or life_s <= LEAST_S:
        raise TokenUnavailable(
            f"{SETTING}={url} gives a token without an end that can be used (expires_in): set it to more than "
            f"{LEAST_S:g} s there"
        )
    return text, life_s


def _fields(content: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _seconds(value: object) -> float | None:
    """Return the seconds that a number, or a number in text, says."""
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _of_connection(url: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "its certificate is not trusted; set CARDIACNETS_OAUTH_CA_FILE to the authority that signed it"
    elif isinstance(error, ssl.SSLError):
        why = "it does not speak TLS as we do: check scheme and port"
    else:
        why = "no token endpoint answers there: check the address, and whether it can be reached from here"
    return f"{SETTING}={url}: {why} ({type(error).__name__})"


def _of_status(status: int, fields: dict[str, Any], settings: KafkaSettings) -> str:
    code = fields.get("error")
    said = f"{status} {code}" if isinstance(code, str) and CODE.fullmatch(code) else str(status)
    begin = f"{SETTING}={settings.oauth_token_url}"
    if status == http.client.UNAUTHORIZED or code == "invalid_client":
        return (
            f"{begin} refuses CARDIACNETS_OAUTH_CLIENT_ID={settings.oauth_client_id} with "
            f"CARDIACNETS_OAUTH_CLIENT_SECRET ({said})"
        )
    if code == "invalid_scope":
        return f"{begin} does not give CARDIACNETS_OAUTH_SCOPE={settings.oauth_scope} to our client ({said})"
    if status in range(300, 400):
        return f"{begin} sends us elsewhere ({said}), where no secret goes: set the address that it sends to"
    return f"{begin} gives no token ({said}): check the address, the client and its grant of client credentials"
