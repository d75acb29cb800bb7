"""What goes out for one ECG: each message an event of its own."""

from datetime import UTC, datetime

import msgspec
import numpy as np
from dashboard_ward import MODEL, simulate_case
from fake_generator import FakeGenerator

from inference.readout import Finding
from inference.screener import Screening
from schemas.topics import ECG_ALERTS
from stream.cines.worker import CineService
from stream.screening.answers import report_answers
from stream.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_message_is_an_event_with_an_id_of_its_own_and_an_alerts_tells_its_state():
    case = simulate_case(3, 1, at=NOW)
    finding = Finding(
        risks=tuple(risk for alert in case.alerts for risk in alert.risks),
        phenotypes=case.report.phenotypes,
        subtype={},
        embedding=np.eye(256)[0],
        logits=np.zeros(5),
    )
    screening = Screening(case.record, case.report.quality, finding)
    answers = report_answers(screening, MODEL, case.key, NOW, lambda _: True)
    ids = [dict(answer.headers)["ce_id"].decode() for answer in answers]
    assert len(set(ids)) == len(answers)
    told = [name for name, answer in zip(ids, answers, strict=True) if answer.topic == ECG_ALERTS]
    assert sorted(told) == sorted(f"{alert.identifier}/raised" for alert in case.alerts)
    assert told


async def test_a_request_that_failed_and_was_drawn_later_has_come_to_two_events():
    ids = []

    class Producer:
        async def send_and_wait(self, topic, value, *, key, headers):
            ids.append(dict(headers)["ce_id"].decode())

    case = simulate_case(3, 1, at=NOW)
    service = CineService(Settings(), FakeGenerator(), lag=lambda: 0, ready=lambda: True)
    service._producer = Producer()
    for status in ("failed", "generated"):
        await service._publish(case.key, msgspec.structs.replace(case.result(), status=status))
    assert ids == [f"{case.request.request_id}/{status}" for status in ("failed", "generated")]
