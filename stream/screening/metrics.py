"""The worker's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

LATENCY_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics of one worker, in their own registry. No label ever names a patient or a record."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.model = Info("cardiacnets_model", "The model and the engine that screen records", registry=r)
        self.screened = Counter("cardiacnets_screened_records", "Records answered by a report", ["lane"], registry=r)
        self.rejected = Counter(
            "cardiacnets_rejected_records", "Records answered by a rejection", ["lane", "code"], registry=r
        )
        self.flagged = Counter("cardiacnets_flagged_risks", "Risks that were detected", ["disease"], registry=r)
        self.not_assessable = Counter(
            "cardiacnets_not_assessable_records",
            "Records whose report says that a disease is not assessable, by reason; a record may have several",
            ["reason"],
            registry=r,
        )
        self.alerts = Counter(
            "cardiacnets_alerts",
            "Alerts: raised, or suppressed as repeated, over the budget, shelved by a person, or from an archive",
            ["outcome"],
            registry=r,
        )
        self.seconds = Histogram(
            "cardiacnets_record_seconds",
            "From the record's Kafka timestamp to its confirmed answer",
            ["lane"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.timestamps = Counter(
            "cardiacnets_unusable_timestamps",
            "Records left out of cardiacnets_record_seconds: their Kafka timestamp is missing, ahead of our clock, or "
            "more than seven days old",
            ["lane"],
            registry=r,
        )
        self.ecg_ids = Counter(
            "cardiacnets_ecg_ids",
            "Record ids of ECGs that passed the gate: new, repeated with the same ECG, or foreign, another ECG's; and "
            "those that Redis forgot before their time, removed to make room for newer ones",
            ["outcome"],
            registry=r,
        )
        self.unshared_ids = Counter(
            "cardiacnets_unshared_ecg_ids",
            "Record ids that were checked in this process alone, because Redis did not answer",
            registry=r,
        )
        self.held = Gauge("cardiacnets_held_records", "Records accepted and not yet acknowledged", ["lane"], registry=r)
        self.lag = Gauge("cardiacnets_lag_records", "Records on the topic not yet acknowledged", ["topic"], registry=r)
        self.waveforms = Counter(
            "cardiacnets_waveforms",
            "Waveforms of flagged records: stored, dropped because Redis was not available, left_out because an "
            "archive has as many as it may, or removed before their time to make room for newer ones",
            ["outcome"],
            registry=r,
        )
