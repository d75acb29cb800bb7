"""The demonstration and the commands around it, run as a user runs them."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
import wfdb
from harness import collect, ward
from needed import ECGS, needs_real_ecgs
from pager import SECRET
from waiting import PATIENCE_S, wait_until

from engines.choice import Tolerances
from schemas.ecg_record import LEADS
from schemas.topics import ECG_RISK
from stream.broker.clients import administrator
from stream.demo.embedded_servers import embedded_broker
from stream.demo.place import place_on_a_broker
from stream.settings import Settings, as_environment
from training.simulation.simulate_cohort import write_wfdb

COMMAND = [sys.executable, "-m", "stream.cli"]

pytestmark = pytest.mark.servers


def run(*arguments, environment=None):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )


OPERATORS_OWN = {
    "CARDIACNETS_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "CARDIACNETS_SASL_USERNAME": "ward",
    "CARDIACNETS_SASL_PASSWORD": "p",
    "CARDIACNETS_IDEMPOTENT_PRODUCER": "true",
}
"""Settings for a broker elsewhere, which the embedded one must not be asked to obey."""


def test_once_it_answers_every_record_and_prints_one_object(tmp_path):
    done = run("demo", "--once", "--json", "--records", "25", "--logs", tmp_path, environment=OPERATORS_OWN)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["published"] == outcome["reports"] == 25
    assert outcome["lost"] == outcome["duplicates"] == outcome["rejected"] == 0
    assert outcome["records_per_s"] > 0
    assert outcome["latency_ms"]["p50"] <= outcome["latency_ms"]["p99"]
    assert outcome["cines"] > 0
    assert outcome["cines_failed"] == 0
    assert 0 < outcome["cine_seconds"]["p50"] <= outcome["cine_seconds"]["p95"]
    log = (tmp_path / "worker.log").read_text()
    assert "synthetic-patient" not in log
    assert "synthetic-0" not in log


async def topics_of(settings):
    async with administrator(settings.kafka) as admin:
        return set(await admin.list_topics())


def test_on_a_broker_that_is_there_it_has_topics_of_its_own_and_leaves_none(broker):
    with broker.place() as place:
        settings = Settings.of(**place)
        before = asyncio.run(topics_of(settings))
        command = ("demo", "--once", "--json", "--records", "12", "--broker", settings.kafka.broker)
        done = run(*command, environment=as_environment(settings))
        assert done.returncode == 0, done.stderr
        outcome = json.loads(done.stdout)
        assert (outcome["published"], outcome["reports"], outcome["lost"]) == (12, 12, 0)
        own = re.search(rf"topics: +({re.escape(settings.kafka.topic_prefix)}demo-\w+\.)\* on ", done.stderr)[1]
        assert f"the topics {own}* are removed from {settings.kafka.broker}" in done.stderr
        after = asyncio.run(topics_of(settings))
        assert not {topic for topic in after if topic.startswith(own)}
        assert before <= after


def test_topics_that_a_broker_does_not_remove_are_named_with_the_command_that_does(tmp_path):
    said, pages = [], {"alert_webhook_url": "https://pager.example/", "alert_webhook_secret": SECRET}
    with (
        embedded_broker(tmp_path) as (address, process),
        place_on_a_broker(Settings.of(broker=address, **pages), tmp_path, said.append) as own,
    ):
        process.process.kill()
    assert own.webhook == Settings().webhook  # a demonstration wakes nobody
    (sentence,) = said
    topic = own.kafka.topic(ECG_RISK)
    assert sentence.startswith(f"9 topics stay on {address}, because it did not remove them: {own.kafka.topic_prefix}")
    assert topic in sentence
    assert re.match(re.search("--topic '(.*)'$", sentence)[1], topic)


@needs_real_ecgs
def test_real_ecgs_go_the_same_way():
    done = run("demo", "--once", "--json", "--ecgs", ECGS / "wfdb" / "chapman_ningbo", "--records", "30")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["published"], outcome["lost"]) == (30, 0)
    assert outcome["reports"] + outcome["rejected"] == 30
    assert outcome["rejected"] >= 1  # JS20004 has flat leads


def test_a_wrong_path_is_a_misuse_said_in_one_line():
    done = run("demo", "--once", "--ecgs", "/no/such/folder")
    assert done.returncode == 2
    assert "/no/such/folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_its_children_never_outlive_it(number, tmp_path):
    log = tmp_path / "demo.log"
    with log.open("wb") as said, subprocess.Popen([*COMMAND, "demo"], stdout=said, stderr=said) as demo:
        parent = psutil.Process(demo.pid)
        try:
            wait_until(lambda: demo.poll() is not None or len(parent.children()) == 5)
            assert demo.returncode is None, log.read_text()
            children = parent.children(recursive=True)  # some of the five start others, for a moment
            assert len(children) >= 5, "broker, Redis, worker, cmr-worker and dashboard"
            demo.send_signal(number)
            demo.wait(PATIENCE_S)
        finally:
            demo.kill()  # leaving the block waits for its end, whatever went wrong
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


@needs_real_ecgs
def test_a_folder_is_published_and_what_holds_no_ecg_is_named(tmp_path, servers):
    import shutil

    folder = tmp_path / "archive"
    shutil.copytree(ECGS / "mimic_format" / "files" / "p1990" / "p19900016", folder / "a")
    (folder / "broken.xml").write_text("<no/>")
    with ward(tmp_path, servers) as there:
        there.start()
        variables = as_environment(there.settings)
        done = run("publish", folder, "--json", "--lane", "backfill", environment=variables)
        answers = asyncio.run(collect(there.settings, until=lambda a: a.answered >= 1))
    assert done.returncode == 1
    assert "broken.xml" in done.stderr
    assert json.loads(done.stdout)["published"] == 1
    assert answers.counts[ECG_RISK] == 1
    (report,) = answers.reports.values()
    assert (report.record_id, report.patient_id) == ("49900016", "19900016")


def test_what_would_be_taken_for_another_record_is_named_and_the_rest_goes_on(tmp_path, servers):
    folder = tmp_path / "archive"
    for place, seed in (("a", 1), ("b", 2), ("c", 1)):  # c is a copy of a; b has another patient under its name
        write_wfdb(folder / place, 1, seed, processes=1)
        for file in (folder / place).glob(f"simulated-{seed}-0.*"):
            name = file.rename(file.with_stem("ecg"))
            if name.suffix == ".hea":
                name.write_text(name.read_text().replace(f"simulated-{seed}-0", "ecg"))
    half_an_hour = np.random.default_rng(1).integers(-900, 900, (30 * 60 * 500, 12))
    wfdb.wrsamp(
        "long", 500, ["mV"] * 12, list(LEADS), d_signal=half_an_hour, fmt=["16"] * 12, adc_gain=[200] * 12,
        baseline=[0] * 12, write_dir=str(folder),
    )  # fmt: skip
    with ward(tmp_path, servers) as there:
        done = run("publish", folder, "--json", environment=as_environment(there.settings))
    assert done.returncode == 1
    sent = json.loads(done.stdout)
    assert sent["published"] == 3, done.stderr
    reasons = {note["path"]: note["detail"] for note in sent["first_notes"]}
    assert (sent["refused"], sent["taken_with_a_note"]) == ({"doubled_id": 1}, {"doubled_record": 1})
    assert "record id ecg" in reasons[str(folder / "b" / "ecg.hea")]


def test_a_worker_without_a_broker_says_so_and_fails():
    done = run("worker", "--broker", "127.0.0.1:1", "--http-port", "0")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


def test_compile_tells_what_it_measured():
    done = run("compile", "--json")
    assert done.returncode == 0, done.stderr
    compiled = json.loads(done.stdout)
    assert compiled["chosen"] in compiled["records_per_s"]
    tolerances = Tolerances()
    for name in compiled["records_per_s"]:
        assert max(compiled["differences"][name].values()) <= tolerances.of(name)
    assert max(compiled["differences"]["torch"].values()) <= tolerances.float32


def test_metrics_health_and_readiness_are_served(tmp_path, servers):
    import urllib.request

    with ward(tmp_path, servers) as there:
        worker = there.start()
        address = f"http://127.0.0.1:{worker.settings.process.http_port}"
        for path in ("healthz", "readyz"):
            assert json.loads(urllib.request.urlopen(f"{address}/{path}").read()) == {"status": "ok"}
        text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    for name in ("screened_records", "engine_seconds", "batch_records", "held_records", "model_info"):
        assert f"cardiacnets_{name}" in text
