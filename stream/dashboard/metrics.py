"""The dashboard's Prometheus metrics: what it shows, and what it cannot show."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from .state import Overview


class DashboardMetrics:
    """All metrics of one dashboard, in their own registry. No label ever names a patient or a record."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self._alerts = Gauge("cardiacnets_dashboard_alerts", "Alerts that are shown, by state", ["status"], registry=r)
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
            registry=r,
        )

    def text(self, overview: Overview) -> bytes:
        """Return the metrics as Prometheus reads them."""
        for status, number in overview.alerts.items():
            self._alerts.labels(status).set(number)
        self._not_shown.set(overview.not_shown)
        self._contradictions.set(overview.contradictions)
        self._unreadable.set(overview.unreadable)
        return generate_latest(self._registry)
