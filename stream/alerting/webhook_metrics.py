"""The Prometheus metrics of a webhook: whether its receiver confirms, and what it was never told."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("confirmed", "overtaken", "too_late", "tried_too_often", "too_many", "receiver_gone")
ANSWERS = ("2xx", "3xx", "4xx", "5xx", "none")


class WebhookMetrics:
    """The metrics, in the registry of the process. No label names an alert."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "cardiacnets_alert_webhook_messages",
            "Messages of alerts: confirmed by the receiver; overtaken by an untold state, or given up: too late, "
            "tried too often, too many that wait, or the receiver is gone, for it answered 410",
            ["outcome"],
            registry=registry,
        )
        self.tries = Counter(
            "cardiacnets_alert_webhook_tries", "Tries to send a message, by the answer", ["answer"], registry=registry
        )
        self._waiting = Gauge(
            "cardiacnets_alert_webhook_waiting_messages", "Messages that are not confirmed yet", registry=registry
        )
        self._failing = Gauge(
            "cardiacnets_alert_webhook_failing_seconds",
            "For how long every try has failed; 0 where the last one was confirmed",
            registry=registry,
        )
        for outcome in OUTCOMES:  # so that the first of a kind is an increase
            self.messages.labels(outcome)
        for answer in ANSWERS:
            self.tries.labels(answer)

    def follow(self, *, waiting: Callable[[], float], failing_s: Callable[[], float]) -> None:
        """Show what these return."""
        self._waiting.set_function(waiting)
        self._failing.set_function(failing_s)
