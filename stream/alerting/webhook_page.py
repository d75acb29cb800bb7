"""What a webhook's receiver is told of an alert, and the signature on it, as Standard Webhooks have it.

The text and its id follow from the alert alone: they are the same at each try, and after a restart.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import msgspec

from schemas.identity import webhook_id
from schemas.messages import Alert

URGENCY = {
    ("escalated", "high"): 0,
    ("escalated", "medium"): 1,
    ("escalated", "low"): 1,
    ("raised", "high"): 2,
    ("raised", "medium"): 3,
    ("raised", "low"): 3,
}
NOT_URGENT = 4


@dataclass(eq=False, slots=True)
class Page:
    """A message that waits for its receiver's confirmation.

    Attributes:
        identifier: the alert's. A later state of the alert takes the place of an earlier one.
        message_id: the same for the same state of the same alert, for ever.
        urgency: the least goes first.
        ends_at: from then on nobody is told any more, by the clock of the queue's caller.
        tries: how often it was sent.
        due_at: when it may be sent again, by that clock.
    """

    identifier: str
    message_id: str
    body: bytes
    urgency: int
    ends_at: float
    tries: int = 0
    due_at: float = 0.0


def compose_page(alert: Alert, *, came_at: datetime, ends_at: float, dashboard: str | None) -> Page:
    """Return the message about an alert in its present state.

    Args:
        came_at: when it came to that state.
        ends_at: until when it is worth to tell it, by the clock of the queue's caller.
        dashboard: the address at which people open the dashboard, if there is one.
    """
    urgency = URGENCY.get((alert.status, alert.priority), NOT_URGENT)
    event = {"type": f"alert.{alert.status}", "timestamp": came_at, "data": _told(alert, dashboard)}
    body = msgspec.json.encode(event)
    return Page(alert.identifier, webhook_id(alert), body, urgency, ends_at)


def _told(alert: Alert, dashboard: str | None) -> dict[str, object]:
    """Return what is told: no more than a person needs who is called. The names are those of an `Alert`."""
    told: dict[str, object] = {
        name: getattr(alert, name)
        for name in ("identifier", "status", "priority", "code", "record_id", "device_id", "site")
    }
    told |= {"onset": alert.onset, "recorded_at": alert.recorded_at}
    told |= {"doubts": doubts_of(alert), "trained": alert.model.trained, "weights": alert.model.weights}
    if dashboard is not None:
        told["link"] = f"{dashboard.rstrip('/')}/record?id={quote(alert.record_id, safe='')}"
    return told | {"notice": alert.notice}


def doubts_of(alert: Alert) -> list[str]:
    """Return the codes of what is doubtful: what the gate warns of, and why the model was not made for such an ECG."""
    warnings = alert.ecg_quality.warnings if alert.ecg_quality else ()
    reasons = (reason for risk in alert.risks for reason in risk.reasons)
    return list(dict.fromkeys((*(warning.code for warning in warnings), *reasons)))


def signed_headers(page: Page, keys: Iterable[bytes], now: float) -> dict[str, str]:
    """Return the headers of one try: who signed what, and when."""
    at = str(int(now))
    content = b".".join((page.message_id.encode(), at.encode(), page.body))
    macs = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "Content-Type": "application/json",
        "webhook-id": page.message_id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{mac}" for mac in macs),
    }
