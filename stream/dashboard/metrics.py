"""The dashboard's Prometheus metrics: what waits for somebody, what it cannot show, and who looks at it."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from .feed import Header
from .state import READ_TOPICS, DashboardState


class DashboardMetrics:
    """All metrics of one dashboard, in their own registry. No label ever names a patient or a record."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self._alerts = Gauge("cardiacnets_dashboard_alerts", "Alerts that are shown, by state", ["status"], registry=r)
        self._oldest_open = Gauge(
            "cardiacnets_dashboard_oldest_open_alert_seconds",
            "For how long the oldest alert that is shown has been open; 0 where none is",
            registry=r,
        )
        self._not_shown = Gauge(
            "cardiacnets_dashboard_open_alerts_not_shown",
            "Open alerts that are not shown, because more came than the dashboard keeps",
            registry=r,
        )
        self._contradictions = Gauge(
            "cardiacnets_dashboard_contradictions",
            "Reports and alerts since the start that contradict what is kept under their record's id",
            registry=r,
        )
        self._unreadable = Gauge(
            "cardiacnets_dashboard_unreadable_messages",
            "Messages since the start that break the contract or are over a bound",
            ["topic"],
            registry=r,
        )
        self._behind = Gauge(
            "cardiacnets_dashboard_behind_messages", "Messages on the topics that have not been read yet", registry=r
        )
        self._pages = Gauge("cardiacnets_dashboard_pages", "Pages that are open and receive events", registry=r)
        self._sessions = Gauge(
            "cardiacnets_dashboard_sessions", "Sessions, and users of a proxy, that have a page open", registry=r
        )
        self._answers = Gauge(
            "cardiacnets_dashboard_server_answers", "Whether Kafka and Redis answer", ["server"], registry=r
        )

    def text(self, state: DashboardState, header: Header, *, pages: int, sessions: int) -> bytes:
        """Return the metrics as Prometheus reads them."""
        self._set_alerts(state)
        unreadable = state.unreadable
        for topic in READ_TOPICS:
            self._unreadable.labels(topic).set(unreadable[topic])
        self._contradictions.set(header.state.contradictions)
        self._behind.set(header.behind)
        self._pages.set(pages)
        self._sessions.set(sessions)
        self._answers.labels("kafka").set(header.kafka)
        self._answers.labels("redis").set(header.redis)
        return generate_latest(self._registry)

    def _set_alerts(self, state: DashboardState) -> None:
        alerts = state.alerts
        for status, number in alerts.counts().items():
            self._alerts.labels(status).set(number)
        since = alerts.oldest_open()
        self._oldest_open.set(0.0 if since is None else max(0.0, time.time() - since))
        self._not_shown.set(alerts.not_shown)
