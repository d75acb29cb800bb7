"""The dashboard in a real browser, where a clock is wrong, or two ECGs have one id: the page says so."""

from datetime import UTC, datetime, timedelta

import msgspec
from dashboard_browser import flagged_case, in_chromium, row_of
from dashboard_ward import publish

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
