"""Messages and cines of odd content, made of bytes; and what the dashboard promises of whatever it reads."""

import json
import math
from datetime import UTC, datetime, timedelta

import msgspec
import zstandard
from sample_cine import MODEL, sample_cine, sample_request

from inference.cine import CineGeometry
from inference.fhir import encode_bundle
from schemas.identity import alert_event_id
from schemas.messages import (
    DISEASES,
    Acknowledgement,
    Alert,
    CmrResult,
    Phenotype,
    Quality,
    QualityWarning,
    Rejection,
    Risk,
    RiskReport,
    Shelving,
    decode_message,
    encode_message,
)
from schemas.topics import LARGEST
from stream.cines.store import VERSION, CorruptCine, check_sizes, read_about, read_cine
from stream.dashboard.feed import Header
from stream.dashboard.metrics import DashboardMetrics
from stream.dashboard.record_page import compose_page, foreign_to, known_facts
from stream.dashboard.state import READ_TOPICS, DashboardState
from stream.settings import AlertSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = "r-1"
RISK = Risk(disease="heart_failure", probability=0.9, threshold=0.1, flagged=True)
QUALITY = Quality(
    warnings=(QualityWarning(code="noisy", detail="V1 is noisy", numbers={"share": 0.5}),),
    sample_rate_hz=500.0,
    duration_s=10.0,
    derived_leads=("III",),
)
REQUEST = msgspec.structs.replace(sample_request(RECORD), created_at=NOW)
PROVENANCE = sample_cine(REQUEST).provenance
METRICS = DashboardMetrics()


def whole_messages():
    """Return a message of each topic that the dashboard reads, in the order of `READ_TOPICS`."""
    ids = {"request_id": REQUEST.request_id, "report_id": REQUEST.report_id, "record_id": RECORD}
    report = RiskReport(
        report_id=REQUEST.report_id,
        record_id=RECORD,
        patient_id="p",
        model=MODEL,
        risks=tuple(msgspec.structs.replace(RISK, disease=disease) for disease in DISEASES),
        phenotypes=(Phenotype(name="LVEF", value=50.5, unit="%"),),
        cardiomyopathy_subtype={"dilated": 1.0},
        quality=QUALITY,
        created_at=NOW,
        recorded_at=NOW,
    )
    alert = Alert(
        identifier="alert",
        status="raised",
        priority="high",
        derived_from=report.report_id,
        record_id=RECORD,
        subject="p",
        code="heart_failure",
        risks=(RISK,),
        model=MODEL,
        onset=NOW,
        recorded_at=NOW,
    )
    rejection = Rejection(
        rejection_id="x", record_id=RECORD, code="nan_run", detail="d", numbers={"a": 1}, source="t/0/1", created_at=NOW
    )
    made = {"redis_key": "k", "size_bytes": 5, "seconds": 0.5, "code": None, "detail": None}
    result = CmrResult(**ids, status="generated", **made, model=MODEL, created_at=NOW)
    ack = Acknowledgement(
        identifier="alert", record_id=RECORD, acknowledged_by="me", comment="seen", acknowledged_at=NOW
    )
    shelving = Shelving(
        shelving_id="s",
        subject="p",
        code="heart_failure",
        until=NOW,
        reason="known",
        shelved_by="me",
        shelved_at=NOW,
    )
    return report, alert, rejection, REQUEST, result, ack, shelving


def message_seeds():
    """Return contents: which topic, and the message as JSON."""
    return tuple(bytes([place]) + encode_message(one) for place, one in enumerate(whole_messages()))


def check_messages(content):
    """Take a message into a dashboard that knows a record, or none, and ask for all that it shows and publishes.

    An error is a fault of ours: what breaks the contract is counted, and has no other effect.
    """
    if not content:
        return
    topic = READ_TOPICS[content[0] % len(READ_TOPICS)]
    for already in ((), zip(READ_TOPICS, map(encode_message, whole_messages()), strict=True)):
        state = DashboardState(3, AlertSettings(), started_at=NOW.timestamp())
        for name, value in already:
            assert state.receive(name, b"p", value, NOW.timestamp(), arrived=NOW.timestamp())
        _take_in(state, topic, content[1:])


def _take_in(state, topic, value):
    before = state.overview(NOW.timestamp()).unreadable
    arrivals = (NOW.timestamp(), None)
    taken = [state.receive(topic, value, value, NOW.timestamp(), arrived=arrived) for arrived in arrivals]
    assert taken[0] == taken[1]
    assert state.overview(NOW.timestamp()).unreadable == before + taken.count(False)
    assert not (taken[0] and len(value) > LARGEST[topic])
    _show(state)
    for seconds in (0, 1000, 50_000):
        for entry in state.alerts.due(NOW + timedelta(seconds=seconds)):
            assert entry.key is None or len(entry.key) <= 1024
            assert decode_message(Alert, encode_message(entry.alert)) == entry.alert
            assert alert_event_id(entry.alert)
    _show(state)


def _show(state):
    rows = state.records.rows(1000)
    alerts = state.alerts.all()
    shown = [rows, alerts, state.alerts.take_changed(), state.alerts.take_dropped(), state.records.take_changed()]
    shown += [state.rejections.find(1000), state.rejections.find(10, "x"), state.records.rows(10, "p")]
    shown.append(overview := state.overview(NOW.timestamp()))
    assert json.loads(msgspec.json.encode(shown))
    assert METRICS.text(state, Header(overview, behind=0, kafka=True, redis=True), pages=1, sessions=1)
    for name in {row.record_id for row in (*rows, *alerts)}:
        page = compose_page(state, name)
        assert json.loads(msgspec.json.encode(page))
        assert page.report is None or json.loads(encode_bundle(page.report))
        assert known_facts(state, name).record_id == name
        foreign_to(state, name, PROVENANCE)


# --- cines


def cine_seeds():
    """Return contents: a byte for the frames, and geometry and provenance as JSON."""
    cine = sample_cine(REQUEST)
    shapes = (CineGeometry(1, 1, 1, 2.0), cine.geometry, CineGeometry(2, 3, 4, 2.0, "short_axis", 0.9))
    about = [
        {"geometry": msgspec.to_builtins(shape), "provenance": msgspec.to_builtins(cine.provenance), "seconds": 1.5}
        for shape in shapes
    ]
    return tuple(bytes([place]) + msgspec.json.encode(one) for place, one in enumerate(about))


def check_cine(content):
    """Read the fields of a cine as they might lie in Redis: a cine of this record, or `CorruptCine`."""
    fields = odd_fields(content)
    try:
        check_sizes({name: len(value) for name, value in fields.items()})
        about = read_about(list(fields.values())[:4], len(fields["frames"]), RECORD)
        cine = read_cine(about, fields["frames"])
    except CorruptCine:
        return
    assert cine.provenance.record_id == RECORD
    assert cine.frames.shape == cine.geometry.shape
    assert json.loads(json.dumps(msgspec.to_builtins({"geometry": cine.geometry, "provenance": cine.provenance})))


def odd_fields(content):
    """Return the fields of a hash that bytes make: frames that fit the geometry, mostly, or any bytes."""
    kind, text = content[:1] or b"\0", content[1:]
    try:
        tree = json.loads(text)
        parts = {
            name: json.dumps(tree[name]).encode("utf-8", "replace") for name in ("geometry", "provenance", "seconds")
        }
        pixels = min(max(1, abs(int(parts_product(tree["geometry"])))), 10**6)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        parts, pixels = dict.fromkeys(("geometry", "provenance", "seconds"), text), 1
    frames = {
        7: text,
        6: zstandard.ZstdCompressor(write_content_size=False).compress(bytes(pixels)),
        5: zstandard.compress(bytes(pixels + 1)),
        4: zstandard.compress(bytes(pixels)) + text[:9],
    }.get(kind[0] % 8, zstandard.compress(bytes(pixels)))
    return {"version": b"2" if kind[0] > 250 else VERSION, **parts, "frames": frames}


def parts_product(geometry):
    """Return how many pixels a geometry claims."""
    return math.prod(number for number in geometry.values() if isinstance(number, int))
