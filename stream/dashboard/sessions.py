"""Sessions of people who signed in. A session is a cookie that only this dashboard's token can sign.

So a restart with the same token signs nobody out, and nothing is kept but the sessions that were ended early.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from stream.bounded import RecentDict

COOKIE = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([0-9a-f]{64})")
ENDED_KEPT = 10_000
CLOCK_S = 60
"""How far the clock may be set back without an end to the sessions of now."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that holds now.

    Attributes:
        name: tells sessions apart; it opens nothing.
        expires_at: seconds since 1970.
    """

    name: str
    expires_at: float


class Sessions:
    """Opens, recognises and ends sessions.

    Args:
        token: signs the cookies, so whoever has another token has other sessions.
        lasts_s: how long a session lasts.
        clock: returns the seconds since 1970.
    """

    def __init__(self, token: str, lasts_s: float, clock: Callable[[], float] = time.time) -> None:
        self._key = hashlib.sha256(b"cardiacnets-session\0" + token.encode()).digest()
        self._lasts_s = lasts_s
        self._clock = clock
        self._ended: RecentDict[str, None] = RecentDict(ENDED_KEPT)

    def open(self) -> str:
        """Begin a session, and return its cookie."""
        body = f"{int(self._clock() + self._lasts_s)}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._signature(body)}"

    def recognise(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it is not ours, is over, or was ended."""
        found = COOKIE.fullmatch(cookie)
        if not found:
            return None
        expires, nonce, signature = found.groups()
        if not hmac.compare_digest(signature, self._signature(f"{expires}.{nonce}")):
            return None
        name = hashlib.sha256(nonce.encode()).hexdigest()[:16]
        if not 0 < int(expires) - self._clock() <= self._lasts_s + CLOCK_S or name in self._ended:
            return None
        return Session(name, float(expires))

    def end(self, session: str) -> None:
        """End a session, whoever has copies of its cookie. A restart forgets this; the session's end stays."""
        self._ended.put(session, None)

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
