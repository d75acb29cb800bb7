"""What a reverse proxy says of a request: whose it is, and how it came. Only proxies that the operator named count."""

from __future__ import annotations

import ipaddress
import unicodedata

from starlette.datastructures import Headers
from starlette.types import Scope

from schemas.shown_text import UNSEEN
from stream.settings import DashboardSettings

MAX_NAME = 256
HIDDEN = UNSEEN | {"Co", "Cn"}
"""Categories of characters that are not seen, or that change how others are seen."""


class Proxies:
    """Reads the headers of trusted proxies."""

    def __init__(self, settings: DashboardSettings) -> None:
        self._networks = settings.trusted_networks
        self._user_header = settings.user_header
        self._role_header = settings.role_header
        self._acknowledging_role = settings.acknowledging_role

    @property
    def names_users(self) -> bool:
        """Whether a proxy says who somebody is."""
        return self._user_header is not None

    def sent(self, scope: Scope) -> bool:
        """Return whether a trusted proxy sent the request."""
        client = scope.get("client")
        address = _address(client[0]) if client else None
        return address is not None and any(address in network for network in self._networks)

    def claims_a_user(self, headers: Headers) -> bool:
        """Return whether a request carries the header of the user, from wherever it came."""
        return self._user_header is not None and self._user_header in headers

    def user_of(self, scope: Scope, headers: Headers) -> str | None:
        """Return the user whom a trusted proxy names; None if none does, or if the name is not usable."""
        if self._user_header is None or not self.sent(scope):
            return None
        names = headers.getlist(self._user_header)
        return _decoded(names[0]) if len(names) == 1 and is_plain_name(_decoded(names[0])) else None

    def may_acknowledge(self, headers: Headers) -> bool:
        """Return whether the user has the role that acknowledges; without a header for roles everybody has it."""
        if self._role_header is None:
            return True
        said = (_decoded(value).replace("|", ",") for value in headers.getlist(self._role_header))
        roles = (role.strip() for value in said for role in value.split(","))
        return self._acknowledging_role in roles

    def is_encrypted(self, scope: Scope, headers: Headers) -> bool:
        """Return whether the browser speaks TLS, to us or to a trusted proxy."""
        return scope["scheme"] == "https" or (self.sent(scope) and headers.get("x-forwarded-proto") == "https")

    def address_of(self, scope: Scope, headers: Headers) -> str:
        """Return the address that a request comes from, as the trusted proxy says or as we see it."""
        if self.sent(scope):
            said = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            if _address(said) is not None:
                return said
        return str(scope["client"][0]) if scope.get("client") else "unknown"


def is_plain_name(name: str) -> bool:
    """Return whether a name can be shown as it is: no character of it is hidden or turns the text around it."""
    return len(name.strip()) > 0 and len(name) <= MAX_NAME and not any(unicodedata.category(c) in HIDDEN for c in name)


def _decoded(value: str) -> str:
    """Return a header's value; proxies write names in UTF-8, and Starlette reads them as Latin-1."""
    try:
        return value.encode("latin-1").decode().strip()
    except UnicodeError:
        return value.strip()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
