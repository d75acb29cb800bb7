"""What the dashboard's tests put on the topics and into Redis: simulated patients, the truth standing for estimates."""

import asyncio
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
from redis.asyncio import Redis
from waiting import PATIENCE_S

from inference.cine import Cine, CineGeometry, CineProvenance
from inference.ecg_measurements import measure_ecgs
from inference.phenotypes import MEASUREMENTS
from inference.readout import Finding
from inference.report import compose_alerts, compose_cmr_request, compose_report
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
from schemas.identity import cine_seed
from schemas.messages import (
    DISEASES,
    Alert,
    CmrRequest,
    CmrResult,
    ModelReference,
    Phenotype,
    Quality,
    QualityWarning,
    Risk,
    RiskReport,
    encode_message,
)
from schemas.topics import CMR_REQUESTS, CMR_RESULTS, ECG_ALERTS, ECG_RISK, record_key
from stream.broker.clients import ensure_topics, new_producer
from stream.cines.store import CineStore, cine_key
from stream.demo.child_process import Child
from stream.demo.embedded_servers import free_port
from stream.screening.waveform_cache import waveform_key
from stream.settings import Settings, as_environment
from training.simulation.simulate_cohort import simulate_patient

TOKEN = "a-token-of-the-tests"
MODEL = ModelReference(
    name="cardiacnets-reference",
    version="1.0.0+test",
    trained=True,
    weights="demonstration weights: simulated patients",
)
THRESHOLDS = dict(zip(DISEASES, (0.32, 0.18, 0.21, 0.15, 0.12), strict=True))


@dataclass(frozen=True)
class Case:
    """A record and all that follows from it."""

    record: EcgRecord
    report: RiskReport
    alerts: list[Alert]
    request: CmrRequest | None
    cine: Cine

    @property
    def key(self):
        return record_key(self.record)

    def messages(self):
        """Yield topic, key and message, as a worker publishes them."""
        yield ECG_RISK, self.key, self.report
        for alert in self.alerts:
            yield ECG_ALERTS, self.key, alert
        if self.request:
            yield CMR_REQUESTS, self.key, self.request

    def result(self):
        return CmrResult(
            request_id=self.request.request_id,
            report_id=self.report.report_id,
            record_id=self.record.record_id,
            status="generated",
            redis_key=cine_key(self.record.record_id),
            size_bytes=self.cine.frames.size,
            seconds=1.2,
            code=None,
            detail=None,
            model=self.cine.provenance.generator,
            created_at=datetime.now(UTC),
        )


def simulate_case(
    seed, number, *, at=None, risks=None, patient_id=None, record_id=None, model=MODEL, site=None, doubts=()
):
    """Return a simulated patient's case.

    Args:
        risks: probabilities by disease, guessed from the truth otherwise.
        doubts: codes of warnings beside the one that every second case has.
    """
    simulated = simulate_patient(seed, number)
    at = at or datetime.now(UTC)
    record = EcgRecord(
        record_id=record_id or simulated.record_id,
        patient_id=patient_id or f"P-{seed}{number:04d}",
        leads=LEADS,
        sample_rate_hz=500.0,
        microvolts_per_step=5.0,
        samples=simulated.ecg.astype("<i2").tobytes(),
        recorded_at=at - timedelta(seconds=2),
        age_years=round(simulated.patient.person.age_years),
        sex="female" if simulated.patient.person.female else "male",
        site=site,
    )
    finding = Finding(
        risks=_risks(risks or _guess(simulated.patient, number)),
        phenotypes=tuple(
            Phenotype(name=m.name, value=round(float(v), 4), unit=m.unit)
            for m, v in zip(MEASUREMENTS, simulated.phenotypes, strict=True)
        ),
        subtype={"dilated": 0.62, "hypertrophic": 0.27, "restrictive": 0.11},
        embedding=np.eye(256)[0],
        logits=np.zeros(5),
    )
    warning = QualityWarning(code="baseline_wander", detail="lead V3 wanders by 0.6 mV", numbers={"lead": "V3"})
    doubted = tuple(QualityWarning(code=code, detail=f"the gate says {code}") for code in doubts)
    quality = Quality(
        warnings=(*doubted, *((warning,) if number % 2 else ())),
        sample_rate_hz=500.0,
        duration_s=10.0,
        derived_leads=(),
    )
    (measured,) = measure_ecgs(simulated.ecg[None] * np.float32(5e-3), 500.0, [False])
    report = compose_report(record, quality, finding, model, at, measurements=measured)
    cine = _cine(simulated.cine, report)
    return Case(record, report, compose_alerts(report), compose_cmr_request(report, finding), cine)


def copies(case, number, now, *, seconds=3600, seed=0):
    """Yield so many cases like this one, with other ids, probabilities and times over the hour before `now`."""
    rng = np.random.default_rng(seed)
    for i in range(number):
        record = msgspec.structs.replace(case.record, record_id=f"replay-{i}", patient_id=f"patient-{i % 4000}")
        probabilities = dict(zip(DISEASES, np.round(rng.beta(0.5, 6, 5), 4).tolist(), strict=True))
        report = msgspec.structs.replace(
            case.report,
            report_id=f"report-{i}",
            record_id=record.record_id,
            patient_id=record.patient_id,
            risks=_risks(probabilities),
            created_at=now - timedelta(seconds=seconds * (1 - i / number)),
        )
        request = case.request and msgspec.structs.replace(
            case.request,
            request_id=f"request-{i}",
            report_id=report.report_id,
            record_id=record.record_id,
            created_at=report.created_at,
        )
        alerts = compose_alerts(report)
        yield replace(case, record=record, report=report, alerts=alerts, request=request if alerts else None)


def _risks(probabilities):
    return tuple(
        Risk(disease=disease, probability=p, threshold=THRESHOLDS[disease], flagged=p >= THRESHOLDS[disease])
        for disease, p in ((disease, probabilities[disease]) for disease in DISEASES)
    )


def _guess(patient, number):
    rng = np.random.default_rng(number)
    return {
        disease: round(float(rng.beta(6, 4) if patient.diseases[disease] else rng.beta(1, 14)), 4)
        for disease in DISEASES
    }


def _cine(frames, report):
    shape = CineGeometry(frames=len(frames), rows=96, columns=96, pixel_mm=2.35)
    seed = cine_seed(report.record_id, report.model)
    generator = ModelReference(name="simulated-heart", version="1", trained=True, weights="none: the truth itself")
    return Cine(
        frames,
        shape,
        CineProvenance(report.record_id, report.report_id, report.model, generator, seed, report.created_at),
    )


async def publish(settings, *messages):
    """Publish (topic, key, message)s, in order, all confirmed."""
    async with new_producer(settings.kafka) as producer:
        sent = [
            await producer.send(topic, message if isinstance(message, bytes) else encode_message(message), key=key)
            for topic, key, message in messages
        ]
        await asyncio.gather(*sent)


async def keep_waveform(settings, case):
    async with Redis.from_url(settings.redis.url) as redis:
        await redis.set(waveform_key(case.record.record_id), encode_ecg(case.record))


async def keep_cine(settings, case):
    async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
        await store.put(case.record.record_id, case.cine, seconds=1.2)


async def keep_everything(settings, *cases):
    """Publish cases with their cines drawn and their waveforms kept."""
    for case in cases:
        await keep_waveform(settings, case)
        await keep_cine(settings, case)
    results = [(CMR_RESULTS, case.key, case.result()) for case in cases if case.request]
    await publish(settings, *[message for case in cases for message in case.messages()], *results)


@contextmanager
def dashboard_ward(servers, **changes):
    """Give settings of a place on the shared servers, with topics; no dashboard yet."""
    with servers.place() as place:
        settings = Settings.of(
            **place,
            partitions=2,
            dashboard_port=free_port(),
            dashboard_token=TOKEN,
            **changes,
        )
        asyncio.run(ensure_topics(settings.kafka))
        yield settings


@contextmanager
def dashboard_process(settings, log: Path):
    """Run the dashboard; give its address and the process."""
    already = len(log.read_text()) if log.exists() else 0
    command = [sys.executable, "-m", "stream.cli", "dashboard"]
    environment = {**as_environment(settings), "OMP_NUM_THREADS": "1"}
    with Child(command, log=log, environment=environment, stop_s=PATIENCE_S) as child:
        for _ in count():
            said = log.read_text()[already:] if log.exists() else ""
            if found := re.search(r"dashboard: (http\S+)", said):
                break
            assert child.running, said
            time.sleep(0.05)
        yield found[1], child
