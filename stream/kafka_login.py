"""Which settings a login at Kafka needs by its mechanism. Half of a login is refused, and a piece of another too."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

OAUTHBEARER, GSSAPI = "OAUTHBEARER", "GSSAPI"
LOGINS = ("sasl_username", "sasl_password", "oauth_", "kerberos_")
"""How the names of the settings begin that are a piece of a login."""
PASSWORD_NEEDS = ("sasl_username", "sasl_password")
OAUTH_NEEDS = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")
DEFAULTS = {"kerberos_service": "kafka"}


def refusal_of_login(protocol: str, mechanism: str, login: Mapping[str, object]) -> str | None:
    """Return why these settings cannot be a login; None if they can, or are none.

    Args:
        protocol: the security protocol.
        mechanism: of the login.
        login: the settings whose names begin as `LOGINS`.
    """
    given = [name for name, value in login.items() if value and value != DEFAULTS.get(name)]
    if not protocol.startswith("SASL"):
        return _without_login(protocol, mechanism, given)
    needs = {OAUTHBEARER: OAUTH_NEEDS, GSSAPI: ()}.get(mechanism, PASSWORD_NEEDS)
    if not all(login[name] for name in needs):
        return f"security_protocol {protocol} needs {_listed(needs)}, as sasl_mechanism is {mechanism}"
    own = {OAUTHBEARER: "oauth_", GSSAPI: "kerberos_"}.get(mechanism, "sasl_")
    if foreign := [name for name in given if not name.startswith(own)]:
        return f"sasl_mechanism {mechanism} does not take {_listed(foreign)}: they belong to another one"
    return _refusal_of_token_url(login) if mechanism == OAUTHBEARER else None


def _without_login(protocol: str, mechanism: str, given: list[str]) -> str | None:
    if any(name in PASSWORD_NEEDS for name in given):
        return f"sasl_username and sasl_password need a SASL security_protocol; it is {protocol}"
    if given or mechanism in {OAUTHBEARER, GSSAPI}:
        named = _listed(given) if given else f"sasl_mechanism {mechanism}"
        return f"{named} need{'s' if len(given) < 2 else ''} a SASL security_protocol; it is {protocol}"
    return None


def _refusal_of_token_url(login: Mapping[str, object]) -> str | None:
    url = str(login["oauth_token_url"])
    try:
        address = urlsplit(url)
        host = address.hostname if address.port != 0 else None
    except ValueError:
        host = None
    if not host:
        return f"oauth_token_url {url} is not an address such as https://login.hospital.example/token"
    if url.startswith("https:"):
        return None
    if login["oauth_ca_file"]:
        return "oauth_ca_file needs an oauth_token_url that begins with https://"
    if not login["oauth_token_without_tls"] and not is_this_machine(host):
        return (
            f"oauth_token_url {url} would send the client's secret without encryption: write https://, or set "
            "oauth_token_without_tls"
        )
    return None


def is_this_machine(host: str) -> bool:
    """Return whether a host name or an address is that of this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
