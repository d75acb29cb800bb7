"""Fixtures of the tests in a browser: a module takes them by `pytest_plugins = ["browser_fixtures"]`."""

import pytest
from dashboard_browser import FLAGS, PROXY, Site
from dashboard_ward import dashboard_process, dashboard_ward
from needed import CHROMIUM


@pytest.fixture(scope="module")
def ground(tmp_path_factory, servers):
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("dashboard")
    with dashboard_ward(servers, dashboard_name=PROXY) as settings, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield settings, browser, folder / "dashboard.log"
        browser.close()


@pytest.fixture(scope="module")
def running(ground):
    settings, browser, log = ground
    with dashboard_process(settings, log) as (address, child):
        yield Site(settings, address, browser, child)


@pytest.fixture
def site(running):
    """Give the site; nothing may have been said on the console, no policy violated, when the test ends."""
    running.faults.clear()
    yield running
    for context in running.browser.contexts:
        context.close()
    assert running.faults == []
