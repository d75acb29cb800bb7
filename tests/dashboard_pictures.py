"""Pictures of the dashboard: a demonstration with a ward of simulated patients, looked at in a browser.

`make pictures` writes those of the README. `make pictures ARGS=FOLDER` also keeps every page there, in two widths.
"""

import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
from dashboard_browser import FLAGS, Site
from dashboard_ward import TOKEN
from needed import CHROMIUM
from PIL import Image

from engines.batcher import Lane
from schemas.ecg_record import LEADS, MISSING_SAMPLE, EcgRecord
from stream.broker.ecg_publisher import EcgPublisher
from stream.demo.place import embedded_place
from stream.demo.stage import demo_stage
from stream.settings import Settings
from training.simulation.ecg import simulate_ecg
from training.simulation.physiology import draw_patient

README = {"list-1280": ("list", 860), "doubtful-1280": ("record", 1560)}
"""Which pictures the README shows, under which names and how high."""
SCREENSHOTS = Path(__file__).parents[1] / "stream/dashboard/screenshots"
SEED = 11
SITES = ("Ward 3", "Ward 5", "Emergency")
WIDTHS = (1280, 390)
COLOURS = 256
ESCALATES_S = 12.0
CINES_S = 10.0
"""By then the answers are there, and the cines are drawn."""
SICK = (9, 28, 32, 38, 34, 0, 45, 39)
"""Numbers of simulated patients in whom the shipped weights find something."""


def record(number, *, name=None, patient=None, ago=timedelta(0), ecg_seed=None, leads=LEADS, **fields):
    """Return the ECG of a simulated patient, recorded so long ago."""
    person = draw_patient(SEED, number)
    drawn = person if ecg_seed is None else replace(person, ecg_seed=ecg_seed)
    known = {
        "record_id": name or f"ecg-{number:04d}",
        "patient_id": patient or f"P-{1000 + number}",
        "device_id": f"cart-{number % 4}",
        "site": SITES[number % 3],
        "sex": "female" if person.person.female else "male",
        "age_years": round(person.person.age_years),
        "paced": False,
        "recorded_at": datetime.now(UTC) - ago,
        "samples": simulate_ecg(drawn).astype("<i2").tobytes(),
    }
    return EcgRecord(leads=leads, sample_rate_hz=500.0, microvolts_per_step=5.0, **{**known, **fields})


def edited(one, change, **fields):
    """Return the record with its samples changed in place, (12, 5000) in the order of the leads."""
    steps = np.frombuffer(one.samples, "<i2").reshape(12, -1).copy()
    change(steps)
    return msgspec.structs.replace(one, samples=steps.tobytes(), **fields)


def missing_samples(steps):
    steps[8, 1200:1260] = MISSING_SAMPLE


def flat_lead(steps):
    steps[6] = 0


def arms_exchanged(steps):
    steps[0] *= -1
    steps[[1, 2]] = steps[[2, 1]]
    steps[[3, 4]] = steps[[4, 3]]


def first_patients():
    """Return ECGs that have waited for a while: of these the urgent ones are escalated."""
    return [record(number, ago=timedelta(minutes=30)) for number in SICK[:4]]


def next_patients():
    """Return ECGs of now: quiet ones, one patient's three, a doubtful one, and what is not for the model."""
    three = [
        record(SICK[4], name=f"three-{n}", patient="P-THREE", ago=timedelta(hours=hours), ecg_seed=1000 + n)
        for n, hours in enumerate((9, 4, 0))
    ]
    doubtful = edited(record(SICK[5], name="doubtful", age_years=None), missing_samples)
    paced = record(SICK[6], name="paced", paced=True)
    swapped = edited(record(SICK[7], name="exchanged"), arms_exchanged)
    flat = edited(record(60, name="flat"), flat_lead)
    quiet = [record(number) for number in range(61, 75)]
    return [*quiet, *three, paced, swapped, flat, doubtful]


async def publish(settings, records):
    async with EcgPublisher(settings.kafka, Lane.REALTIME) as publisher:
        for one in records:
            await publisher.send(one)
        await publisher.flush()


def take(site, folder):
    """Look at each page in each width."""
    pages = {
        "list": "/",
        "ward": "/?site=Ward+3",
        "records": "/?list=records",
        "rejected": "/?list=rejected",
        **{name: f"/record?id={name}" for name in ("doubtful", "three-2", "paced", "exchanged", "flat")},
    }
    for width in WIDTHS:
        for name, path in pages.items():
            page = site.open(path, width=width, height=860)
            page.locator(".panel.ecg canvas" if "record?" in path else "#rows > li").first.wait_for()
            page.wait_for_timeout(1500)
            if name == "three-2":
                page.get_by_role("button", name="Draw the ECG of").first.click()
                page.locator(".earlier canvas").wait_for()
                page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"{name}-{width}.png", full_page=True)
            page.context.close()


def write_small(picture, into, height):
    """Write the upper part of a picture in few colours: a third of the bytes, and nobody sees it."""
    with Image.open(picture) as whole:
        part = whole.convert("RGB").crop((0, 0, whole.width, min(height, whole.height)))
        few = part.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(into, optimize=True)


def main(folder):
    from playwright.sync_api import sync_playwright

    wishes = Settings.of(dashboard_token=TOKEN, alert_refractory_s=0.0, alert_escalates_s=ESCALATES_S)
    with (
        tempfile.TemporaryDirectory() as logs,
        demo_stage(embedded_place(wishes, Path(logs)), Path(logs), dashboard=True) as stage,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        site = Site(stage.settings, stage.dashboard, browser)
        site.run(publish(stage.settings, first_patients()))
        time.sleep(ESCALATES_S)
        site.run(publish(stage.settings, next_patients()))
        time.sleep(CINES_S)
        take(site, folder)
        browser.close()
    for name, (short, height) in README.items():
        write_small(folder / f"{name}.png", SCREENSHOTS / f"{short}.png", height)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as passing:
        chosen = Path(sys.argv[1] if len(sys.argv) > 1 else passing)
        chosen.mkdir(parents=True, exist_ok=True)
        main(chosen)
