"""The dashboard in a real browser, over a real broker and a real Redis: what its tests share."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest
from dashboard_ward import keep_everything, simulate_case
from needed import needs_chromium
from waiting import PATIENCE_S

from schemas.messages import decode_message
from stream.broker.clients import new_consumer

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP ward.hospital.example 127.0.0.1",
)
PROXY = "ward.hospital.example"
PATIENCE_MS = 1000 * PATIENCE_S
QUIET = dict.fromkeys(("coronary_artery_disease", "cardiomyopathy", "pulmonary_hypertension", "pericarditis"), 0.02)

in_chromium = [pytest.mark.browser, needs_chromium]


class Site:
    """A ward with its dashboard, and the browser that looks at it."""

    def __init__(self, settings, address, browser, child=None):
        self.settings, self.address, self.browser, self.child = settings, address, browser, child
        self.home = address.rstrip("/")
        self.faults = []
        self._thread = ThreadPoolExecutor(1)  # Playwright's loop occupies this one

    def run(self, work):
        return self._thread.submit(asyncio.run, work).result(PATIENCE_S)

    def show(self, case):
        self.run(keep_everything(self.settings, case))
        return case

    def open(self, path="/", width=1280, height=900, before=""):
        """Open a page, in which `before` runs first."""
        page = self.stranger(width=width, height=height)
        page.context.add_cookies([{"name": self.cookie[0], "value": self.cookie[1], "url": self.home}])
        page.add_init_script(before)
        page.goto(self.home + path)
        return page

    def stranger(self, width=1280, height=900):
        """Return a page of a browser in which nobody is signed in."""
        page = self.browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(f"dialogue: {dialog.message}"))
        return page

    @cached_property
    def cookie(self):
        """Name and value of the cookie of a session."""
        port = urlsplit(self.home).port
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as line:
            form = {"Origin": self.home, "Content-Type": "application/x-www-form-urlencoded"}
            line.request("POST", "/sign-in", urlencode({"token": self.settings.dashboard.token}), form)
            return line.getresponse().getheader("set-cookie").partition(";")[0].split("=", 1)

    def _hear(self, said):
        if said.type in {"error", "warning"} and "getImageData" not in said.text:  # that is our own reading of pixels
            self.faults.append(said.text)

    def open_record(self, case, **size):
        page = self.open(f"/record?id={case.record.record_id}", **size)
        page.locator(".alert-card").first.wait_for()
        return page

    async def read(self, topic, kind, wanted):
        """Return the messages of a topic for which `wanted` is true, as soon as there is one."""
        async with (
            new_consumer(self.settings.kafka, [topic], auto_offset_reset="earliest") as consumer,
            asyncio.timeout(PATIENCE_S),
        ):
            while True:
                message = await consumer.getone()
                if wanted(found := decode_message(kind, message.value)):
                    return message.key, found


def flagged_case(number, probability=0.9, **options):
    return simulate_case(21, number, risks=QUIET | {"heart_failure": probability}, **options)


def row_of(page, case):
    return row_with(page, case.alerts[0].identifier)


def row_with(page, identifier):
    """Return the row of the ECG of an alert."""
    return page.locator(f'#rows > li:has([data-alert="{identifier}"])')
