"""What goes out for one ECG: each message an event of its own."""

from datetime import UTC, datetime

import numpy as np
from dashboard_ward import MODEL, simulate_case

from inference.readout import Finding
from inference.screener import Screening
from schemas.topics import ECG_ALERTS
from stream.answers import report_answers

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_message_is_an_event_with_an_id_of_its_own_and_an_alerts_tells_its_state():
    case = simulate_case(3, 1, at=NOW)
    finding = Finding(
        risks=tuple(risk for alert in case.alerts for risk in alert.risks),
        phenotypes=case.report.phenotypes,
        subtype={},
        embedding=np.eye(256)[0],
    )
    screening = Screening(case.record, case.report.quality, finding)
    answers = report_answers(screening, MODEL, case.key, NOW, lambda _: True)
    ids = [dict(answer.headers)["ce_id"].decode() for answer in answers]
    assert len(set(ids)) == len(answers)
    told = [name for name, answer in zip(ids, answers, strict=True) if answer.topic == ECG_ALERTS]
    assert sorted(told) == sorted(f"{alert.identifier}/raised" for alert in case.alerts)
    assert told
