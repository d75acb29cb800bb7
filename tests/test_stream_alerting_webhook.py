"""The webhook of alerts, to a real receiver that is down, slow, out of order, gone and back."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import keepers
import msgspec
import pytest
import trustme
from pager import KEY, SECRET, TAKEN, pager
from prometheus_client import CollectorRegistry
from secure_door import server_context
from structlog.testing import capture_logs
from waiting import eventually

from schemas.errors import DeploymentError, InvalidSettings
from schemas.messages import Alert, Quality, QualityWarning
from stream.alerting.moves import Moves
from stream.alerting.webhook import Webhook
from stream.alerting.webhook_metrics import WebhookMetrics
from stream.alerting.webhook_page import Page, compose_page, signed_headers
from stream.alerting.webhook_queue import PageQueue, Patience
from stream.broker.http_exchange import retry_after_s
from stream.settings import AlertSettings, Settings

HURRIED = Patience(first_s=0.02, longest_s=0.1, told_s=0.2)
DASHBOARD = "https://heart.example/cardiacnets/"


def alert(identifier="a", status="raised", *, priority="high"):
    """Return a doubtful alert of a moment ago."""
    base = keepers.alert(identifier, record_id=f"record {identifier}&", subject="a-pseudonym", priority=priority)
    warning = QualityWarning(code="baseline_wander", detail="lead V3 wanders by 0.6 mV", numbers={})
    return msgspec.structs.replace(
        base,
        status=status,
        site="ward-7",
        device_id="cart-3",
        risks=(msgspec.structs.replace(base.risks[0], probability=0.987, reasons=("paced",)),),
        ecg_quality=Quality(warnings=(warning,), sample_rate_hz=500.0, duration_s=10.0, derived_leads=()),
    )


def changed(one, status, **changes):
    return msgspec.structs.replace(one, status=status, **changes)


def settings_of(receiver, **changes):
    scheme = "https" if receiver.context else "http"
    flat = {"url": f"{scheme}://127.0.0.1:{receiver.port}/alerts?to=ward", "secret": SECRET, "timeout_s": 0.3}
    return Settings.of(**{f"alert_webhook_{name}": value for name, value in (flat | changes).items()}).webhook


@asynccontextmanager
async def telling(receiver, *alerts, patience=HURRIED, **changes):
    """Give a webhook that runs and has these alerts to tell, with what it has counted."""
    registry = CollectorRegistry()
    made = Webhook(settings_of(receiver, **changes), AlertSettings(), WebhookMetrics(registry), patience)
    async with made as hook:
        handed = []
        hook.hand_on = lambda one: handed.append(asyncio.create_task(hook.tell(one, one.status))) or handed[-1]
        hook.sample = lambda name, **labels: registry.get_sample_value(f"cardiacnets_alert_webhook_{name}", labels)
        hook.number = lambda outcome: hook.sample("messages_total", outcome=outcome)
        for one in alerts:
            hook.hand_on(one)
        yield hook
        for task in handed:
            task.cancel()
        await asyncio.gather(*handed, return_exceptions=True)


async def test_a_receiver_that_is_down_slow_out_of_order_and_back_is_told_each_state_under_one_id():
    first, second = alert("first"), alert("second")
    with pager() as receiver, capture_logs() as logs:
        async with telling(receiver) as hook:
            await hook.hand_on(first)
            assert hook.number("confirmed") == 1
            receiver.close()
            waiting = hook.hand_on(second)
            await eventually(lambda: hook.sample("failing_seconds") > 0)
            receiver.answer = None
            receiver.open()
            await eventually(lambda: sum(one.is_known for one in receiver.tries) >= 1)  # it was too slow
            receiver.answer = (500,)
            await eventually(lambda: [one.answered for one in receiver.tries].count(500) >= 2)
            assert not waiting.done()  # whoever hands on learns when it was told
            receiver.answer = TAKEN
            await waiting
            await asyncio.gather(*map(hook.hand_on, (first, second, changed(first, "escalated"))))
            assert hook.number("confirmed") == 3  # the topic may repeat a state
            assert (hook.sample("waiting_messages"), hook.sample("failing_seconds")) == (0, 0)
    assert all(one.signed for one in receiver.tries)
    assert len(receiver.kept) == len({one.message_id for one in receiver.tries}) == 3
    assert len({one.body for one in receiver.tries}) == 3  # what is told under one id is one text
    assert [entry["event"] for entry in logs] == ["webhook_receiver_fails", "webhook_receiver_is_back"]
    assert str(receiver.port) not in str(logs)  # receivers know their senders by a secret in the address


async def test_what_a_keeper_could_not_tell_the_next_one_tells_under_the_id_that_it_had():
    lines = [(10, alert("first")), (12, alert("second")), (15, alert("third"))]
    with pager() as receiver:
        async with telling(receiver) as hook:
            moves = Moves(hook.tell)
            moves.hand_on(0, *lines[0])
            await eventually(lambda: hook.number("confirmed") == 1)
            receiver.answer = None
            for line in lines[1:]:
                moves.hand_on(0, *line)
            await eventually(lambda: len(receiver.tries) >= 3)
            begins_at = moves.done(0)
            await moves.finish(0.01)
        receiver.answer = TAKEN
        async with telling(receiver) as hook:
            moves = Moves(hook.tell)
            for offset, one in lines:
                if offset >= begins_at:
                    moves.hand_on(0, offset, msgspec.json.decode(msgspec.json.encode(one), type=Alert))
            await eventually(lambda: hook.number("confirmed") == 2)
    assert begins_at == 12
    assert list(receiver.kept) == list(dict.fromkeys(tried.message_id for tried in receiver.tries))
    assert len(receiver.kept) == 3
    assert len({tried.body for tried in receiver.tries}) == 3


async def test_states_and_priorities_that_are_not_asked_for_are_not_told_and_nobody_waits_for_them():
    with pager() as receiver:
        async with telling(receiver) as hook:
            others = alert("a", priority="medium"), alert("b", "expired"), alert("c", "acknowledged")
            await asyncio.gather(*map(hook.hand_on, others))
            assert hook.sample("waiting_messages") == 0
    assert receiver.tries == []


async def test_what_was_acknowledged_while_the_receiver_was_down_is_not_told_any_more():
    one, other = alert("one"), alert("other")
    with pager() as receiver:
        receiver.close()
        async with telling(receiver, other) as hook:
            waiting = hook.hand_on(one)
            await eventually(lambda: hook.sample("failing_seconds") > 0)
            await hook.hand_on(changed(one, "acknowledged"))
            await waiting
            assert hook.number("overtaken") == 1
            tried = hook.sample("tries_total", answer="none")
            await eventually(lambda: hook.sample("tries_total", answer="none") >= tried + 2)  # its own has ended
            receiver.open()
            await eventually(lambda: hook.number("confirmed") == 1)
        assert [msgspec.json.decode(body)["data"]["identifier"] for body in receiver.kept.values()] == ["other"]


async def test_nothing_is_sent_while_later_states_may_still_be_read():
    one, later = alert("one"), alert("later")
    with pager() as receiver:
        async with telling(receiver) as hook:
            hook.waits = lambda: True
            hook.hand_on(one)
            last = hook.hand_on(later)
            await hook.hand_on(changed(one, "acknowledged"))
            hook.waits = lambda: False
            await last
        assert [msgspec.json.decode(tried.body)["data"]["identifier"] for tried in receiver.tries] == ["later"]


async def test_a_receiver_that_answers_410_is_told_nothing_more_and_all_is_counted():
    with pager() as receiver, capture_logs() as logs:
        receiver.answer = (410,)
        async with telling(receiver) as hook:
            await asyncio.gather(*(hook.hand_on(alert(f"a{n}")) for n in range(20)))
            await hook.hand_on(alert("later"))
            assert hook.number("receiver_gone") == 21
    assert len(receiver.tries) <= Patience().at_once
    assert {"webhook_receiver_is_gone", "webhook_pages_given_up"} <= {one["event"] for one in logs}


async def test_what_is_given_up_is_counted_and_nobody_waits_for_it_any_more():
    with pager() as receiver, capture_logs() as logs:
        receiver.answer = (503,)
        async with telling(receiver, deadline_s=0.2) as hook:
            await hook.hand_on(alert())
            assert hook.number("too_late") == 1
            assert hook.sample("tries_total", answer="5xx") >= 2
    assert logs[-1] == {"event": "webhook_pages_given_up", "log_level": "error", "too_late": 1}


async def test_a_mistake_of_ours_while_sending_is_raised_to_whoever_hands_on():
    with pager() as receiver:
        async with telling(receiver) as hook:
            hook._post = lambda *_: None
            with pytest.raises(ExceptionGroup):
                await hook.hand_on(alert())


async def test_a_redirect_is_a_failure_and_is_not_followed():
    with pager() as elsewhere, pager() as receiver:
        receiver.answer = (307, f"http://127.0.0.1:{elsewhere.port}/")
        async with telling(receiver, alert()) as hook:
            await eventually(lambda: len(receiver.tries) >= 2)
            assert hook.number("confirmed") == 0
        assert elsewhere.tries == []


async def test_the_certificate_of_the_receiver_is_checked(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with pager(context=server_context(authority)) as receiver:
        async with telling(receiver, alert()) as hook:  # the system's authorities have not signed it
            await eventually(lambda: hook.sample("failing_seconds") > 0)
        assert receiver.tries == []
        async with telling(receiver, ca_file=tmp_path / "ca.pem") as hook:
            await hook.hand_on(alert())
            assert hook.number("confirmed") == 1
    missing = Settings.of(alert_webhook_url="https://a/b", alert_webhook_secret=SECRET, alert_webhook_ca_file="no.pem")
    with pytest.raises(DeploymentError, match=r"CARDIACNETS_ALERT_WEBHOOK_CA_FILE=no\.pem cannot be used"):
        Webhook(missing.webhook, AlertSettings(), WebhookMetrics(CollectorRegistry()))


# --- what is told


def test_no_more_is_told_than_a_person_needs_who_is_called():
    page = compose_page(alert(), came_at=datetime.now(UTC), ends_at=0.0, dashboard=DASHBOARD)
    told = msgspec.json.decode(page.body)
    assert (told["type"], sorted(told)) == ("alert.raised", ["data", "timestamp", "type"])
    assert set(told["data"]) == {
        *("identifier", "status", "priority", "code", "record_id", "device_id", "site", "onset", "recorded_at"),
        *("doubts", "trained", "weights", "link", "notice"),
    }
    assert told["data"]["doubts"] == ["baseline_wander", "paced"]
    assert told["data"]["link"] == "https://heart.example/cardiacnets/record?id=record%20a%26"
    assert b"a-pseudonym" not in page.body
    assert b"0.987" not in page.body
    assert (
        "link"
        not in msgspec.json.decode(compose_page(alert(), came_at=alert().onset, ends_at=0.0, dashboard=None).body)[
            "data"
        ]
    )


def test_a_known_signature_of_the_specification_comes_out_and_two_secrets_sign_both():
    # The example with which libraries of Standard Webhooks test themselves.
    page = Page("a", "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 0, 0.0)
    keys = Settings.of(
        alert_webhook_url="https://a/b", alert_webhook_secret=f"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw {SECRET}"
    ).webhook.keys
    headers = signed_headers(page, keys, 1614265330.9)
    first, second = headers["webhook-signature"].split()
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signed_headers(page, [KEY], 1614265330.9)["webhook-signature"] == second
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")
    assert "." not in compose_page(alert("a.b"), came_at=alert().onset, ends_at=0.0, dashboard=None).message_id


@pytest.fixture
def documented():
    """Give what the receiver in the documentation does with a message."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "operations.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "webhook-id" in block]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 22
    space = {"__name__": "receiver"}
    exec(code.replace('os.environ["WEBHOOK_SECRET"]', repr(SECRET)), space)
    return space["take"]


async def test_the_receiver_of_the_documentation_takes_what_is_signed_once_and_nothing_else(documented, capsys):
    with pager() as receiver:
        receiver.take = lambda headers, body: (documented(headers, body),)
        for _ in range(2):
            async with telling(receiver) as hook:
                await hook.hand_on(alert("one"))
        async with telling(receiver, alert("two"), secret="whsec_" + "A" * 44) as hook:
            await eventually(lambda: hook.sample("tries_total", answer="4xx") > 0)
    assert capsys.readouterr().out.count("page somebody") == 1


# --- the queue


def page(name, *, urgency=2, ends_at=1e9):
    return Page(name, f"msg_{name}", b"", urgency, ends_at)


def filled(*pages, **changes):
    queue = PageQueue(Patience(**changes), Random(7).uniform)
    for one in pages:
        queue.put(one)
    return queue


def test_the_most_urgent_page_goes_first_and_a_few_are_under_way_at_once():
    queue = filled(*(page(f"p{n}", urgency=n % 3) for n in range(9)))
    taken = [queue.take(0.0) for _ in range(5)]
    assert [one and one.urgency for one in taken] == [0, 0, 0, 1, None]
    queue.succeeded(taken[0])
    assert queue.take(0.0).urgency == 1


def test_while_the_receiver_fails_one_page_at_a_time_tries_and_each_time_another_one():
    queue, now, tried = filled(*(page(f"p{n}") for n in range(5))), 0.0, []
    queue.failed(queue.take(now), now)
    for _ in range(5):
        now += queue.wait_s(now)
        one = queue.take(now)
        assert queue.take(now) is None
        tried.append(one.identifier)
        queue.failed(one, now)
    assert sorted(tried) == [f"p{n}" for n in range(5)]
    now += queue.wait_s(now)
    queue.succeeded(queue.take(now))
    assert queue.wait_s(now) == 0  # it is back, and the others need not wait any more
    assert queue.take(now + 100.0) is not None
    assert queue.take(now + 100.0) is not None


def test_pauses_grow_to_a_bound_are_never_quite_the_same_and_a_page_is_tried_a_bounded_number_of_times():
    queue, now, pauses = filled(page("a"), tries=20), 0.0, []
    while len(queue):
        pauses.append(queue.wait_s(now))
        now += pauses[-1]
        queue.failed(queue.take(now), now)
    assert len(pauses) == 20
    assert all(0.75 * 2**n <= pause <= 1.25 * 2**n for n, pause in enumerate(pauses[1:7]))
    assert all(earlier != later for earlier, later in pairwise(pauses))
    assert max(pauses) <= 1.25 * 60
    assert queue.given_up == {"tried_too_often": 1}


@pytest.mark.parametrize(
    ("told_s", "least", "most"), [(30.0, 30.0, 30.0), (0.001, 0.75, 1.25), (86_400.0, 300.0, 300.0)]
)
def test_a_pause_that_the_receiver_asks_for_is_kept_within_a_bound(told_s, least, most):
    queue = filled(page("a"), page("b"))
    queue.failed(queue.take(0.0), 0.0, told_s)
    assert least <= queue.wait_s(0.0) <= most


def test_a_header_holds_seconds_or_a_date_and_anything_else_asks_for_nothing():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    assert 57 < retry_after_s(in_a_minute) <= 60
    assert [retry_after_s(text) for text in ("7", "soon", "-1", "9" * 400, None)] == [7.0, None, None, None, None]


def test_a_page_is_given_up_when_it_is_too_late_and_the_least_urgent_when_too_many_wait():
    queue = filled(page("late", ends_at=10.0), page("urgent", urgency=0, ends_at=20.0), page("next"), pages=2)
    assert len(queue) == 2
    assert queue.given_up == {"too_many": 1}
    assert queue.take(15.0).identifier == "urgent"
    queue.failed(queue.take(15.0) or page("x"), 15.0)
    later = filled(page("late", ends_at=10.0), page("on time"))
    assert later.take(11.0).identifier == "on time"
    assert later.given_up == {"too_late": 1}


def test_a_later_state_waits_until_the_earlier_one_is_no_longer_under_way_and_takes_its_place():
    queue = filled(earlier := page("a"))
    assert queue.take(0.0) is earlier
    queue.put(later := Page("a", "msg_later", b"", 0, 1e9))
    assert queue.take(0.0) is None
    queue.failed(earlier, 0.0)  # nobody needs it any more
    assert queue.take(queue.wait_s(0.0)) is later
    queue.succeeded(later)
    assert len(queue) == 0


def test_a_flood_of_changing_states_takes_a_bounded_room():
    queue = filled(page("down"))
    queue.failed(queue.take(0.0), 0.0)
    for n in range(10_000):
        queue.put(Page("a", f"msg_{n}", b"", 0, 1e9))
    assert len(queue) == 2
    assert len(queue._order) < 200


# --- the settings


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"url": "https://a/b"}, "alert_webhook_url and alert_webhook_secret go together"),
        ({"secret": SECRET}, "go together"),
        ({"url": "http://pager.example/t0ken", "secret": SECRET}, "without encryption: write https://, or set"),
        (
            {"url": "https://user:t0ken@a/b", "secret": SECRET},
            "write a URL with https:// or http://, in ASCII, without user",
        ),
        ({"url": "https://a/t0ken\u00fc", "secret": SECRET}, "write a URL with https:// or http://, in ASCII, without"),
        ({"url": "https://a:99999/t0ken", "secret": SECRET}, "is not an address such as"),
        ({"url": "https://a/b", "secret": "t0ken"}, "ALERT_WEBHOOK_SECRET has an impossible value: write whsec_"),
        ({"url": "https://a/b", "secret": "whsec_t0ken" + "A" * 32}, "holds no base64 behind whsec_"),
        ({"on": "escalated, risen:high"}, "names 'risen:high': the states are raised, escalated"),
        ({"on": "raised:urgent"}, "and the priorities high, medium, low"),
        ({"ca_file": "x"}, "need alert_webhook_url"),
    ],
)
def test_half_of_a_webhook_is_refused_in_a_sentence_that_shows_no_secret(flat, words):
    with pytest.raises(InvalidSettings, match=re.escape(words)) as refused:
        Settings.of(**{f"alert_webhook_{name}": value for name, value in flat.items()})
    assert "t0ken" not in str(refused.value)


def test_no_text_shows_address_or_secret_of_the_webhook():
    settings = Settings.of(alert_webhook_url="https://pager.example/t0ken", alert_webhook_secret=SECRET)
    assert "t0ken" not in repr(settings)
    assert SECRET not in repr(settings)


def test_the_settings_say_which_states_are_told():
    assert Settings().webhook.occasions == {("escalated", each) for each in ("high", "medium", "low")} | {
        ("raised", "high")
    }
    assert Settings.of(alert_webhook_on="acknowledged").webhook.occasions == {
        ("acknowledged", each) for each in ("high", "medium", "low")
    }
