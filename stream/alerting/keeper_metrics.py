"""The keeper's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class KeeperMetrics:
    """All metrics of one keeper, in their own registry. No label ever names a patient or a record."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.active = Gauge("cardiacnets_keeper_active", "1 where this keeper is the one at work", registry=r)
        self.alerts = Gauge("cardiacnets_keeper_alerts", "Alerts that are kept, by state", ["status"], registry=r)
        self.moved = Counter(
            "cardiacnets_keeper_moved_alerts", "New states that were published, by state", ["status"], registry=r
        )
        self.overdue = Gauge(
            "cardiacnets_keeper_overdue_states",
            "New states that are not on their topic half a minute after they were due",
            registry=r,
        )
        self.unreadable = Gauge(
            "cardiacnets_keeper_unreadable_messages",
            "Messages that break the contract or are over a bound, since the keeper took over",
            ["topic"],
            registry=r,
        )
        self.not_kept = Gauge(
            "cardiacnets_keeper_open_alerts_not_kept",
            "Open alerts that were dropped because more came than the keeper keeps: nobody escalates them",
            registry=r,
        )
        self.passed_over = Gauge(
            "cardiacnets_keeper_moves_passed_over",
            "New states that were not handed on, because too many were under way",
            registry=r,
        )
        self.rebuilt_s = Gauge(
            "cardiacnets_keeper_rebuild_seconds", "How long the last reading of the topics took", registry=r
        )

    def stand_by(self) -> None:
        """Show that another keeper is at work."""
        self.active.set(0)
        self.alerts.clear()
        self.overdue.set(0)
        self.not_kept.set(0)
