"""The dashboard in a real browser: what it shows, and what a person does with it."""

import base64
import re
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
from dashboard_browser import PROXY, Site, flagged_case, in_chromium, row_of, row_with
from dashboard_ward import TOKEN, dashboard_process, keep_cine, publish, simulate_case
from redis.asyncio import Redis
from reverse_proxy import reverse_proxy
from waiting import PATIENCE_S, wait_until

from schemas.messages import Acknowledgement, Alert, CmrRequest
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS, ECG_ALERTS_ACK, ECG_RISK
from stream.cines.store import cine_key

pytest_plugins = ["browser_fixtures"]
pytestmark = in_chromium


def pixels(page, selector):
    """Return a canvas's pixels, (rows, columns, 4) uint8."""
    width, height, data = page.eval_on_selector(
        selector,
        "c => [c.width, c.height, btoa(Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data,"
        " b => String.fromCharCode(b)).join(''))]",
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def test_an_alert_appears_within_two_seconds(site):
    page = site.open()
    page.locator("#connection[data-state=live]").wait_for()
    seconds = []
    while not seconds or (min(seconds) >= 2 and len(seconds) < 20):  # on a busy machine some are late
        case = flagged_case(1000 + len(seconds))
        site.run(publish(site.settings, *case.messages()))
        sent = time.monotonic()
        row_of(page, case).wait_for()
        seconds.append(time.monotonic() - sent)
    assert min(seconds) < 2, seconds
    text = row_of(page, case).inner_text()
    for word in ("Heart failure", "90 %", "threshold 21 %", case.record.patient_id, "High", "Raised"):
        assert word in text
    page.locator("#announcer", has_text="New alert: Heart failure, 90 %").wait_for(state="attached")
    page.locator("[title$='ECGs recorded more than 10 minutes earlier are left out.']").wait_for()
    assert page.get_by_text("records screened").is_visible()


GLOWS = """
    window.glowed = [];
    new MutationObserver(() => {
      for (const item of document.querySelectorAll("#rows > li.new [data-alert]")) glowed.push(item.dataset.alert);
    }).observe(document, { subtree: true, childList: true });
"""


def test_an_alert_of_an_old_ecg_says_so_and_arrives_without_a_glow(site):
    case = flagged_case(32)
    page = site.open(before=GLOWS)
    page.locator("#connection[data-state=live]").wait_for()
    told = {}
    for name, before in (("night", timedelta(hours=3)), ("unknown", None), ("live", timedelta(seconds=2))):
        now = datetime.now(UTC)
        alert = msgspec.structs.replace(
            case.alerts[0], identifier=name, onset=now, recorded_at=None if before is None else now - before
        )
        site.run(publish(site.settings, (ECG_ALERTS, case.key, alert)))
        row = row_with(page, name)
        row.wait_for()
        told[name] = row.inner_text()
        if name == "night":
            page.locator("#announcer", has_text="recorded 3 h 00 ago").wait_for(state="attached")
    assert "recorded 3 h 00 ago" in told["night"]
    assert "recording time unknown" in told["unknown"]
    assert "record" not in told["live"].replace(case.record.record_id, "")
    assert told.keys() & page.evaluate("glowed") == {"live"}


def escalated(case):
    """Return the message that a case's first alert was escalated."""
    return ECG_ALERTS, case.key, msgspec.structs.replace(case.alerts[0], status="escalated")


def test_what_expired_unread_is_counted_and_listed(site):
    case = flagged_case(33, at=datetime.now(UTC) - timedelta(hours=13))
    page = site.open()
    page.locator("#connection[data-state=live]").wait_for()
    assert page.get_by_text("expired unread").is_hidden()
    site.run(publish(site.settings, escalated(case)))
    page.get_by_text("expired unread").wait_for()
    row_of(page, case).wait_for(state="detached")  # the list shows open alerts
    page.locator("#figure-expired").click()
    row_of(page, case).wait_for()
    assert "Expired" in row_of(page, case).inner_text()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_a_record_counts_the_open_alerts(site, width):
    page = site.open_record(site.show(flagged_case(34 + width)), width=width)
    count = page.locator("#count-open")
    count.wait_for()
    before = int(re.match(r"\d+", count.text_content())[0])
    site.run(publish(site.settings, *flagged_case(35 + width).messages()))
    # Alerts of the first case may come after its report, and be counted later than `before` was read.
    page.wait_for_function("least => parseInt(document.querySelector('#count-open').textContent) > least", arg=before)
    urgent = flagged_case(36 + width, at=datetime.now(UTC) - timedelta(hours=1))
    site.run(publish(site.settings, escalated(urgent)))
    page.locator("#count-escalated", has_text="escalated").wait_for()
    box = page.locator("#count-escalated").bounding_box()
    assert 0 < box["x"] < box["x"] + box["width"] < width
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0


def test_a_full_page_keeps_the_most_urgent_alerts_however_old_they_are(ground):
    settings, browser, log = ground
    settings = settings.changed(dashboard_port=settings.dashboard.port + 3, dashboard_records=10)
    with dashboard_process(settings, log) as (address, _):
        site = Site(settings, address, browser)
        urgent = flagged_case(37, at=datetime.now(UTC) - timedelta(hours=1))
        (alert,) = urgent.alerts
        page = site.open()
        site.run(publish(settings, escalated(urgent)))
        row_of(page, urgent).wait_for()
        wanted = (alert.identifier, "escalated")
        site.run(site.read(ECG_ALERTS, Alert, lambda one: (one.identifier, one.status) == wanted))
        for number in range(12):
            name = f"newer-{number}"
            newer = msgspec.structs.replace(alert, identifier=name, record_id=name, onset=datetime.now(UTC))
            site.run(publish(settings, (ECG_ALERTS, urgent.key, newer)))
            row_with(page, name).wait_for()
        assert row_of(page, urgent).count() == 1
        assert page.locator("#rows > li").count() <= 10
        page.close()


def test_the_ecg_is_drawn_to_scale_on_its_paper(site):
    page = site.open_record(site.show(flagged_case(4)))
    page.locator(".paper canvas").wait_for()
    image = pixels(page, ".paper canvas").astype(int)
    trace = image[..., :3].min(axis=2) > 90  # lines of the paper are dark red
    mm = _millimetre(image)
    assert mm == 4
    # The calibration pulse of the first row: 1 mV is 10 mm high, 200 ms is 5 mm wide.
    left = int(np.flatnonzero(trace[:, : 40 * mm].any(axis=0))[0])
    pulse = trace[: 38 * mm, left : left + 8 * mm]
    rows = np.flatnonzero(pulse.sum(axis=1) >= 2 * mm)
    assert rows[-1] - rows[0] == pytest.approx(10 * mm, abs=2)
    # Twelve leads, each in its place, and the rhythm strip below.
    start = left + 9 * mm
    for row in range(3):
        for column in range(4):
            top = (8 + 30 * row + 7) * mm  # below the lead's name
            x = start + round(62.5 * mm * column)
            cell = trace[top : top + 23 * mm, x + 2 * mm : x + 60 * mm]
            assert cell.any(axis=0).mean() > 0.95
    assert trace[(8 + 90 + 7) * mm :, start + 2 * mm : start + 240 * mm].any(axis=0).mean() > 0.95


def _millimetre(image):
    """Return the pixels of a millimetre, from the distance of the coarse lines in the first row of pixels."""
    row = image[2 * 4 + 2, :, 0]
    coarse = np.flatnonzero(row == row.max())
    return round(float(np.median(np.diff(coarse))) / 5)


def test_the_cine_plays_stops_and_shows_each_frame(site):
    case = site.show(flagged_case(5))
    page = site.open_record(case)
    page.locator("canvas.cine").wait_for()
    assert page.locator(".synthetic").inner_text() == "synthetic: drawn from an ECG, not a measurement"
    assert page.locator(".synthetic").is_visible()
    page.get_by_role("button", name="Pause").click()
    for frame in (0, 17, 49):
        page.get_by_label("Frame").fill(str(frame))
        shown = pixels(page, "canvas.cine")
        assert np.array_equal(shown[..., 0], case.cine.frames[frame])
        assert (shown[..., 3] == 255).all()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.controls input').value) !== 49")
    assert page.locator(".controls .count").inner_text().endswith("/ 50")


def test_what_is_not_assessable_shows_no_number_in_list_and_record(site):
    paced = {"flagged": False, "verdict": "not_assessable", "reasons": ("paced",)}
    quiet = simulate_case(21, 61)
    risks = tuple(msgspec.structs.replace(risk, **paced) for risk in quiet.report.risks)
    case = site.show(replace(quiet, report=msgspec.structs.replace(quiet.report, risks=risks), alerts=[], request=None))
    page = site.open(f"/record?id={case.record.record_id}")
    page.locator(".risk-list li").first.wait_for()
    assert page.locator(".risk-list").inner_text().count("Not assessable: the rhythm is paced.") == 5
    assert page.locator(".risk-list .meter").count() == 0
    assert "%" not in page.locator(".risk-list").inner_text()
    assert page.locator("table.measurements, .bullseye, .basis").count() == 0
    page = site.open("/?list=records")
    row = page.locator(f'[data-record="{case.record.record_id}"]')
    row.wait_for()
    assert row.locator(".number").all_inner_texts() == ["n/a"] * 5
    assert "not assessable" in row.inner_text()


def test_an_estimate_stands_above_its_interval_and_less_strain_is_called_reduced(site):
    case = flagged_case(62)
    told = {
        "LVEF": {"value": 55.04, "half_width": 6.5},
        "LVEDV": {"informative": False},
        "LV_longitudinal_strain_global": {"value": -8.0, "half_width": 2.0},
    }
    phenotypes = tuple(msgspec.structs.replace(one, **told.get(one.name, {})) for one in case.report.phenotypes)
    site.show(replace(case, report=msgspec.structs.replace(case.report, phenotypes=phenotypes)))
    page = site.open_record(case)
    page.locator(".measurements").first.wait_for()

    def row(label):
        return page.locator("table.measurements tr", has_text=label).first.inner_text().split()

    assert row("LV ejection fraction")[3:8] == ["55", "%", "49", "to", "62"]
    assert row("LV end-diastolic volume")[3:] == ["–", "cannot", "be", "told", "from", "an", "ECG", "–"]
    assert "reduced" in row("Longitudinal, global")
    captions = page.locator(".bullseye figcaption").all_inner_texts()
    assert "colours from 3 to 15" in captions[0]


def test_risks_and_measurements_are_put_in_words(site):
    case = site.show(flagged_case(6))
    page = site.open_record(case)
    page.locator(".measurements").first.wait_for()
    text = page.locator("#record-view").inner_text()
    readings = page.locator("[data-reading]")
    assert readings.count() == 8
    rate = next(one.value for one in case.report.ecg_measurements if one.name == "heart_rate")
    assert page.locator('[data-reading="heart_rate"]').inner_text().split() == ["Rate", f"{rate:.0f}", "/min"]
    for word in (
        "QTc (Fridericia)",
        "Of 100 simulated patients with this estimate, about 90 have heart failure.",
        "LV ejection fraction",
        "No warnings about the signal",
        case.report.model.version,
        "Not a medical device",
    ):
        assert word in text
    assert page.locator(".bullseye path").count() == 48
    sex = "women" if case.record.sex == "female" else "men"
    page.locator(f'.bounds [data-who="{sex}"]').first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="FHIR report").click()
    assert msgspec.json.decode(Path(download.value.path()).read_bytes())["resourceType"] == "Bundle"


def test_an_alert_is_acknowledged_by_keyboard_alone_and_the_topic_tells(site):
    case = site.show(flagged_case(7))
    page = site.open()
    row_of(page, case).wait_for()
    page.keyboard.press("/")
    page.keyboard.type(case.record.record_id)
    page.wait_for_function("() => document.querySelectorAll('#rows > li').length === 1")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.locator("dialog[open]").wait_for()
    page.keyboard.type("Sister Ines")
    page.keyboard.press("Tab")
    page.keyboard.type("echo ordered <b>now</b>")
    page.keyboard.press("Control+Enter")
    row_of(page, case).wait_for(state="detached")  # the list shows open alerts
    alert = case.alerts[0]
    key, ack = site.run(site.read(ECG_ALERTS_ACK, Acknowledgement, lambda ack: ack.identifier == alert.identifier))
    assert (key, ack.acknowledged_by, ack.comment) == (case.key, "Sister Ines", "echo ordered <b>now</b>")
    page.get_by_label("State").select_option("acknowledged")
    assert "Acknowledged by Sister Ines" in row_of(page, case).inner_text()
    page.reload()
    row_of(page, case).wait_for()  # filter and state outlive a reload
    page.locator("#rows a").first.focus()
    page.keyboard.press("Enter")
    page.locator(".comment", has_text="echo ordered <b>now</b>").wait_for()
    page.keyboard.press("Escape")
    row_of(page, case).wait_for()


def test_hostile_names_stay_text(site):
    hostile = "<script>alert(1)</script>"
    case = site.show(flagged_case(8, patient_id=hostile, record_id='"><img src=x onerror=alert(2)>&id=1#/../%00'))
    page = site.open()
    row = row_of(page, case)
    row.wait_for()
    assert hostile in row.inner_text()
    row.locator("a").click()
    page.locator("h1", has_text=hostile).wait_for()
    page.locator("canvas.cine").wait_for()
    assert case.record.record_id in page.locator(".record-head").inner_text()
    assert page.locator("script").count() == 1
    assert page.locator("#record-view img").count() == 0
    page.goto(f"{site.home}/?list=records")
    page.locator(".row.record", has_text=hostile).wait_for()


def test_what_the_policy_forbids_does_not_run(site):
    page = site.open()
    ran = page.evaluate(
        """() => new Promise((done) => {
          addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          setTimeout(() => done(window.ran ? "ran" : "nothing"), 3000);
        })"""
    )
    assert ran == "script-src-elem"
    assert any("Content Security Policy" in fault for fault in site.faults)
    site.faults.clear()


def test_an_expired_cine_is_asked_for_again_and_appears_by_itself(site):
    case = site.show(flagged_case(9))
    site.run(_delete(site.settings, cine_key(case.record.record_id)))
    page = site.open_record(case)
    page.get_by_text("The cine has expired.").wait_for()
    page.get_by_role("button", name="Regenerate").click()
    asked = page.get_by_role("button", name="appears here automatically")
    asked.wait_for()
    for _ in range(2):  # the record is drawn again, and what was asked for stays
        with page.expect_response("**/api/record?*"):
            site.run(publish(site.settings, (ECG_RISK, case.key, case.report)))
    assert asked.is_visible()
    seen = []

    def second(request):
        seen.extend([request] if request == case.request else [])
        return len(seen) == 2

    key, _ = site.run(site.read(CMR_REQUESTS, CmrRequest, second))
    assert key == case.key
    site.run(keep_cine(site.settings, case))
    site.run(publish(site.settings, (CMR_RESULTS, case.key, case.result())))
    page.locator("canvas.cine").wait_for()
    # the browser tells of the cine that was not there
    site.faults[:] = [fault for fault in site.faults if "404" not in fault]


async def _delete(settings, key):
    async with Redis.from_url(settings.redis.url) as redis:
        await redis.delete(key)


@pytest.mark.parametrize(("name", "status"), [(PROXY, 200), ("elsewhere.example", 421)])
def test_the_name_of_a_proxy_is_let_in_by_its_setting(site, name, status):
    with closing(HTTPConnection(urlsplit(site.home).netloc, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/healthz", headers={"Host": name})
        assert connection.getresponse().status == status


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_over_the_side(site, width):
    case = flagged_case(10 + width, patient_id="a-very-long-pseudonym-" + "x" * 120)
    sure = tuple(msgspec.structs.replace(one, half_width=4.06) for one in case.report.phenotypes)
    site.show(replace(case, report=msgspec.structs.replace(case.report, phenotypes=sure)))
    page = site.open(width=width)
    row_of(page, case).wait_for()
    paths = ["/", "/?list=records", "/?list=rejected", f"/record?id={case.record.record_id}"]
    for path in paths:
        page.goto(site.home + path)
        if "record?" in path:
            page.locator("canvas.cine").wait_for()
        over = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        assert over <= 0, path


def test_the_page_reconnects_after_a_restart_and_nothing_is_lost(ground):
    settings, browser, log = ground
    settings = settings.changed(dashboard_port=settings.dashboard.port + 1)
    with dashboard_process(settings, log) as (address, _):
        site = Site(settings, address, browser)
        before = site.show(flagged_case(11))
        page = site.open()
        row_of(page, before).wait_for()
        page.evaluate("window.sameDocument = true")
    page.locator("#connection[data-state=lost]").wait_for()
    assert re.search(
        r"No connection since \d\d:\d\d: this page may be out of date", page.locator("#trouble").inner_text()
    )
    assert page.title() == "(disconnected) CardiacNets"
    meanwhile = flagged_case(12)
    site.run(publish(settings, *meanwhile.messages()))
    with dashboard_process(settings, log) as (_, child):
        page.locator("#connection[data-state=live]").wait_for()
        row_of(page, meanwhile).wait_for()
        assert page.locator("#trouble").is_hidden()
        assert re.fullmatch(r"\(\d+\) CardiacNets", page.title())
        assert row_of(page, before).count() == 1
        after = flagged_case(13)
        site.run(publish(settings, *after.messages()))
        row_of(page, after).wait_for()
        assert page.evaluate("window.sameDocument")
        began = time.monotonic()
        assert child.stop() == 0  # with a page connected
        assert time.monotonic() - began < 60
    assert all("ERR_" in fault or "Failed to load" in fault for fault in site.faults)
    page.close()


def test_a_restart_with_another_token_tells_what_to_do(ground):
    settings, browser, log = ground
    settings = settings.changed(dashboard_port=settings.dashboard.port + 2)
    another = "another-token-of-the-tests"
    with dashboard_process(settings, log) as (address, _):
        site = Site(settings, address, browser)
        page = site.open()
        page.locator("#connection[data-state=live]").wait_for()
    with dashboard_process(settings.changed(dashboard_token=another), log):
        page.locator("#connection[data-state=closed]").wait_for()
        assert "Reload this page to sign in" in page.locator("#trouble").inner_text()
        assert page.title() == "(signed out) CardiacNets"
        page.goto(site.home)
        page.get_by_label("Token").fill(another)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#connection[data-state=live]").wait_for()
        assert page.url == f"{site.home}/"
    page.close()


def test_a_person_signs_in_by_the_form_and_out_by_the_button_and_leaves_no_name_behind(site):
    case, other = site.show(flagged_case(50)), site.show(flagged_case(51))
    page = site.stranger()
    page.goto(f"{site.home}/record?id={case.record.record_id}")
    page.get_by_label("Token").fill("not the token at all")
    page.keyboard.press("Enter")
    page.get_by_text("This is not the token").wait_for()
    sign_in(page)
    page.get_by_role("button", name="Acknowledge").click()
    assert "Nobody checks this name" in page.locator("dialog[open]").inner_text()
    page.locator("#acknowledge-name").fill("Sister Ines")
    page.locator("#acknowledge-send").click()
    page.get_by_text("Sister Ines (name not checked)").wait_for()
    page.goto(f"{site.home}/record?id={other.record.record_id}")
    page.get_by_role("button", name="Acknowledge").click()
    assert page.locator("#acknowledge-name").input_value() == "Sister Ines"  # the same person, a moment later
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    page.goto(f"{site.home}/record?id={other.record.record_id}")
    sign_in(page)
    page.get_by_role("button", name="Acknowledge").click()
    page.locator("dialog[open]").wait_for()
    assert page.locator("#acknowledge-name").input_value() == ""
    assert site.settings.dashboard.token not in page.evaluate("JSON.stringify(localStorage)")
    site.faults[:] = [fault for fault in site.faults if "401" not in fault]


def sign_in(page):
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#connection[data-state=live]").wait_for()


def test_the_form_works_over_the_network_where_a_browser_says_less(site):
    page = site.stranger()
    page.goto(site.home.replace("127.0.0.1", f"{PROXY}"))  # neither TLS nor loopback: without Sec-Fetch-Site
    sign_in(page)
    assert page.url == site.home.replace("127.0.0.1", PROXY) + "/"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    site.faults[:] = [fault for fault in site.faults if "401" not in fault and "Cross-Origin-Opener" not in fault]


def test_in_a_folder_behind_a_proxy_who_may_only_look_is_offered_no_change_and_signs_as_it_says(
    ground,
):
    settings, browser, log = ground
    settings = settings.changed(
        dashboard_port=settings.dashboard.port + 4,
        dashboard_prefix="/heart",
        dashboard_trusted_proxies="127.0.0.1",
        dashboard_user_header="X-Forwarded-User",
        dashboard_role_header="X-Forwarded-Groups",
    )
    with dashboard_process(settings, log) as (address, _), reverse_proxy("/heart", strips=True) as proxy:
        assert address.endswith("/heart/")
        proxy.behind = settings.dashboard.port
        site = Site(settings, f"http://127.0.0.1:{proxy.port}/heart", browser)
        case = site.show(flagged_case(52))
        proxy.user = "Dr Okoro", "read"
        page = site.stranger()
        page.goto(f"{site.home}/record?id={case.record.record_id}")
        page.locator("#person", has_text="Dr Okoro").wait_for()
        page.locator(".alert-card").wait_for()
        assert page.locator("#person-role").is_visible()
        assert page.get_by_role("button", name="Acknowledge").count() == 0
        assert page.get_by_role("button", name="Sign out").count() == 0
        page.keyboard.press("a")
        assert page.locator("dialog[open]").count() == 0
        proxy.user, proxy.strips = ("Dr Okoro", "read, acknowledge"), False
        page.reload()
        page.get_by_role("button", name="Acknowledge").click()
        assert "You sign as Dr Okoro." in page.locator("dialog[open]").inner_text()
        assert page.locator("#acknowledge-name").count() == 0 or page.locator("#acknowledge-name").is_hidden()
        page.locator("#acknowledge-send").click()
        page.get_by_text("Dr Okoro (signed in)").wait_for()
        assert page.locator("a[download]").evaluate("link => link.href").startswith(f"{site.home}/api/fhir?")
        walk_through(page, site, case)
        page.close()
        proxy.user = None
        sign_in_and_out(site)
        assert proxy.strays == []  # nothing was asked for outside the folder


def walk_through(page, site, case):
    """Go to the lists and back to the record by its links and its keys."""
    page.get_by_text("← List").click()
    page.wait_for_url(f"{site.home}/")
    page.get_by_role("link", name="Records", exact=True).click()
    page.wait_for_url(f"{site.home}/?list=records")
    page.locator(f'[data-record="{case.record.record_id}"]').click()
    page.wait_for_url(f"{site.home}/record?id={case.record.record_id}")
    page.locator(".alert-card").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_url(f"{site.home}/?list=records")


def sign_in_and_out(site):
    """Come in by the token, and leave."""
    page = site.stranger()
    page.goto(f"{site.home}/?list=records")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.home}/?list=records")
    page.locator("#connection[data-state=live]").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    page.close()


def test_the_printed_address_opens_the_dashboard_once(ground):
    settings, browser, log = ground
    settings = settings.changed(dashboard_port=settings.dashboard.port + 5, dashboard_token=None)
    with dashboard_process(settings, log) as (address, _):
        site = Site(settings, address.partition("/?")[0], browser)
        page = site.stranger()
        page.goto(address)
        page.locator("#connection[data-state=live]").wait_for()
        assert page.url == f"{site.home}/"
        other = site.stranger()
        other.goto(address)
        other.get_by_label("One-time code").wait_for()
        wait_until(lambda: len(re.findall(r"dashboard: http\S+code=", log.read_text())) >= 2)
        other.goto(re.findall(r"dashboard: (http\S+code=\S+)", log.read_text())[-1])
        other.locator("#connection[data-state=live]").wait_for()
        for one in (page, other):
            one.close()


def test_a_port_that_is_taken_and_a_broker_that_is_not_there_are_said_in_a_line(ground):
    settings, *_ = ground
    for broker, port, words in (
        ("127.0.0.1:1", "0", "no Kafka broker answers at 127.0.0.1:1"),
        (settings.kafka.broker, settings.kafka.broker.split(":")[1], "CARDIACNETS_DASHBOARD_PORT"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "stream.cli", "dashboard", "--broker", broker, "--port", port],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 1
        assert re.match(rf"cardiacnets: .*{re.escape(words)}", done.stderr.splitlines()[-1])
