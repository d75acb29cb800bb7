"""The dashboard in a real browser as a ward uses it: ECGs and their patients, sites, what changed, keys alone."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from axe import fetch_axe, findings
from dashboard_browser import QUIET, in_chromium, row_of
from dashboard_ward import MODEL, publish, simulate_case
from redis.asyncio import Redis

from inference.report import compose_rejection
from inference.screener import Refused
from schemas.codec import encode_ecg
from schemas.errors import UnusableSignal
from schemas.messages import Acknowledgement
from schemas.topics import ECG_ALERTS, ECG_ALERTS_ACK, ECG_REJECTED
from stream.screening.waveform_cache import other_waveform_key

pytest_plugins = ["browser_fixtures"]
pytestmark = in_chromium

THREE = QUIET | {"heart_failure": 0.9, "cardiomyopathy": 0.7, "coronary_artery_disease": 0.5}


def hours_ago(hours):
    return datetime.now(UTC) - timedelta(hours=hours)


def escalated(case):
    """Return the messages that all alerts of a case were escalated."""
    return [(ECG_ALERTS, case.key, msgspec.structs.replace(alert, status="escalated")) for alert in case.alerts]


def rows_of(page, *cases):
    """Return the places of the cases' rows in the list."""
    drawn = page.locator("#rows > li").evaluate_all(
        "items => items.map(item => item.querySelector('a').dataset.record)"
    )
    return [drawn.index(case.record.record_id) for case in cases]


def test_an_ecg_is_one_row_with_its_doubts_and_is_acknowledged_as_a_whole_without_a_mouse(site):
    page = site.open()
    page.locator("#connection[data-state=live]").wait_for()
    case = site.show(simulate_case(23, 2, risks=THREE, doubts=("limb_lead_reversal", "age_unknown")))
    row = row_of(page, case)
    row.wait_for()
    text = row.inner_text()
    for words in ("Heart failure", "90 %", "Cardiomyopathy", "70 %", "Coronary artery disease", "50 %"):
        assert words in text
    for words in ("limb leads look exchanged", "age unknown"):
        assert words in text
    assert page.locator(f'#rows [data-record="{case.record.record_id}"]').count() == 1
    page.locator("#announcer", has_text="limb leads look exchanged").wait_for(state="attached")
    row.locator("a").focus()
    page.keyboard.press("Enter")
    page.locator("canvas.cine").wait_for()
    assert "limb leads look exchanged" in page.locator(".panel.risks").inner_text()
    for _ in range(50):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.alert-card button')"):
            break
    page.keyboard.press("Enter")
    page.locator("dialog[open]", has_text="Acknowledge 3 alerts of one ECG").wait_for()
    page.keyboard.type("Sister Ines")
    page.keyboard.press("Tab")
    page.keyboard.type("electrodes checked")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Acknowledged by Sister Ines").nth(2).wait_for()
    assert page.locator(".comment").count() == 1  # what was said once is shown once
    assert page.evaluate("document.activeElement !== document.body")
    _, ack = site.run(site.read(ECG_ALERTS_ACK, Acknowledgement, lambda one: one.record_id == case.record.record_id))
    assert (ack.whole_record, ack.comment) == (True, "electrodes checked")


def test_escalated_ecgs_stand_on_top_the_longest_waiting_first_and_a_patients_ecgs_together(site):
    one, two = (simulate_case(23, n, risks=THREE, at=hours_ago(hours)) for n, hours in ((10, 2), (11, 3)))
    raised = simulate_case(23, 12, risks=THREE)
    sister = simulate_case(23, 14, risks=THREE, patient_id=two.record.patient_id)
    site.run(publish(site.settings, *escalated(one), *escalated(two), *raised.messages(), *sister.messages()))
    page = site.open()
    for case in (one, two, raised, sister):
        row_of(page, case).wait_for()
    places = rows_of(page, two, sister, one, raised)
    assert places == sorted(places)
    assert places[1] == places[0] + 1
    assert "2 ECGs" in row_of(page, two).inner_text()
    assert "ECG 2 of 2" in row_of(page, sister).inner_text()
    page.get_by_label("Order").select_option("newest")
    page.wait_for_function("id => document.querySelector('#rows a').dataset.record !== id", arg=two.record.record_id)
    assert rows_of(page, two)[0] == rows_of(page, sister)[0] + 1


def test_a_site_is_part_of_the_address_and_what_it_hides_is_told(site):
    here = site.show(simulate_case(23, 20, risks=THREE, site="Ward 3 & 4"))
    there = simulate_case(23, 22, risks=THREE, site="Ward 5", at=hours_ago(1))
    site.run(publish(site.settings, *escalated(there)))
    page = site.open()
    row_of(page, there).wait_for()
    assert "Ward 5" in row_of(page, there).inner_text()
    page.get_by_label("Site").select_option("Ward 3 & 4")
    row_of(page, there).wait_for(state="detached")
    row_of(page, here).wait_for()
    assert "escalated" in page.locator("#hidden-text").inner_text()
    assert page.locator("#hidden").get_attribute("class") == "hidden-note hot"
    assert page.title() == "(3) Ward 3 & 4 · CardiacNets"
    bookmark = page.url
    page.goto(bookmark)
    row_of(page, here).locator("a").click()
    page.locator("canvas.cine").wait_for()
    page.get_by_role("link", name="← List").click()
    row_of(page, here).wait_for()
    assert page.url == bookmark
    page.get_by_role("link", name="Records").click()
    page.locator(".row.record").first.wait_for()
    assert page.locator(".row.record").count() == 1
    page.get_by_role("link", name="Alerts").click()
    page.get_by_role("button", name="Show all").click()
    row_of(page, there).wait_for()
    assert page.url == f"{site.home}/"


def test_earlier_ecgs_of_the_patient_stand_beside_this_one(site):
    older = msgspec.structs.replace(MODEL, version="0.9.0")
    patient = {"patient_id": "P-HISTORY"}
    first = site.show(
        simulate_case(23, 30, risks=QUIET | {"heart_failure": 0.1}, at=hours_ago(50), model=older, **patient)
    )
    second = site.show(simulate_case(23, 32, risks=QUIET | {"heart_failure": 0.1}, at=hours_ago(20), **patient))
    now = site.show(simulate_case(23, 34, risks=THREE, **patient))
    page = site.open_record(now)
    table = page.locator("table.history")
    table.wait_for()
    assert "newly flagged" in table.locator('[data-line="heart_failure"]').inner_text()
    assert table.locator("thead th").count() == 3
    assert "Another model gave these numbers: cardiacnets-reference 0.9.0" in page.locator(".other-ecgs").inner_text()
    table.get_by_role("button", name="Draw the ECG").first.click()
    page.locator(".earlier canvas").wait_for()
    assert page.locator(".panel.ecg canvas").count() == 2
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.scrollingElement.scrollWidth - innerWidth") <= 0
    table.locator("thead a").first.click()
    page.get_by_text("There is a later ECG of this patient").wait_for()
    assert second.record.record_id in page.locator(".record-head").inner_text()
    page.goto(f"{site.home}/record?id={first.record.record_id}")
    page.get_by_text("There are 2 later ECGs of this patient.").wait_for()
    page.get_by_text("No earlier one is kept.").wait_for()


async def reject(settings, record):
    """Answer a record by a rejection, and keep its ECG for a while."""
    refused = Refused(record, UnusableSignal("flat: V1", code="flat_lead", record_id=record.record_id, leads="V1"))
    await publish(settings, (ECG_REJECTED, b"x", compose_rejection(refused, "t/0/1", datetime.now(UTC))))
    async with Redis.from_url(settings.redis.url) as redis:
        await redis.set(other_waveform_key(record.record_id), encode_ecg(record))


def test_a_rejected_ecg_has_a_page_that_says_why_and_draws_it(site):
    record = msgspec.structs.replace(simulate_case(23, 40).record, record_id="rejected-40", device_id="cart-7")
    site.run(reject(site.settings, record))
    page = site.open("/?list=rejected")
    page.locator('[data-record="rejected-40"]').click()
    page.locator(".panel.ecg canvas").wait_for()
    text = page.locator("#record-view").inner_text()
    for words in ("flat: V1", "flat_lead", "cart-7", "no risk was looked at"):
        assert words in text
    assert page.locator("#record-view .error").count() == 0


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    return fetch_axe(tmp_path_factory.mktemp("axe"))


def test_axe_finds_nothing_on_any_page(site, axe):
    case = site.show(simulate_case(23, 50, risks=THREE, doubts=("age_unknown",), patient_id="P-AXE", site="W"))
    site.show(simulate_case(23, 52, at=hours_ago(9), patient_id="P-AXE"))
    site.run(reject(site.settings, msgspec.structs.replace(case.record, record_id="rejected-axe")))
    page = site.open()
    row_of(page, case).wait_for()
    found = {"list": findings(page, axe)}
    page.set_viewport_size({"width": 390, "height": 800})
    found["narrow list"] = findings(page, axe)
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.locator("dialog[open]").wait_for()
    found["dialogue"] = findings(page, axe)
    page.keyboard.press("Escape")
    for name, link, ready in (
        ("records", "Records", ".row.record"),
        ("rejected", "Rejected", ".row.rejection"),
        ("rejected record", "flat: V1", ".panel.ecg canvas"),
    ):
        page.get_by_role("link", name=link).first.click()
        page.locator(ready).first.wait_for()
        found[name] = findings(page, axe)
    page.goto(f"{site.home}/record?id={case.record.record_id}")
    page.locator("table.history").wait_for()
    page.locator("canvas.cine").wait_for()
    found["narrow record"] = findings(page, axe)
    page.set_viewport_size({"width": 1280, "height": 800})
    found["record"] = findings(page, axe)
    page.get_by_role("button", name="Shelve").click()
    found["shelving"] = findings(page, axe)
    stranger = site.stranger()
    stranger.goto(site.home)
    found["sign-in"] = findings(stranger, axe)
    site.faults[:] = [fault for fault in site.faults if "401" not in fault]
    assert {name: broken for name, broken in found.items() if broken} == {}


def test_a_finding_is_shelved_with_an_end_and_a_reason_and_stands_above_the_list_until_somebody_ends_it(site):
    page = site.open()
    page.locator("#connection[data-state=live]").wait_for()
    case = site.show(simulate_case(24, 5, risks=THREE))
    row_of(page, case).locator("a").click()
    page.get_by_role("button", name="Shelve…").click()
    page.get_by_label("Finding").select_option(label="Heart failure")
    page.get_by_label("Reason").fill("known, on treatment")
    page.get_by_label("Your name").last.fill("Sister Ines")
    page.locator("#shelve-send").click()
    page.locator("#shelve").wait_for(state="hidden")
    page.locator(".back").click()
    page.get_by_text("1 finding is shelved").click()
    text = page.locator("#shelved-rows").inner_text()
    for words in ("Heart failure", case.record.patient_id, "known, on treatment", "Sister Ines", "name not checked"):
        assert words in text
    assert row_of(page, case).count() == 1  # what is open stays open
    page.locator("#shelved").get_by_role("button", name="End").click()
    page.locator("#shelved").wait_for(state="hidden")
