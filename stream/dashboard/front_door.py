"""Who opens the dashboard: by the token, or by a code that works once. Failed tries are slowed down and logged."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable

import structlog

from stream.bounded import RecentDict

FREE_TRIES = 5
LONGEST_WAIT_S = 60.0
FORGOTTEN_AFTER_S = 900.0
ADDRESSES_KNOWN = 10_000

log = structlog.get_logger(__name__)


class TooManyTries(Exception):  # noqa: N818 -- it is an answer, not a failure
    """An address has failed too often lately."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many failed tries from this address: wait for {wait_s:.0f} seconds and try again")
        self.wait_s = wait_s


class FrontDoor:
    """Checks tokens and codes.

    Args:
        token: opens the dashboard as often as one likes; None where the operator set none.
        codes: whether there are codes. There are none where people come by a token or by a proxy.
        announce: called with each new code; with None at the start, if there are no codes.
    """

    def __init__(self, token: str | None, *, codes: bool, announce: Callable[[str | None], object]) -> None:
        self._token = token
        self._codes = codes
        self._announce = announce
        self._code: str | None = None
        self._tries = FailedTries()

    def begin(self) -> None:
        """Announce that the door is there, with the first code if there are codes."""
        if self._codes:
            self._code = secrets.token_urlsafe(24)
        self._announce(self._code)

    def opens(self, given: str, address: str) -> bool:
        """Return whether what was given opens the door. A code has then worked, and the next one is announced.

        Raises:
            TooManyTries: the address has to wait; what was given was not looked at.
        """
        wait_s = self._tries.wait_s(address)
        if wait_s > 0:
            raise TooManyTries(wait_s)
        is_code = _same(given, self._code)
        if not (is_code or _same(given, self._token)):
            self._tries.note(address)
            log.warning("sign_in_failed", address=address)
            return False
        self._tries.forget(address)
        log.info("signed_in", address=address)
        if is_code:
            self.begin()
        return True


class FailedTries:
    """Counts the failed tries of each address: after a few, each further one makes the next wait twice as long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: RecentDict[str, tuple[int, float]] = RecentDict(ADDRESSES_KNOWN)

    def wait_s(self, address: str) -> float:
        """Return how long the address has to wait before its next try."""
        number, at = self._failed.get(_neighbourhood(address)) or (0, 0.0)
        if number < FREE_TRIES:
            return 0.0
        wait = min(LONGEST_WAIT_S, 2.0 ** min(10, number - FREE_TRIES))
        return max(0.0, at + wait - self._clock())

    def note(self, address: str) -> None:
        """Count a failed try."""
        number, at = self._failed.get(_neighbourhood(address)) or (0, 0.0)
        now = self._clock()
        self._failed.put(_neighbourhood(address), (1 if now - at > FORGOTTEN_AFTER_S else number + 1, now))

    def forget(self, address: str) -> None:
        """Forget the failed tries of an address."""
        self._failed.pop(_neighbourhood(address))


def _same(given: str, wanted: str | None) -> bool:
    return wanted is not None and hmac.compare_digest(given.strip().encode(), wanted.encode())


def _neighbourhood(address: str) -> str:
    """Return what counts as one address: whoever has one IPv6 address has all of its network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
