"""The dashboard in a real browser, where a clock is wrong, or two ECGs have one id: the page says so."""

import sys
import unicodedata
from datetime import UTC, datetime, timedelta

import msgspec
from dashboard_browser import Site, flagged_case, in_chromium, row_of
from dashboard_ward import dashboard_process, publish

from schemas.shown_text import shown_id, shown_text
from schemas.topics import ECG_ALERTS, ECG_RISK

pytest_plugins = ["browser_fixtures"]
pytestmark = in_chromium


def test_an_alert_of_a_clock_that_is_behind_is_open_and_the_page_says_how_far(site):
    case = flagged_case(38, at=datetime.now(UTC) - timedelta(hours=13))
    page = site.open()
    page.locator("#connection[data-state=live]").wait_for()
    site.run(publish(site.settings, *case.messages()))
    row_of(page, case).wait_for()
    assert "Raised" in row_of(page, case).inner_text()
    assert "dated 13 h 00 before its arrival" in row_of(page, case).inner_text()
    page.locator("#trouble", has_text="dated 13 h 00 before it arrived").wait_for()


def test_an_alert_of_another_patient_under_a_known_id_is_marked_in_the_list_and_on_the_page(site):
    case = site.show(flagged_case(39))
    page = site.open()
    row_of(page, case).wait_for()
    told = {"subject": "P-OTHER", "recorded_at": None}
    other = msgspec.structs.replace(case.alerts[0], **told)
    report = msgspec.structs.replace(case.report, patient_id="P-OTHER", recorded_at=None)
    site.run(publish(site.settings, (ECG_RISK, case.key, report), (ECG_ALERTS, case.key, other)))
    page.locator("#rows > li", has_text="P-OTHER").wait_for()
    assert "contradicts its record: another patient" in page.locator("#rows > li", has_text="P-OTHER").inner_text()
    assert row_of(page, case).count() == 1
    page.locator("#trouble", has_text="contradict what is kept").wait_for()
    page = site.open_record(case)
    page.get_by_text("Another report came under this record's id").wait_for()
    assert page.locator(".alert-card").count() == 2
    assert page.locator(".record-head h1").inner_text() == case.record.patient_id


def test_what_nobody_could_see_in_an_id_stands_as_its_code_on_every_page(site):
    patient, record = "P-1\u202e2-P\u200b", "r\0\x1b[31m\u2028"
    case = site.show(flagged_case(40, patient_id=patient, record_id=record))
    page = site.open()
    row_of(page, case).wait_for()
    assert "P-1⟨U+202E⟩2-P⟨U+200B⟩" in row_of(page, case).inner_text()
    assert "r⟨U+0000⟩⟨U+001B⟩[31m⟨U+2028⟩" in row_of(page, case).inner_text()
    row_of(page, case).locator("a").click()
    page.locator(".record-head h1", has_text="P-1⟨U+202E⟩2-P⟨U+200B⟩").wait_for()
    page.locator("canvas.cine").wait_for()  # the links hold the id itself
    page.get_by_role("button", name="Acknowledge").first.click()
    assert "P-1⟨U+202E⟩2-P⟨U+200B⟩" in page.locator("#acknowledge-what").inner_text()


def test_open_alerts_that_are_not_shown_are_a_figure_of_the_page(ground):
    settings, browser, log = ground
    settings = settings.changed(dashboard_port=settings.dashboard.port + 5, dashboard_records=10)
    with dashboard_process(settings, log) as (address, _):
        site, case = Site(settings, address, browser), flagged_case(41)
        page = site.open()
        page.locator("#connection[data-state=live]").wait_for()
        assert page.get_by_text("open, not shown").is_hidden()
        alerts = [
            msgspec.structs.replace(case.alerts[0], identifier=f"a{n}", onset=datetime.now(UTC)) for n in range(30)
        ]
        site.run(publish(settings, *[(ECG_ALERTS, case.key, alert) for alert in alerts]))
        page.get_by_text("open, not shown").wait_for()
        page.locator("#trouble", has_text="open alerts are not shown").wait_for()
        assert int(page.locator("#figure-not-shown").inner_text()) >= 20
        page.close()


SHOW_ALL = """
    async () => {
      const { shownId, shownText } = await import("/static/dom.js");
      const seen = [[], []];
      for (let code = 0; code <= 0x10ffff; code += 1) {
        const one = String.fromCodePoint(code);
        if (shownId(one) !== one) seen[0].push(code);
        if (shownText(one) !== one) seen[1].push(code);
      }
      return seen;
    }
"""


def test_the_page_shows_the_same_characters_as_codes_as_a_terminal_and_fhir_do(site):
    every = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) != "Cn"]
    for show, drawn in zip((shown_id, shown_text), site.open().evaluate(SHOW_ALL), strict=True):
        assert [code for code in every if show(chr(code)) != chr(code)] == sorted(set(drawn) & set(every))
