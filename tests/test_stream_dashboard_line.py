"""The dashboard in a real browser, when answers come late or never, and when its line breaks."""

import asyncio
import os
import re
import signal
import time
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import msgspec
from dashboard_browser import flagged_case, in_chromium, row_of
from dashboard_ward import MODEL, publish
from redis.asyncio import Redis
from waiting import PATIENCE_S

from schemas.messages import Acknowledgement
from schemas.topics import ECG_ALERTS_ACK, ECG_RISK
from stream.dashboard.feed import Feed, Header
from stream.dashboard.state import DashboardState

pytest_plugins = ["browser_fixtures"]
pytestmark = in_chromium


def hold(page, pattern, wanted=lambda _: True):
    """Return a list that the first request of a pattern goes to, with its answer, which is not given yet."""
    held = []

    def handle(route):
        if held or not wanted(route.request.url):
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route(pattern, handle)
    return held


def release(page, held):
    """Give the answer that was held back, and let the page draw."""
    route, answer = held[0]
    with page.expect_response(route.request.url):
        route.fulfill(response=answer)
    draw(page)


def draw(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def wait_for(page, condition):
    """Wait for what only we can see, while the page goes on."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


def test_records_that_come_after_the_person_went_back_to_the_alerts_are_not_drawn(site):
    case = site.show(flagged_case(14))
    page = site.open()
    row_of(page, case).wait_for()
    held = hold(page, "**/api/records?*")
    page.get_by_role("link", name="Records").click()
    wait_for(page, lambda: held)
    page.get_by_role("link", name="Alerts").click()
    row_of(page, case).wait_for()
    release(page, held)
    assert page.locator(".row.record").count() == 0
    assert row_of(page, case).count() == 1


def test_what_an_older_search_finds_is_not_drawn_over_a_newer_one(site):
    older, newer = (site.show(flagged_case(number)).record.record_id for number in (15, 16))
    page = site.open("/?list=records")
    page.locator(".row.record").first.wait_for()
    held = hold(page, "**/api/records?*", lambda url: older in url)
    page.get_by_label("Patient or record").fill(older)
    wait_for(page, lambda: held)
    page.get_by_label("Patient or record").fill(newer)
    page.wait_for_function("() => document.querySelectorAll('.row.record').length === 1")
    release(page, held)
    assert page.locator(".row.record").get_attribute("data-record") == newer


def test_an_older_answer_does_not_take_an_acknowledgement_off_the_page(site):
    case = site.show(flagged_case(17))
    page = site.open_record(case)
    page.locator("canvas.cine").wait_for()
    held = hold(page, "**/api/record?*")
    site.run(publish(site.settings, (ECG_RISK, case.key, case.report)))
    wait_for(page, lambda: held)
    alert = case.alerts[0]
    ack = Acknowledgement(
        identifier=alert.identifier,
        record_id=alert.record_id,
        acknowledged_by="Sister Ines",
        comment="",
        acknowledged_at=datetime.now(UTC),
    )
    site.run(publish(site.settings, (ECG_ALERTS_ACK, case.key, ack)))
    acknowledged = page.get_by_text("Acknowledged by Sister Ines")
    acknowledged.wait_for()
    release(page, held)
    assert acknowledged.is_visible()


def test_an_untrained_alert_says_nothing_of_the_record_that_is_open(site):
    page = site.open_record(site.show(flagged_case(18)))
    page.locator("canvas.cine").wait_for()
    untrained = flagged_case(19, model=msgspec.structs.replace(MODEL, trained=False))
    site.run(publish(site.settings, *untrained.messages()))
    page.locator("#announcer", has_text=untrained.record.patient_id).wait_for(state="attached")
    draw(page)
    assert page.locator("#untrained").is_hidden()
    page.keyboard.press("Escape")
    row_of(page, untrained).wait_for()
    assert page.locator("#untrained").is_visible()


def test_an_alert_appears_under_a_hand_that_never_rests(site):
    page = site.open()
    row_of(page, site.show(flagged_case(20))).wait_for()
    box = page.locator("#rows").bounding_box()
    case = flagged_case(21)
    page.mouse.move(box["x"] + 50, box["y"] + 20)
    site.run(publish(site.settings, *case.messages()))
    end = time.monotonic() + 60
    while not (appeared := row_of(page, case).count()) and time.monotonic() < end:
        page.mouse.move(box["x"] + 50 + time.monotonic() % 1 * 20, box["y"] + 20)
        page.wait_for_timeout(50)
    assert appeared


def test_what_was_sent_is_not_cancelled_and_its_answer_leaves_the_next_dialogue_alone(site):
    first, second = (site.show(flagged_case(number)) for number in (22, 23))
    page = site.open()
    held = hold(page, "**/api/acknowledge")

    def ask(case):
        row_of(page, case).locator("a").focus()
        page.keyboard.press("a")
        page.locator("dialog[open]").wait_for()

    ask(first)
    page.locator("#acknowledge-name").fill("Sister Ines")
    page.locator("#acknowledge-send").click()
    wait_for(page, lambda: held)
    assert page.locator("#acknowledge-cancel").is_disabled()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 1
    page.evaluate("document.querySelector('dialog').close()")  # as a browser does at a second Escape
    ask(second)
    assert page.locator("#acknowledge-cancel").is_enabled()
    release(page, held)
    assert second.record.patient_id in page.locator("dialog[open]").inner_text()


def test_a_record_that_is_not_found_any_more_keeps_its_patient_above_it(site):
    case = site.show(flagged_case(24))
    page = site.open_record(case)
    page.locator("canvas.cine").wait_for()
    page.route("**/api/record?*", lambda route: route.fulfill(status=404, json={"error": "this record is unknown"}))
    site.run(publish(site.settings, (ECG_RISK, case.key, case.report)))
    page.get_by_text("this record is unknown").wait_for()
    assert page.locator("h1", has_text=case.record.patient_id).is_visible()
    site.faults.clear()  # the 404


def test_pages_that_came_during_the_replay_are_told_when_it_is_over(site):
    async def listen():
        async with Redis.from_url(site.settings.redis.url) as redis, Feed(site.settings, redis) as feed:
            assert not feed.caught_up
            async with aclosing(feed.hub.stream(None)) as events, asyncio.timeout(PATIENCE_S):
                snapshot = [(await anext(events)).event for _ in range(3)]
                while (await anext(events)).event != "ready":
                    pass
            return snapshot, feed.caught_up

    assert site.run(listen()) == (["reset", "overview", "ready"], True)


def test_a_worker_that_is_down_is_told_with_the_age_of_its_last_report(site):
    page = site.open(before=LINES)
    page.locator("#connection[data-state=live]").wait_for()
    site.run(publish(site.settings, *flagged_case(39).messages()))
    page.get_by_text(re.compile(r"last report \d+ s ago")).wait_for()
    state = DashboardState(10, site.settings.alerts, started_at=0.0).overview(0.0)
    state = msgspec.structs.replace(state, last_report=time.time() - 780, unanswered_since=time.time() - 720)
    data = msgspec.json.encode(Header(state, 0, kafka=True, redis=True)).decode()
    trouble, visible = page.evaluate(
        """data => {
            lines[0].dispatchEvent(new MessageEvent('overview', { data }));
            return [document.querySelector('#trouble').innerText, document.body.innerText];
        }""",
        data,  # looked at before the server's own overview can come
    )
    assert re.search(r"ECGs arrive, but none has been answered since \d\d:\d\d\. Is a worker running\?", trouble)
    assert "last report 13 min ago" in visible


class DeafRedis:
    """Misses once that it is cancelled, as redis-py may."""

    def __init__(self):
        self.asked = asyncio.Event()

    async def ping(self):
        if not self.asked.is_set():
            self.asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)


def test_leaving_ends_a_job_that_missed_that_it_was_to_end(site):
    async def leave():
        redis = DeafRedis()
        async with asyncio.timeout(PATIENCE_S), Feed(site.settings, redis):
            await redis.asked.wait()

    site.run(leave())


def test_a_server_that_does_not_answer_is_given_up_in_words(site):
    page = site.open(
        before="const { timeout } = AbortSignal; AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 100);"
    )
    page.route("**/api/records?*", lambda _: None)
    page.get_by_role("link", name="Records").click()
    page.get_by_text("The list cannot be fetched: the server did not answer within 40 seconds").wait_for()


def test_a_record_that_cannot_be_fetched_at_first_is_drawn_when_it_can(site):
    case = site.show(flagged_case(31))
    page = site.open()
    row_of(page, case).wait_for()
    page.route("**/api/record?*", lambda route: route.abort())
    row_of(page, case).locator("a").first.click()
    page.get_by_text("the server cannot be reached").wait_for()
    assert page.locator("h1").last.inner_text() == "Record"  # whose it is, nobody knows yet
    page.unroute("**/api/record?*")
    site.run(publish(site.settings, (ECG_RISK, case.key, case.report)))
    page.locator("h1", has_text=case.record.patient_id).wait_for()
    assert page.get_by_text("the server cannot be reached").count() == 0
    site.faults.clear()  # the request that failed


# --- the line to the server

LINES = """
    const { EventSource } = window;
    window.lines = [];
    window.EventSource = class extends EventSource { constructor(path) { super(path); lines.push(this); } };
"""


def test_a_line_on_which_nothing_comes_is_dead_and_another_is_tried(site):
    page = site.open(before=LINES)
    page.clock.install()
    page.reload()
    live = page.locator("#connection[data-state=live]")
    live.wait_for()
    case = flagged_case(25)
    os.kill(site.child.process.pid, signal.SIGSTOP)
    try:
        page.wait_for_timeout(200)  # for what is under way
        page.clock.fast_forward(20_000)
        page.evaluate("lines[0].dispatchEvent(new MessageEvent('beat', { data: '{}' }))")
        page.clock.fast_forward(20_000)
        assert live.is_visible()
        page.clock.fast_forward(31_000)
        page.locator("#connection[data-state=lost]").wait_for()
        assert page.locator("#trouble", has_text="No connection since").is_visible()
        assert page.title() == "(disconnected) CardiacNets"
        page.clock.fast_forward(31_000)  # nor is the next one answered
        site.run(publish(site.settings, *case.messages()))
    finally:
        os.kill(site.child.process.pid, signal.SIGCONT)
    live.wait_for()
    row_of(page, case).wait_for()
    assert page.locator("#trouble").is_hidden()
    assert page.evaluate("lines.map((line) => line.readyState)") == [2, 2, 1]


def test_a_record_that_nobody_looks_at_keeps_no_line_and_misses_nothing(site):
    case = site.show(flagged_case(26))
    page = site.open(f"/record?id={case.record.record_id}", before=LINES)
    live = page.locator("#connection[data-state=live]")
    live.wait_for()
    _see(page, hidden=True)
    assert page.evaluate("lines.map((line) => line.readyState)") == [2]
    assert page.title() == "(paused) CardiacNets"
    acknowledgement = Acknowledgement(
        identifier=case.alerts[0].identifier,
        record_id=case.record.record_id,
        acknowledged_by="Dr Okoro",
        comment="seen elsewhere",
        acknowledged_at=datetime.now(UTC),
    )
    site.run(publish(site.settings, (ECG_ALERTS_ACK, case.key, acknowledgement)))
    _see(page, hidden=False)
    live.wait_for()
    page.get_by_text("seen elsewhere").wait_for()
    page.wait_for_function("() => /^(\\(\\d+\\) )?CardiacNets$/.test(document.title)")
    assert page.evaluate("lines.map((line) => line.readyState)") == [2, 1]


def test_a_list_in_another_tab_goes_on_counting(site):
    page = site.open(before=LINES)
    page.locator("#connection[data-state=live]").wait_for()
    _see(page, hidden=True)
    before = page.title()
    site.show(flagged_case(27))
    page.wait_for_function(
        "before => document.title !== before && /^\\(\\d+\\) CardiacNets$/.test(document.title)", arg=before
    )
    assert page.evaluate("lines.map((line) => line.readyState)") == [1]


def _see(page, hidden):
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_what_cannot_be_read_is_told_to_operators_and_the_log_says_where_it_lies(site, ground):
    page = site.open()
    site.run(publish(site.settings, (ECG_RISK, b"key", b"a patient's secret")))
    page.locator(
        '#connection[title*="could not be read since the dashboard\'s start: 1. Its log says where"]'
    ).wait_for()
    page.locator("#trouble").wait_for(state="hidden")  # who watches over a ward can do nothing about it
    log = ground[2].read_text()
    assert re.search(r'"offsets": \[\d+\].*"event": "messages_unreadable"', log)
    assert "secret" not in log
