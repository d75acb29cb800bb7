"""The Prometheus metrics of a consumer group: what a process sees of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .group import Group


class GroupCollector(Collector):
    """Reads what is known of the group when Prometheus asks."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the group."""
        reading = self._group.reading
        yield GaugeMetricFamily(
            "cardiacnets_group_away_seconds", "For how long the process is outside its group", self._group.away_s
        )
        yield _by_topic(
            GaugeMetricFamily(
                "cardiacnets_open_transaction_seconds",
                "For how long an open transaction has been holding back the messages behind it",
                labels=["topic"],
            ),
            reading.held_back_s,
        )
        yield _by_topic(
            CounterMetricFamily(
                "cardiacnets_deleted_unread_offsets",
                "Offsets that retention deleted before they were read",
                labels=["topic"],
            ),
            reading.deleted,
        )
        yield _by_topic(
            CounterMetricFamily(
                "cardiacnets_partitions_without_offset",
                "Partitions with messages, of which the group had no offset: it is new, or its offsets have expired",
                labels=["topic"],
            ),
            reading.without_offset,
        )


def _by_topic(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]
) -> GaugeMetricFamily | CounterMetricFamily:
    for topic, value in dict(values).items():
        family.add_metric([topic], value)
    return family
