"""The examples do what they say: each is run as a user would run it, against a real broker and a real worker."""

import asyncio
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from harness import collect, ward
from tiny_cohort import write_tiny_cohort
from waiting import PATIENCE_S

from schemas.messages import Alert, ModelReference, Risk, encode_message
from schemas.topics import ECG_ALERTS
from stream.broker.clients import ensure_topics
from stream.demo.embedded_servers import embedded_broker
from stream.settings import KafkaSettings
from training.simulation.simulate_cohort import write_wfdb

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

pytestmark = [pytest.mark.servers, pytest.mark.learns]


def run(*command, **options):
    """Run a command to its end; return what it printed."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_python(name, *arguments):
    return run(sys.executable, EXAMPLES / name, *arguments, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory):
    """A copy of the Node example with its packages, laid out as in the repository."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("examples/publish.mjs", "examples/package.json", "schemas/ecg_record.avsc"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        install, cwd=folder / "examples", capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode:
        pytest.skip(
            f"needs packages that npm cannot install here ({done.stderr.strip()[-120:]}): try npm install in examples/"
        )
    return folder / "examples"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The settings of a ward with a worker."""
    with ward(tmp_path_factory.mktemp("ward")) as there:
        there.start()
        yield there.settings


def report_of(settings, record_id):
    answers = asyncio.run(collect(settings, until=lambda answers: record_id in answers.reports))
    return answers.reports[record_id]


def test_a_record_that_python_publishes_is_screened(served):
    report = report_of(served, run_python("publish_minimal.py", served.kafka.broker))
    assert report.patient_id == "pseudonym-17"
    assert [warning.code for warning in report.quality.warnings] == ["derived_leads", "age_unknown"]


def test_a_record_that_node_publishes_is_screened(served, node_folder):
    report = report_of(served, run("node", node_folder / "publish.mjs", served.kafka.broker))
    assert report.patient_id == "pseudonym-17"
    assert [warning.code for warning in report.quality.warnings] == ["derived_leads", "age_unknown"]


def an_alert(status, identifier="a1"):
    risk = Risk(disease="heart_failure", probability=0.9, threshold=0.2, flagged=True)
    model = ModelReference(name="model", version="1", trained=True, weights="of a test")
    return Alert(
        identifier=identifier,
        status=status,
        priority="high",
        derived_from="report",
        record_id="record",
        subject="pseudonym",
        code=risk.disease,
        risks=(risk,),
        model=model,
        onset=datetime.now(UTC),
    )


async def publish_alerts(broker, values):
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(ECG_ALERTS, value, key=b"pseudonym")


def test_the_subscriber_prints_each_new_state_once_and_passes_over_what_it_cannot_read(tmp_path):
    raised, acknowledged = encode_message(an_alert("raised")), encode_message(an_alert("acknowledged"))
    values = [raised, raised, acknowledged, raised, b"no alert", encode_message(an_alert("raised", "a2"))]
    with embedded_broker(tmp_path) as (broker, _):
        asyncio.run(ensure_topics(KafkaSettings(broker=broker)))
        asyncio.run(publish_alerts(broker, values))
        command = [sys.executable, str(EXAMPLES / "subscribe_alerts.py"), broker]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as subscriber:
            lines = [subscriber.stdout.readline().split() for _ in range(3)]
            subscriber.terminate()
            passed_over = subscriber.stderr.read()
    assert [line[0] for line in lines] == ["raised", "acknowledged", "raised"]
    assert lines[0][1:] == ["high", "heart_failure", "0.90", "record"]
    assert "passed over at offset" in passed_over


def test_the_engine_of_ones_own_screens_a_file_within_the_tolerance(tmp_path):
    write_wfdb(tmp_path, 1, 3, processes=1)
    (file,) = tmp_path.glob("*.hea")
    answer = run_python("custom_engine.py", file)
    assert answer.startswith(f"{file}: coronary_artery_disease 0.")
    assert "pericarditis 0." in answer


def test_the_stage_of_ones_own_learns_and_its_encoder_begins_the_next_stage(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from custom_stage import PretrainSex, pretrain_sex

    from training.stages.finetune import Finetune, finetune
    from training.stages.settings import Hardware, Learning

    once = Learning(epochs=1, batch_size=16, learning_rate=1e-3)
    cohort = write_tiny_cohort(tmp_path / "cohort", folds={"train": 16, "development": 16, "test": 1}, cines=False)
    sex = pretrain_sex(cohort, tmp_path / "sex", PretrainSex(learning=once), Hardware())
    assert sex.is_finished
    settings = Finetune(learning=once)
    assert finetune(cohort, tmp_path / "tuned", settings, Hardware(), encoder=sex.weights, aligned=None).is_finished
