"""`make bench-kafka ARGS=brokers`: a backlog, and the latency at half of its rate, on each kind of broker in turns."""

import argparse
from contextlib import contextmanager
from types import SimpleNamespace

from schemas.codec import encode_ecg
from schemas.topics import record_key
from stream.demo.embedded_servers import embedded_broker
from training.simulation.ecg import generate_ecgs

from .apache_kafka import apache_kafka, jars
from .bench import FULL, half_load
from .bench_stage import start_our_worker, whole_way


@contextmanager
def kafka(folder):
    """Run Apache Kafka as the embedded broker is run."""
    with apache_kafka(folder) as address:
        yield address, SimpleNamespace(process=SimpleNamespace(pid=None))


def brokers(options, show):
    """Return records/s of a backlog and percentiles at half of the slowest rate, by broker."""
    run = {"embedded": embedded_broker} | ({"Apache Kafka": kafka} if jars() else {})
    ecgs = list(generate_ecgs(FULL["distinct"], seed=1))
    values = [(ecg.record_id, record_key(ecg), encode_ecg(ecg)) for ecg in ecgs]
    sizes = {
        name: argparse.Namespace(**{**FULL, "records": options.records, "seconds": options.seconds}, run_broker=broker)
        for name, broker in run.items()
    }
    rates = {name: [] for name in run}
    for name in [*run, *run]:
        rates[name].append(float(whole_way(sizes[name], values, options.records, start_our_worker)))
        show(f"{name}: a backlog of {options.records}  {rates[name][-1]:8.1f} records/s")
    half = min(map(min, rates.values())) / 2
    found = {}
    for name in run:
        found[name] = half_load(sizes[name], half, lambda line, name=name: show(f"{name}: {line}"))
    if len(run) > 1:
        embedded, apache = (sum(rates[name]) for name in ("embedded", "Apache Kafka"))
        show(f"Apache Kafka / embedded      {apache / embedded:8.2f} of the rate")
    return {name: {"backlog_per_s": rates[name], **found[name]} for name in run}
