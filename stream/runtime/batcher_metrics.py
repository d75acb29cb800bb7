"""The batcher's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engines.batcher import Batcher, Lane

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class BatcherCollector(Collector):
    """Reads the batcher's counts when Prometheus asks, so metrics add no work to a batch."""

    def __init__(self, batcher: Batcher[Any, Any, Any]) -> None:
        self._batcher = batcher

    def collect(self) -> Iterator[Metric]:
        """Yield the batcher's figures."""
        counts = self._batcher.counts
        yield CounterMetricFamily("cardiacnets_engine_seconds", "Seconds that the engine worked", counts.busy_s)
        yield CounterMetricFamily("cardiacnets_engine_failures", "Batches that the engine failed", counts.failures)
        queued = GaugeMetricFamily("cardiacnets_queued_records", "Records waiting for a batch", labels=["lane"])
        for lane in Lane:
            queued.add_metric([lane.value], self._batcher.queued(lane))
        yield queued
        sizes = dict(counts.sizes)
        buckets = [(str(le), float(sum(n for size, n in sizes.items() if size <= le))) for le in BATCH_BUCKETS]
        yield HistogramMetricFamily(
            "cardiacnets_batch_records",
            "Records in a batch",
            [*buckets, ("+Inf", float(sum(sizes.values())))],
            float(sum(size * n for size, n in sizes.items())),
        )
