"""Tokens for Kafka: fetched with the client's secret, replaced in time; every failure is a sentence without it."""

import asyncio
import threading

import pytest
import trustme
from secure_door import server_context
from token_endpoint import CLIENT, SECRET, token_endpoint

from schemas.errors import InvalidSettings
from stream.broker.oauth_tokens import TokenProvider, TokenUnavailable, token_provider
from stream.demo.embedded_servers import free_port
from stream.settings import Settings


@pytest.fixture
def endpoint():
    with token_endpoint() as there:
        yield there


def settings_of(url, **changes):
    """Return the settings of a client of an endpoint."""
    login = {"oauth_token_url": url, "oauth_client_id": CLIENT, "oauth_client_secret": SECRET}
    fixed = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
    return Settings.of(**(fixed | login | changes)).kafka


async def test_a_client_gets_a_token_and_all_its_connections_use_it(endpoint):
    provider = token_provider(settings_of(endpoint.url, oauth_scope="a b", oauth_audience="kafka"))
    tokens = await asyncio.gather(*(provider.token() for _ in range(8)))
    assert len(set(tokens)) == 1
    assert endpoint.asked == [{"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["kafka"]}]


def test_any_thread_and_any_event_loop_may_ask(endpoint):
    provider, tokens = token_provider(settings_of(endpoint.url)), []
    threads = [threading.Thread(target=lambda: tokens.append(asyncio.run(provider.token()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1


class Endpoint:
    """Gives tokens of 100 s by a clock that the test sets."""

    def __init__(self):
        self.now, self.given, self.away = 1000.0, 0, False

    def fetch(self):
        if self.away:
            raise TokenUnavailable("away")
        self.given += 1
        return f"token-{self.given}", 100.0


async def test_a_token_is_replaced_before_it_ends_and_serves_on_while_the_endpoint_is_away():
    there = Endpoint()
    provider = TokenProvider(there.fetch, lambda: there.now)
    tokens = []
    for after_s, away in ((0, False), (79, False), (1, False), (79, True), (10, True), (0, False)):
        there.now, there.away = there.now + after_s, away
        tokens.append(await provider.token())
    assert tokens == ["token-1", "token-1", "token-2", "token-2", "token-2", "token-3"]
    there.now, there.away = there.now + 96, True
    with pytest.raises(TokenUnavailable):
        await provider.token()


BAD = {
    "a wrong secret": (
        (401, {"error": "invalid_client"}, {}),
        r"refuses CARDIACNETS_OAUTH_CLIENT_ID=cardiac nets with .*401",
    ),
    "a client without the grant": (
        (400, {"error": "unauthorized_client"}, {}),
        "gives no token .400 unauthorized_client.: ",
    ),
    "an unknown scope": (
        (400, {"error": "invalid_scope"}, {}),
        "does not give CARDIACNETS_OAUTH_SCOPE=kafka to our client",
    ),
    "another page": ((200, b"<html>sign in</html>", {}), "answers without an access_token that can be used"),
    "a wrong address": ((404, b"", {}), "gives no token .404.: check the address"),
    "a redirect": ((302, b"", {"Location": "http://127.0.0.1:1/"}), "sends us elsewhere .302., where no secret goes"),
    "no end": ((200, {"access_token": "t"}, {}), r"gives a token without an end that can be used \(expires_in\)"),
    "an end that is no number": (
        (200, {"access_token": "t", "expires_in": "soon"}, {}),
        "without an end that can be used",
    ),
    "an end at once": ((200, {"access_token": "t", "expires_in": 1}, {}), "without an end that can be used"),
    "a token that breaks out": (
        (200, {"access_token": "t\x01auth=Bearer u", "expires_in": 60}, {}),
        "that can be used",
    ),
    "a token of another kind": (
        (200, {"access_token": "t", "token_type": "mac", "expires_in": 60}, {}),
        "kind than Bearer",
    ),
    "an error that holds a secret": ((400, {"error": f"no {SECRET}"}, {}), "gives no token .400.: "),
    "deep JSON": ((200, b"[" * 100_000, {}), "answers without an access_token"),
    "a list": ((200, [], {}), "answers without an access_token"),
}


@pytest.mark.parametrize("name", BAD)
async def test_every_other_answer_is_a_sentence_without_the_secret(name, endpoint):
    endpoint.answer, words = BAD[name]
    with pytest.raises(TokenUnavailable, match=words) as failure:
        await token_provider(settings_of(endpoint.url, oauth_scope="kafka")).token()
    assert f"CARDIACNETS_OAUTH_TOKEN_URL={endpoint.url}" in str(failure.value)
    assert SECRET not in str(failure.value)


async def test_an_endpoint_that_is_away_is_named():
    url = f"http://127.0.0.1:{free_port()}/token"
    with pytest.raises(
        TokenUnavailable, match=f"OAUTH_TOKEN_URL={url}: no token endpoint answers there: check the address"
    ):
        await token_provider(settings_of(url)).token()


async def test_the_certificate_of_the_endpoint_is_checked(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with token_endpoint(server_context(authority)) as endpoint:
        assert await token_provider(settings_of(endpoint.url, oauth_ca_file=tmp_path / "ca.pem")).token()
        with pytest.raises(TokenUnavailable, match="its certificate is not trusted; set CARDIACNETS_OAUTH_CA_FILE"):
            await token_provider(settings_of(endpoint.url)).token()
        assert len(endpoint.asked) == 1


WHOLE = {"oauth_token_url": "https://login/token", "oauth_client_id": "c", "oauth_client_secret": "s"}
OAUTH = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
HALVES = [
    (OAUTH, "needs oauth_token_url, oauth_client_id and oauth_client_secret, as sasl_mechanism is OAUTHBEARER"),
    (OAUTH | WHOLE | {"oauth_client_secret": None}, "needs oauth_token_url, oauth_client_id and oauth_client_secret"),
    (OAUTH | WHOLE | {"sasl_username": "u"}, "OAUTHBEARER does not take sasl_username: they belong to another one"),
    (OAUTH | WHOLE | {"kerberos_host": "h"}, "OAUTHBEARER does not take kerberos_host"),
    (WHOLE, "oauth_token_url, oauth_client_id and oauth_client_secret need a SASL security_protocol; it is PLAINTEXT"),
    ({"sasl_mechanism": "OAUTHBEARER"}, "sasl_mechanism OAUTHBEARER needs a SASL security_protocol; it is PLAINTEXT"),
    ({"sasl_mechanism": "GSSAPI", "security_protocol": "SSL"}, "sasl_mechanism GSSAPI needs a SASL security_protocol"),
    ({"kerberos_service": "queue"}, "kerberos_service needs a SASL security_protocol"),
    (
        {"security_protocol": "SASL_SSL", **WHOLE, "sasl_username": "u", "sasl_password": "p"},
        "SCRAM-SHA-512 does not take",
    ),
    (
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI", "sasl_username": "u", "sasl_password": "p"},
        "GSSAPI does not take sasl_username and sasl_password",
    ),
    (OAUTH | WHOLE | {"oauth_token_url": "http://login/token"}, "would send the client's secret without encryption"),
    (OAUTH | WHOLE | {"oauth_token_url": "https://login:x/token"}, "is not an address such as https://login"),
    (OAUTH | WHOLE | {"oauth_token_url": "https://u:p@login/token"}, "without user and password"),
    (
        OAUTH | WHOLE | {"oauth_token_url": "http://localhost/token", "oauth_ca_file": "/ca.pem"},
        "oauth_ca_file needs an oauth_token_url that begins with https://",
    ),
]


@pytest.mark.parametrize(("flat", "words"), HALVES)
def test_half_of_a_login_and_a_piece_of_another_one_are_refused(flat, words):
    with pytest.raises(InvalidSettings, match=words):
        Settings.of(**flat)


def test_a_whole_login_is_taken_and_its_secret_is_not_shown():
    settings = Settings.of(**OAUTH, **WHOLE | {"oauth_client_secret": "hidden-word"})
    assert "hidden-word" not in repr(settings)
    assert Settings.of(**OAUTH, **WHOLE | {"oauth_token_url": "http://login/token"}, oauth_token_without_tls=True)
    assert Settings.of(**OAUTH, **WHOLE | {"oauth_token_url": "http://[::1]:8080/token?x=1"})
    assert Settings.of(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI", kerberos_host="kafka.example")
