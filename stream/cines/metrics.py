"""The cmr-worker's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from schemas.messages import CmrResult

DRAWING_BUCKETS_S = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300)


class CineMetrics:
    """All metrics of one cmr-worker, in their own registry. No label ever names a patient or a record."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.model = Info("cardiacnets_generator", "The generator that draws cines", registry=r)
        self.requests = Counter(
            "cardiacnets_cine_requests",
            "Requests answered: 'generated', or the code of the failure",
            ["outcome"],
            registry=r,
        )
        self.removed = Counter(
            "cardiacnets_cines_removed", "Cines that made room for newer ones before their time", registry=r
        )
        self.seconds = Histogram(
            "cardiacnets_cine_seconds", "Seconds that the drawing of a cine took", buckets=DRAWING_BUCKETS_S, registry=r
        )
        self.held = Gauge("cardiacnets_held_requests", "Requests accepted and not yet acknowledged", registry=r)
        self.lag = Gauge("cardiacnets_lag_requests", "Requests on the topic not yet acknowledged", registry=r)

    def count(self, outcome: str, result: CmrResult | None) -> None:
        """Count one answer."""
        self.requests.labels(outcome).inc()
        if result and result.seconds is not None:
            self.seconds.observe(result.seconds)
