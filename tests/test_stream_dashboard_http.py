"""The dashboard's pages without Kafka and without a browser: its locks, its proxies, its answers."""

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import numpy as np
import pytest
from contract import asyncapi, lookup
from dashboard_parts import FLAGGED, HOME, NOW, StubFeed, ack_of, feed_all, new_state
from dashboard_ward import TOKEN, simulate_case
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.requests import Request
from structlog.testing import capture_logs

from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import InvalidSettings, UnusableSignal
from schemas.identity import embedding_digest
from schemas.messages import AcknowledgedBy, CmrRequest, decode_message, encode_message
from schemas.topics import CMR_REQUESTS, ECG_ALERTS, ECG_ALERTS_ACK, ECG_ALERTS_SHELVED
from stream.alerting.acknowledgements import Place
from stream.cines.store import RedisUnavailable
from stream.dashboard.access import Person
from stream.dashboard.app import STATIC, Pages, make_app
from stream.dashboard.front_door import FREE_TRIES, LONGEST_WAIT_S, FailedTries, FrontDoor
from stream.dashboard.home import Home
from stream.dashboard.record_page import arrange_ecg, compose_page
from stream.dashboard.sessions import Sessions
from stream.settings import Settings


@pytest.fixture(scope="module")
def case():
    return simulate_case(3, 1, at=NOW, risks=FLAGGED)


# --- the application


class StubRedis(dict):
    async def strlen(self, key):
        return len(await self.get(key) or b"")

    async def get(self, key):
        if isinstance(value := dict.get(self, key), Exception):
            raise value
        return value


@pytest.fixture
def site(case):
    """Give a signed-in client, the feed, and what Redis holds, waveforms by key and cines by record id."""
    visitor = new_site(case, dashboard_token=TOKEN)
    assert visitor.sign_in(TOKEN).status_code == 303
    return visitor


def new_site(case, **settings):
    """Return a visitor of a dashboard with these settings, who is not signed in, with what lies behind it."""
    feed, redis, cines = StubFeed(feed_all(new_state(), case.messages())), StubRedis(), StubRedis()
    codes = []
    chosen = Settings.of(dashboard_name="Ward.Hospital.example", **settings).dashboard
    without = chosen.token is None and chosen.user_header is None
    door = FrontDoor(chosen.token, codes=without, announce=codes.append)
    door.begin()
    visitor = Visitor(make_app(feed, redis, cines, chosen, door=door, max_pages=5))
    visitor.feed, visitor.redis, visitor.cines, visitor.codes = feed, redis, cines, codes
    return visitor


class Visitor:
    """A browser as far as HTTP goes: it keeps its cookies, and names its origin where it changes something."""

    def __init__(self, app, address="127.0.0.1"):
        self.app, self.address, self.cookies = app, address, httpx.Cookies()

    def sign_in(self, token, place="/", **options):
        return self.post("/sign-in", data={"token": token, "next": place}, **options)

    def get(self, path, **options):
        return asyncio.run(self._send("GET", path, **options))

    def post(self, path, headers=None, **options):
        return asyncio.run(self._send("POST", path, headers={"origin": HOME} | (headers or {}), **options))

    async def _send(self, method, path, **options):
        transport = httpx.ASGITransport(self.app, client=(self.address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=HOME, cookies=self.cookies) as client:
            answer = await client.request(method, path, **options)
            self.cookies = client.cookies
            return answer


def stranger(site, address="127.0.0.1"):
    return Visitor(site.app, address)


def test_without_the_token_nothing_is_told(site, case):
    client = stranger(site)
    for path in ("/", "/record?id=x", "/api/events", "/api/records", "/api/ecg?id=x", "/api/nothing"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert case.record.patient_id not in answer.text
    assert client.post("/api/acknowledge", json={}).status_code == 401
    page = client.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert 'name="token"' in page.text
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    assert case.record.patient_id not in client.get("/metrics").text
    assert client.get("/static/style.css").status_code == 200
    assert client.get("/static/../app.py").status_code in {401, 404}


def test_the_token_is_posted_and_becomes_a_session_in_a_strict_cookie(site):
    client = stranger(site)
    answer = client.sign_in(TOKEN, "/record?id=a%2Fb%26c&token=x&code=y")
    assert (answer.status_code, answer.headers["location"]) == (303, "/record?id=a%2Fb%26c")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("cardiacnets_8081=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # this is no TLS
    assert TOKEN not in cookie
    assert client.get("/api/records").status_code == 200


def test_a_token_in_the_address_opens_nothing(site):
    client = stranger(site)
    page = client.get("/record", params={"id": "a b", "token": TOKEN}, headers={"accept": "text/html"})
    assert page.status_code == 401
    assert 'value="/record?id=a+b"' in page.text
    assert TOKEN not in page.text
    assert client.get("/api/records").status_code == 401


@pytest.mark.parametrize("given", ["", "wrong", TOKEN + "x", TOKEN[:-1], "ünïcode ☃", "\x00"])
def test_a_wrong_token_or_cookie_opens_nothing(site, given):
    client = stranger(site)
    assert client.sign_in(given).status_code == 401
    assert client.get("/", params={"code": given}).status_code == 401
    assert client.cookies.get("cardiacnets_8081") is None
    raw = b"cardiacnets_8081=" + given.encode()
    assert client.get("/api/records", headers={"cookie": raw}).status_code == 401


@pytest.mark.parametrize(
    "place", ["//evil.example/x", "/\\evil.example", "https://evil.example", "\\\\evil", "x", "[", "//["]
)
def test_the_redirect_stays_here(site, place):
    assert stranger(site).sign_in(TOKEN, place).headers["location"] == "/"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ""}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://[::1"}, 403),
    ],
)
def test_the_sign_in_form_is_taken_from_our_own_page_only(site, headers, status):
    assert stranger(site).sign_in(TOKEN, headers=headers).status_code == status


def test_the_sign_in_form_is_bounded(site):
    client = stranger(site)
    assert client.sign_in("x" * 20_000).status_code == 413


def test_failed_tries_are_slowed_down_and_logged_without_what_was_tried(site):
    client = stranger(site, "10.0.0.9")
    with capture_logs() as logs:
        tried = [client.sign_in(f"wrong-{number}") for number in range(20)]
    assert [answer.status_code for answer in tried] == [401] * FREE_TRIES + [429] * (20 - FREE_TRIES)
    assert int(tried[-1].headers["retry-after"]) >= 1
    assert client.sign_in(TOKEN).status_code == 429  # whoever guesses does not learn whether it was right
    assert stranger(site, "10.0.0.10").sign_in(TOKEN).status_code == 303
    failed = [entry for entry in logs if entry["event"] == "sign_in_failed"]
    assert [entry["address"] for entry in failed] == ["10.0.0.9"] * FREE_TRIES
    assert "wrong-" not in str(logs)


def test_each_further_failure_makes_the_wait_twice_as_long_up_to_a_bound_and_is_forgotten():
    now = [0.0]
    tries, waits = FailedTries(lambda: now[0]), []
    for _ in range(FREE_TRIES + 12):
        now[0] += tries.wait_s("a")
        tries.note("a")
        waits.append(tries.wait_s("a"))
    assert waits[: FREE_TRIES + 5] == [0] * (FREE_TRIES - 1) + [1, 2, 4, 8, 16, 32]
    assert waits[-1] == LONGEST_WAIT_S
    assert tries.wait_s("b") == 0
    now[0] += 3600
    assert tries.wait_s("a") == 0


def test_one_ipv6_network_is_one_address():
    tries = FailedTries()
    for number in range(FREE_TRIES):
        tries.note(f"2001:db8::{number}")
    assert tries.wait_s("2001:db8::ffff") > 0
    assert tries.wait_s("2001:db8:0:1::1") == 0


def test_without_a_token_the_printed_code_opens_once_and_the_next_one_is_told(case):
    site = new_site(case)
    (code,) = site.codes
    first, second = stranger(site), stranger(site)
    answer = first.get("/record", params={"id": "x", "code": code})
    assert (answer.status_code, answer.headers["location"]) == (303, "/record?id=x")
    assert first.get("/api/records").status_code == 200
    assert second.get("/", params={"code": code}).status_code == 401
    assert len(site.codes) == 2
    assert second.sign_in(site.codes[1]).status_code == 303
    assert len(set(site.codes)) == 3
    assert first.get("/", params={"code": site.codes[2]}).headers["location"] == "/"
    assert len(site.codes) == 3  # whoever is signed in uses no code up


def test_where_there_is_a_token_there_is_no_code(case):
    assert new_site(case, dashboard_token=TOKEN).codes == [None]


def test_signing_out_ends_the_session_its_copies_and_its_pages(site):
    (copy_,) = [site.cookies.get("cardiacnets_8081")]
    other = stranger(site)
    other.sign_in(TOKEN)

    async def leave():
        session = (await site._send("GET", "/api/session")).json()["session"]
        stream = site.feed.hub.stream(None, session=session)
        await anext(stream)
        answer = await site._send("POST", "/sign-out", json={}, headers={"origin": HOME})
        return answer, [event.event async for event in stream]

    answer, events = asyncio.run(leave())
    assert answer.status_code == 200
    assert events == []
    assert site.cookies.get("cardiacnets_8081") is None
    stolen = {"cookie": f"cardiacnets_8081={copy_}"}
    assert stranger(site).get("/api/records", headers=stolen).status_code == 401
    assert other.get("/api/records").status_code == 200


def test_signing_out_is_asked_for_by_our_own_page_only(site):
    assert site.post("/sign-out", json={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert site.get("/sign-out").status_code == 405
    assert site.get("/api/records").status_code == 200


def test_a_session_ends_by_itself_and_outlives_a_restart_with_the_same_token():
    now = [1000.0]
    sessions = Sessions(TOKEN, 3600, lambda: now[0])
    cookie = sessions.open()
    assert Sessions(TOKEN, 3600, lambda: now[0]).recognise(cookie).expires_at == 4600
    assert Sessions(TOKEN + "x", 3600, lambda: now[0]).recognise(cookie) is None
    now[0] = 4599.0
    assert sessions.recognise(cookie)
    now[0] = 4600.0
    assert sessions.recognise(cookie) is None


@pytest.mark.parametrize("place", [0, 5, 15, -1])
def test_a_cookie_that_was_changed_is_none_of_ours(place):
    sessions = Sessions(TOKEN, 3600)
    cookie = sessions.open()
    changed = list(cookie)
    changed[place] = "1" if changed[place] != "1" else "2"
    assert sessions.recognise(cookie)
    assert sessions.recognise("".join(changed)) is None


async def test_a_quiet_stream_carries_events_often_enough():
    person = Person("x", None, may_acknowledge=True, lasts_s=60.0)
    request = Request({"type": "http", "headers": [], "query_string": b"", "state": {"person": person}})
    pages = Pages(StubFeed(new_state()), StubRedis(), StubRedis(), Sessions(TOKEN, 60), home=Home(""), max_pages=5)
    answer = await pages.events(request)
    assert answer.ping_interval <= 10  # the pages' patience is 30 s, and one may be late
    assert answer.ping_message_factory().encode() == b"event: beat\r\ndata: {}\r\n\r\n"


# --- behind a proxy

PROXY = {"dashboard_trusted_proxies": "10.0.0.5, fd00::/64", "dashboard_user_header": "X-Forwarded-User"}


def test_a_trusted_proxy_says_who_acknowledges_whatever_was_typed(case):
    site = new_site(case, **PROXY)
    nurse = stranger(site, "10.0.0.5")
    headers = {"x-forwarded-user": "Sister Agnès".encode()}
    assert nurse.get("/api/session", headers=headers).json() == {
        "session": "user Sister Agnès",
        "name": "Sister Agnès",
        "may_acknowledge": True,
        "may_sign_out": False,
    }
    body = {"identifier": case.alerts[0].identifier, "by": "Prof. Somebody Else"}
    assert nurse.post("/api/acknowledge", json=body, headers=headers).status_code == 200
    ((_, ack, _),) = site.feed.sent
    assert (ack.acknowledged_by, ack.authenticated) == ("Sister Agnès", True)
    assert nurse.post("/sign-out", json={}, headers=headers).status_code == 409


@pytest.mark.parametrize("address", ["10.0.0.6", "127.0.0.1", "fd00:0:0:1::5", "::ffff:10.0.0.6"])
def test_the_header_of_a_user_is_believed_from_nobody_else(case, address):
    site = new_site(case, **PROXY)
    with capture_logs() as logs:
        answer = stranger(site, address).get("/api/session", headers={"x-forwarded-user": "root"})
    assert answer.status_code == 401
    assert [(entry["event"], entry["address"]) for entry in logs] == [("user_header_not_believed", address)]


@pytest.mark.parametrize("address", ["10.0.0.5", "::ffff:10.0.0.5", "fd00::1234"])
def test_each_trusted_proxy_is_believed(case, address):
    headers = {"x-forwarded-user": "Ines"}
    assert stranger(new_site(case, **PROXY), address).get("/api/session", headers=headers).json()["name"] == "Ines"


@pytest.mark.parametrize(
    "names", [[b""], [b" "], [b"a", b"b"], ["Prof.\u202e".encode()], [b"x" * 257], [b"a\x1b"], ["\u200b".encode()]]
)
def test_what_is_no_name_of_one_user_is_not_believed(case, names):
    client = stranger(new_site(case, **PROXY), "10.0.0.5")
    headers = [(b"x-forwarded-user", name) for name in names]
    assert client.get("/api/session", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("roles", "may"),
    [
        ([], False),
        (["read"], False),
        (["acknowledge"], True),
        (["read, acknowledge"], True),
        (["a", "acknowledge"], True),
        (["acknowledger"], False),
        (["read,Acknowledge"], False),
        (["read|acknowledge"], True),
    ],
)
def test_the_role_says_whether_a_user_may_change_something(case, roles, may):
    site = new_site(case, **PROXY, dashboard_role_header="X-Forwarded-Groups")
    client = stranger(site, "10.0.0.5")
    headers = httpx.Headers([("x-forwarded-user", "Ines"), *(("x-forwarded-groups", role) for role in roles)])
    assert client.get("/api/session", headers=headers).json()["may_acknowledge"] is may
    assert client.get("/api/records", headers=headers).status_code == 200
    for path, body in (
        ("/api/acknowledge", {"identifier": case.alerts[0].identifier}),
        ("/api/regenerate", {"record_id": case.record.record_id}),
    ):
        answer = client.post(
            path, json=body, headers=dict(headers.multi_items()) | {"x-forwarded-groups": ",".join(roles)}
        )
        assert answer.status_code == (200 if may else 403)
    assert len(site.feed.sent) == (2 if may else 0)


@pytest.mark.parametrize(("address", "secure"), [("10.0.0.5", True), ("10.0.0.6", False)])
def test_the_cookie_is_secure_where_a_trusted_proxy_speaks_tls(case, address, secure):
    site = new_site(case, dashboard_token=TOKEN, dashboard_trusted_proxies="10.0.0.5")
    answer = stranger(site, address).sign_in(TOKEN, headers={"x-forwarded-proto": "https"})
    assert ("secure" in answer.headers["set-cookie"].lower()) is secure


def test_tries_through_a_trusted_proxy_are_those_of_the_address_that_it_names(case):
    site = new_site(case, dashboard_token=TOKEN, dashboard_trusted_proxies="10.0.0.5")
    client = stranger(site, "10.0.0.5")
    for _ in range(FREE_TRIES):
        client.sign_in("wrong", headers={"x-forwarded-for": "1.2.3.4, 192.0.2.7"})
    assert client.sign_in(TOKEN, headers={"x-forwarded-for": "192.0.2.7"}).status_code == 429
    assert client.sign_in(TOKEN, headers={"x-forwarded-for": "192.0.2.8"}).status_code == 303
    forged = stranger(site, "10.0.0.6")
    for _ in range(FREE_TRIES):
        forged.sign_in("wrong", headers={"x-forwarded-for": "192.0.2.9"})
    assert forged.sign_in(TOKEN, headers={"x-forwarded-for": "192.0.2.10"}).status_code == 429


def test_whom_no_proxy_names_comes_in_by_the_token_beside_it(case):
    site = new_site(case, **PROXY, dashboard_token=TOKEN)
    client = stranger(site, "10.0.0.6")
    assert client.sign_in(TOKEN).status_code == 303
    session = client.get("/api/session").json()
    assert (session["name"], session["may_acknowledge"], session["may_sign_out"]) == (None, True, True)
    named = stranger(site, "10.0.0.5")
    named.cookies = client.cookies  # the proxy's word counts, whatever cookie is left from before
    assert named.get("/api/session", headers={"x-forwarded-user": "Ines"}).json()["name"] == "Ines"


def test_where_a_proxy_names_users_nothing_is_asked_for_on_the_page(case):
    page = new_site(case, **PROXY).get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert "hidden" in page.text.partition("<form")[2].partition(">")[0]
    assert "usual name" in page.text


# --- in a folder of a proxy's host


@pytest.mark.parametrize("folder", ["/heart", ""], ids=["the proxy leaves it in the path", "the proxy takes it off"])
def test_in_a_folder_every_address_and_the_cookie_stay_in_it(case, folder):
    site = new_site(case, dashboard_token=TOKEN, dashboard_prefix="/heart")
    answer = site.post(f"{folder}/sign-in", data={"token": TOKEN, "next": "/record?id=x"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/heart/record?id=x")
    assert "; path=/heart;" in answer.headers["set-cookie"].lower() + ";"
    assert site.get("/heart/api/session").status_code == 200
    assert site.get(f"{folder}/static/main.js").status_code == 200
    assert site.get("/heart?list=records").headers["location"] == "/heart/?list=records"
    page = stranger(site).get(f"{folder}/record?id=x", headers={"accept": "text/html"})
    assert 'action="/heart/sign-in"' in page.text
    assert 'href="/heart/static/style.css"' in page.text
    assert 'value="/record?id=x"' in page.text
    left = site.post("/heart/sign-out", json={})
    assert "; path=/heart;" in left.headers["set-cookie"].lower() + ";"
    assert stranger(site).get("/heartless/api/session").status_code == 401


def test_no_page_names_an_address_at_the_top_of_its_host():
    for file in sorted(STATIC.iterdir()):
        if file.suffix in {".js", ".html"}:
            named = re.findall(r"""(?:href|src|action|fetch|Json|Bytes|Source)[=:(]\s?["'`]/""", file.read_text())
            assert not named, file.name


@pytest.mark.parametrize("prefix", ["heart", "/heart/", "/", "//evil.example", "/a b", "/../a", "/api", "/static/x"])
def test_a_prefix_that_is_no_folder_or_cannot_be_told_from_our_own_places_is_refused(prefix):
    with pytest.raises(InvalidSettings, match="(?i)dashboard_prefix"):
        Settings.of(dashboard_prefix=prefix)


# --- what every request is held against


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8081", 200), ("localhost:8081", 200), ("[::1]:8081", 200), ("10.0.0.7", 200)]
    + [("ward.hospital.example", 200), ("ward.hospital.example.evil", 421)]
    + [(host, 421) for host in ("evil.example", "evil.example:8081", "127.0.0.1.evil", "", "[", "localhost.evil")],
)
def test_only_our_own_host_names_are_answered(site, host, status):
    assert stranger(site).get("/healthz", headers={"host": host}).status_code == status


def test_every_answer_carries_the_policy(site):
    for answer in (site.get("/"), site.get("/api/nothing"), site.get("/static/main.js"), stranger(site).get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "cache-control" in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ""}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-length": "100000"}, 413),
    ],
)
def test_changes_are_taken_from_our_own_page_only(site, case, headers, status):
    body = {"identifier": case.alerts[0].identifier, "by": "x"}
    assert site.post("/api/acknowledge", json=body, headers=headers).status_code == status
    assert site.feed.sent == []


@pytest.mark.parametrize("origin", ["http://[::1", "http://[", "//", "http://\xff", "::", "http://127.0.0.1:99999999"])
def test_an_origin_that_is_no_address_is_refused(site, case, origin):
    body = {"identifier": case.alerts[0].identifier, "by": "x"}
    assert site.post("/api/acknowledge", json=body, headers={"origin": origin.encode("latin-1")}).status_code == 403


@pytest.mark.parametrize("said", ["5", "16384", ""])
def test_a_change_is_counted_while_it_is_read_whatever_it_says_of_its_length(site, said):
    sent = []

    async def pour():
        for _ in range(1000):
            sent.append(b" " * 10_000)
            yield sent[-1]

    headers = {"content-type": "application/json", "content-length": said, "transfer-encoding": "chunked"}
    assert site.post("/api/acknowledge", content=pour(), headers=headers).status_code == 413
    assert len(sent) <= 3


def test_an_acknowledgement_is_published_and_the_alert_in_its_new_state_is_due(site, case):
    alert = case.alerts[0]
    body = {"identifier": alert.identifier, "by": "Dr Okoro", "comment": "echo ordered"}
    assert site.post("/api/acknowledge", json=body).json() == {"status": "acknowledged"}
    ((topic, ack, key),) = site.feed.sent  # and nothing else: hundreds of alerts may be due
    assert (topic, key) == (ECG_ALERTS_ACK, case.key)
    assert (ack.acknowledged_by, ack.comment, ack.record_id) == ("Dr Okoro", "echo ordered", alert.record_id)
    assert not ack.authenticated  # anybody may type a name
    (due,) = site.feed.state.alerts.due(NOW)
    by = AcknowledgedBy(name="Dr Okoro", authenticated=False, at=ack.acknowledged_at)
    assert (due.key, due.alert) == (case.key, msgspec.structs.replace(alert, status="acknowledged", acknowledgement=by))
    rows = {row["identifier"]: row for row in site.get("/api/record", params={"id": alert.record_id}).json()["alerts"]}
    assert rows[alert.identifier]["acknowledgement"]["acknowledged_by"] == "Dr Okoro"


def test_somebody_shelves_a_finding_with_an_end_and_a_reason_and_ends_it_before_its_time(site, case):
    alert = case.alerts[0]
    body = {"identifier": alert.identifier, "hours": 8, "reason": "known, treated", "by": "Dr Okoro"}
    assert site.post("/api/shelve", json=body).json() == {"status": "shelved"}
    ((topic, shelving, key),) = site.feed.sent
    assert (topic, key) == (ECG_ALERTS_SHELVED, alert.subject.encode())
    assert (shelving.subject, shelving.code, shelving.reason) == (alert.subject, alert.code, "known, treated")
    assert shelving.until - shelving.shelved_at == timedelta(hours=8)
    (row,) = site.get("/api/shelvings").json()
    assert (row["shelved_by"], row["authenticated"], row["disease"]) == ("Dr Okoro", False, alert.code)
    assert site.feed.state.overview(time.time()).shelved == 1
    ended = {"patient_id": alert.subject, "disease": alert.code, "by": "Dr Okoro"}
    assert site.post("/api/unshelve", json=ended).json() == {"status": "ended"}
    assert site.get("/api/shelvings").json() == []
    assert site.feed.state.alerts.get(alert.identifier).open  # what is open stays open


@pytest.mark.parametrize(
    ("change", "status"),
    [({"hours": 169}, 422), ({"hours": 0}, 422), ({"reason": ""}, 422), ({"by": " "}, 422), ({"identifier": "x"}, 404)],
)
def test_what_has_no_end_no_reason_and_no_name_is_not_shelved(site, case, change, status):
    body = {"identifier": case.alerts[0].identifier, "hours": 8, "reason": "known", "by": "Dr Okoro"}
    assert site.post("/api/shelve", json=body | change).status_code == status
    assert site.feed.sent == []


def test_an_acknowledgement_of_the_ecg_closes_all_its_alerts_at_once(site, case):
    body = {"identifier": case.alerts[0].identifier, "whole_record": True, "by": "Sister Ines"}
    assert site.post("/api/acknowledge", json=body).status_code == 200
    ((topic, message, _),) = site.feed.sent
    assert (topic, message.whole_record) == (ECG_ALERTS_ACK, True)
    assert [row.status for row in site.feed.state.alerts.all()] == ["acknowledged"] * len(case.alerts)
    assert len(case.alerts) == 2


def test_an_acknowledgement_is_never_dated_before_its_alert_whatever_the_workers_clock_says(site, case):
    now = datetime.now(UTC)
    ahead = msgspec.structs.replace(case.alerts[0], identifier="ahead", onset=now + timedelta(minutes=4))
    feed_all(site.feed.state, [(ECG_ALERTS, b"k", ahead)], now)
    assert site.post("/api/acknowledge", json={"identifier": "ahead", "by": "x"}).status_code == 200
    ((_, ack, _),) = site.feed.sent
    assert ack.acknowledged_at == ahead.onset


def test_the_page_of_a_record_tells_all_that_was_said_of_its_alert(case):
    state, alert = feed_all(new_state(), case.messages()), case.alerts[0]
    said = [ack_of(alert), ack_of(alert, by="Dr Okoro"), msgspec.structs.replace(ack_of(alert), record_id="other")]
    for offset, message in enumerate(said):
        state.receive(ECG_ALERTS_ACK, case.key, encode_message(message), NOW.timestamp(), place=Place(1, offset))
    (row,) = [row for row in compose_page(state, alert.record_id).alerts if row.identifier == alert.identifier]
    assert row.status == "acknowledged"
    assert (row.acknowledgement.acknowledged_by, row.acknowledgement.doubt) == ("Sister Ines", None)
    assert [(one.acknowledged_by, one.doubt) for one in row.further] == [
        ("Dr Okoro", None),
        ("Sister Ines", "other_record"),
    ]


def test_what_kafka_did_not_take_is_not_acknowledged(site, case):
    from aiokafka.errors import KafkaTimeoutError

    site.feed.failure = KafkaTimeoutError()
    answer = site.post("/api/acknowledge", json={"identifier": case.alerts[0].identifier, "by": "x"})
    assert answer.status_code == 503
    assert {row.status for row in site.feed.state.alerts.all()} == {"raised"}
    assert site.get("/healthz").status_code == 503
    assert 'server_answers{server="kafka"} 0.0' in site.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"[]", 422), (b'{"identifier": "no such", "by": "x"}', 404), (b'{"identifier": "a", "by": ""}', 422)]
    + [(b'{"identifier": "a"}', 422), (b'{"identifier": "a", "by": " "}', 422)]
    + [(msgspec.json.encode({"identifier": "a", "by": name}), 422) for name in ("Prof. X\u202e", "a\x00", "\u200b")],
)
def test_an_impossible_acknowledgement_is_refused(site, body, status):
    answer = site.post("/api/acknowledge", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_comment_beyond_the_contract_is_refused(site, case):
    body = {"identifier": case.alerts[0].identifier, "by": "x", "comment": "x" * 2001}
    answer = site.post("/api/acknowledge", json=body)
    assert answer.status_code == 422
    assert site.feed.sent == []


def test_a_cine_is_asked_for_again_by_the_same_request(site, case):
    assert site.post("/api/regenerate", json={"record_id": case.record.record_id}).status_code == 200
    assert site.feed.sent == [(CMR_REQUESTS, case.request, case.key)]
    assert decode_message(CmrRequest, encode_message(site.feed.sent[0][1])) == case.request
    assert site.post("/api/regenerate", json={"record_id": "unknown"}).status_code == 404


def test_what_the_dashboard_sends_is_in_the_contract():
    sends = [
        lookup(operation["channel"]["$ref"])["address"]
        for operation in asyncapi()["operations"].values()
        if operation["action"] == "send" and operation["summary"].startswith("The dashboard")
    ]
    assert sorted(sends) == [CMR_REQUESTS, ECG_ALERTS_ACK, ECG_ALERTS_SHELVED]


def test_the_page_of_a_record(site, case):
    page = site.get("/api/record", params={"id": case.record.record_id}).json()
    assert page["report"]["report_id"] == case.report.report_id
    assert [row["disease"] for row in page["alerts"]] == [alert.code for alert in case.alerts]
    assert page["requested"]
    assert sum(len(group["lines"]) for group in page["meaning"]["groups"]) + 3 * 16 == 82 + 1  # and the middle's mean
    assert site.get("/api/record", params={"id": "unknown"}).status_code == 404
    assert site.get("/api/record").status_code == 404


def test_the_ecg_is_given_as_it_was_recorded(site, case):
    site.redis[f"cardiacnets:waveform:{case.record.record_id}"] = encode_ecg(case.record)
    answer = site.get("/api/ecg", params={"id": case.record.record_id})
    head = msgspec.json.decode(answer.headers["x-head"])
    assert head["leads"] == list(LEADS)
    assert (head["sample_rate_hz"], head["microvolts_per_step"], head["n_samples"]) == (500.0, 5.0, 5000)
    assert answer.content == case.record.samples


def test_missing_leads_are_computed_and_missing_samples_stay_missing():
    two = np.array([[100, 200, -32768, 32000], [300, 100, 100, -32000]], "<i2")
    chest = np.zeros((6, 4), "<i2")
    samples = np.concatenate([chest, two])
    names = (*LEADS[6:], "MDC_ECG_LEAD_I", "ii")
    record = EcgRecord(
        record_id="x", leads=names, sample_rate_hz=500.0, microvolts_per_step=1.0, samples=samples.tobytes()
    )
    head, value = arrange_ecg(record)
    leads = dict(zip(head.leads, np.frombuffer(value, "<i2").reshape(12, -1).tolist(), strict=True))
    assert head.derived == ("III", "aVR", "aVL", "aVF")
    assert leads["I"] == two[0].tolist()
    assert leads["III"] == [200, -100, -32768, -32767]
    assert leads["aVR"] == [-200, -150, -32768, 0]
    with pytest.raises(UnusableSignal, match="missing"):
        arrange_ecg(msgspec.structs.replace(record, leads=("Vx", *names[1:])))


def test_only_the_seconds_that_were_screened_are_drawn(case):
    long = msgspec.structs.replace(case.record, sample_rate_hz=250.0)
    head, value = arrange_ecg(long)
    assert head.n_samples == 2500
    assert len(value) == 12 * 2500 * 2


def test_what_redis_does_not_have_or_does_not_tell_is_said(site, case):
    name = case.record.record_id
    key = f"cardiacnets:waveform:{name}"
    assert site.get("/api/ecg", params={"id": name}).status_code == 404
    assert site.get("/api/cine", params={"id": name}).status_code == 404
    site.redis[key], site.cines[name] = RedisConnectionError("gone"), RedisUnavailable("gone")
    assert site.get("/api/ecg", params={"id": name}).status_code == 503
    assert site.get("/api/cine", params={"id": name}).status_code == 503
    site.redis[key] = b"no Avro"
    answer = site.get("/api/ecg", params={"id": name})
    assert answer.status_code == 422
    assert "is not drawn" in answer.json()["error"]


def test_an_ecg_that_was_not_flagged_or_lacks_a_lead_is_given_as_far_as_it_goes(site, case):
    name = case.record.record_id
    key = f"cardiacnets:waveform:other:{name}"
    site.redis[key] = encode_ecg(case.record)
    assert site.get("/api/ecg", params={"id": name}).content == case.record.samples
    leads = (*LEADS[:-2], "Lead V4", "noise")  # V4 twice, neither V5 nor V6
    site.redis[key] = encode_ecg(msgspec.structs.replace(case.record, leads=leads))
    answer = site.get("/api/ecg", params={"id": name})
    assert msgspec.json.decode(answer.headers["x-head"])["leads"] == [*LEADS[:9]]
    assert answer.content == case.record.samples[: 9 * 5000 * 2]


def test_an_ecg_of_another_record_under_a_records_key_is_not_drawn(site, case):
    key, name = f"cardiacnets:waveform:{case.record.record_id}", {"id": case.record.record_id}
    at = case.record.recorded_at + timedelta(seconds=1)
    for reason, changes in (
        ("another record", {"record_id": "other"}),
        ("another patient", {"patient_id": "other"}),
        ("another patient", {"patient_id": None}),
        ("another time of recording", {"recorded_at": at}),
    ):
        site.redis[key] = encode_ecg(msgspec.structs.replace(case.record, **changes))
        answer = site.get("/api/ecg", params=name)
        assert (answer.status_code, reason in answer.json()["error"]) == (422, True)


def test_an_ecg_is_held_against_its_alert_where_its_report_is_no_longer_kept(site, case):
    site.feed.state = feed_all(new_state(), [(ECG_ALERTS, b"x", case.alerts[0])])
    key, name = f"cardiacnets:waveform:{case.record.record_id}", {"id": case.record.record_id}
    site.redis[key] = encode_ecg(case.record)
    assert site.get("/api/ecg", params=name).status_code == 200
    site.redis[key] = encode_ecg(msgspec.structs.replace(case.record, patient_id="other"))
    assert site.get("/api/ecg", params=name).status_code == 422


def test_a_value_that_is_larger_than_any_ecg_is_not_fetched(site, case):
    fetched = []

    async def get(key):
        fetched.append(key)
        return b""

    async def strlen(_):
        return 50 * 2**20

    site.redis.strlen, site.redis.get = strlen, get
    answer = site.get("/api/ecg", params={"id": case.record.record_id})
    assert (answer.status_code, fetched) == (422, [])
    assert "52,428,800 bytes" in answer.json()["error"]


def test_a_cine_whose_provenance_names_something_else_is_not_shown_and_that_is_said(site, case):
    name = case.record.record_id
    for reason, changes in (
        ("another record", {"record_id": "other"}),
        ("another report", {"report_id": "a-report-that-is-not"}),
        ("another request", {"seed": 8}),
        ("another embedding", {"embedding": embedding_digest([0.5] * 256)}),
    ):
        site.cines[name] = replace(case.cine, provenance=replace(case.cine.provenance, **changes))
        answer = site.get("/api/cine", params={"id": name})
        assert (answer.status_code, reason in answer.json()["error"]) == (422, True)
    own = replace(case.cine.provenance, embedding=embedding_digest(case.request.embedding))
    site.cines[name] = replace(case.cine, provenance=own)
    assert site.get("/api/cine", params={"id": name}).status_code == 200


def test_the_cine_comes_with_its_geometry_and_the_words(site, case):
    awkward = replace(case.cine.provenance, notice="synthetic: é\n☃")
    site.cines[case.record.record_id] = replace(case.cine, provenance=awkward)
    answer = site.get("/api/cine", params={"id": case.record.record_id})
    head = msgspec.json.decode(answer.headers["x-head"])
    assert np.array_equal(np.frombuffer(answer.content, np.uint8).reshape(case.cine.frames.shape), case.cine.frames)
    assert head["geometry"]["rows"] == case.cine.geometry.rows
    assert head["provenance"]["notice"] == "synthetic: é\n☃"
    assert case.cine.provenance.notice == "synthetic: drawn from an ECG, not a measurement"


def test_the_report_is_downloaded_as_fhir(site, case):
    answer = site.get("/api/fhir", params={"id": case.record.record_id})
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert f"report-{case.report.report_id}.fhir.json" in answer.headers["content-disposition"]
    assert answer.json()["resourceType"] == "Bundle"


def test_lists_are_bounded_whatever_is_asked(site):
    for limit in ("5", "-1", "99999", "x", "٣", "9" * 50):
        assert site.get("/api/records", params={"limit": limit}).status_code == 200
    assert site.get("/api/rejections", params={"q": "x" * 1000}).json() == []


def test_one_page_too_many_is_told(site):
    async def crowd():
        pages = [site.feed.hub.stream(None) for _ in range(5)]
        for page in pages:
            await anext(page)
        full = await site._send("GET", "/api/events")
        for page in pages:
            await page.aclose()
        return full

    answer = asyncio.run(crowd())
    assert answer.status_code == 503
    assert "too many pages" in answer.json()["error"]
