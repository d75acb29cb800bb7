"""`make bench`: speed and memory of the whole way, as ratios within one run.

1. the engine alone, before and after everything else
2. the whole way: a backlog on the broker, the worker, answers on the broker
3. the loop that a newcomer would write, on the same backlog
4. latency from publish to report at half of (2)
5. the worker's resident memory over backlogs of 2,000 and 20,000 records
6. screening while a cmr-worker draws cines at its lower priority: records a second, and records a second of processor
7. reading WFDB files, as we do and as `wfdb` does, and publishing them: processor time of this process a record
8. what a record costs beside the network, by part: processor time of one thread in batches as the worker forms them
9. one worker's ceiling: the whole way with an engine that costs nothing
10. what a record costs by thread and process under a full backlog in float32, and what follows: outside over within the
    engine's threads, whole way over bare engine, whole way over newcomer
11. what a report takes as the load grows from a tenth to nearly all of the capacity
12. 1, 2 and 4 workers with a core each, measured where there are the cores, and computed
13. with `--peers` alone: mosec, LitServe, Ray Serve and BentoML on the same graph and cores
"""

import argparse
import asyncio
import contextlib
import functools
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import psutil

from engines.batcher import Lane
from inference.bundle import default_bundle, load_bundle, load_probe
from inference.ecg_measurements import measure_ecgs
from inference.intake import take_in, usable_signals
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_ecg
from inference.report import compose_alerts, compose_cmr_request, compose_report
from inference.screener import Screener
from inference.waveform import preprocess
from schemas.codec import decode_ecg, encode_ecg
from schemas.messages import RiskReport, decode_message, encode_message
from schemas.topics import ECG_RISK, record_key
from stream.broker.clients import new_consumer
from stream.broker.ecg_publisher import EcgPublisher, publish_files
from stream.broker.rate_limit import Pace
from stream.demo.account import latency
from stream.demo.embedded_servers import free_port
from stream.demo.stage import await_worker, start_worker
from stream.logs import configure_logs
from training.simulation.ecg import generate_ecgs
from training.simulation.simulate_cohort import write_wfdb

from .bench_load import load
from .bench_peers import peers
from .bench_stage import (
    answer_times,
    encoded_apart,
    engine_alone,
    processor_seconds,
    publish,
    servers,
    start_bench_worker,
    start_newcomer,
    start_our_worker,
    steady_rate,
    whole_way,
)
from .bench_threads import threads
from .bench_worker import FreeEngine
from .bench_workers import workers

FULL = {
    "records": 800,
    "seconds": 15.0,
    "backlogs": (2000, 20000),
    "distinct": 200,  # ECGs, published over and over
    "warm": 40,  # answers left out at the start of a measured backlog: joining the group, first batches
    "watched_from": 400,  # answers before the memory is looked at
    "looks": 20,
    "files": 100,
    "ceiling_records": 6000,
    "load_seconds": 20.0,
    "worker_counts": (1, 2, 4),
    "in_flight": 64,  # a batch runs, a batch is ready, two are on their way
    "poll_s": 1.0,  # seldom, so that reading costs the measured processes little
    "most_per_s": 1e6,
    "settings": {},
}
SMOKE = {
    "records": 24,
    "seconds": 0.3,
    "backlogs": (12, 24),
    "distinct": 16,
    "warm": 2,
    "watched_from": 8,
    "looks": 2,
    "files": 4,
    "ceiling_records": 24,
    "load_seconds": 0.5,
    "worker_counts": (1, 4),
    "in_flight": 4,
    "poll_s": 0.1,
    "most_per_s": 40.0,
    "settings": {"engine": "onnxruntime", "rebalance_timeout_s": 2.0},
}

PARTS = ("throughput", "latency", "memory", "generation", "reading", "parts", "ceiling", "threads", "load", "workers")
PEERS = "peers"
"""A part that runs only where it is asked for: it installs what it compares with."""


def main():
    """Measure and print."""
    options = read_options()
    configure_logs("WARNING", "console")  # to standard error: what is printed here may be JSON
    results = {}
    ecgs = list(generate_ecgs(options.distinct, seed=1))
    values = [(ecg.record_id, record_key(ecg), encode_ecg(ecg)) for ecg in ecgs]
    show = print if not options.json else lambda *_: None
    parts_by_name = {
        "throughput": lambda: throughput(options, ecgs, values, show),
        "latency": lambda: half_load(options, values, results, show),
        "memory": lambda: memory(options, values, show),
        "generation": lambda: generation(options, show),
        "reading": lambda: reading(options, show),
        "parts": lambda: parts(options, ecgs, values, show),
        "ceiling": lambda: ceiling(options, values, show),
        "threads": lambda: threads(options, ecgs, values, show),
        "load": lambda: load(options, values, show),
        "workers": lambda: workers(options, values, results, show),
        "peers": lambda: peers(options, ecgs, values, show),
    }
    for name in [options.only] if options.only else PARTS:
        results |= parts_by_name[name]()
    if options.json:
        print(json.dumps(results))


def read_options():
    """Return the sizes of what is measured, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, help="backlog of the throughput measurements (800)")
    parser.add_argument("--seconds", type=float, help="length of each engine and latency measurement (15)")
    parser.add_argument("--backlogs", type=int, nargs=2, help="of the memory measurement (2000 20000)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=(*PARTS, PEERS))
    parser.add_argument("--peers", action="store_const", dest="only", const=PEERS)
    parser.add_argument("--load-seconds", type=float, help="of each share of the load curve (20)")
    parser.add_argument(
        "--smoke", action="store_true", help="run every part on a few records: the figures mean nothing"
    )
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    return argparse.Namespace(**{"only": None, **(SMOKE if given["smoke"] else FULL), **given})


def throughput(options, ecgs, values, show):
    """Engine, whole way and newcomer, interleaved: engine, ours, engine, newcomer, engine."""
    engines = [engine_alone(options, ecgs).per_s]
    show(f"engine alone            {engines[-1]:8.1f} records/s")
    ours = whole_way(options, values, options.records, start_our_worker)
    show(f"whole way               {ours:8.1f} records/s")
    engines.append(engine_alone(options, ecgs).per_s)
    show(f"engine alone            {engines[-1]:8.1f} records/s")
    newcomer = whole_way(options, values, max(options.records // 3, 3 * options.warm), start_newcomer)
    show(f"newcomer's loop         {newcomer:8.1f} records/s")
    alone = float(np.mean(engines))
    show(f"whole way / engine      {ours / alone:8.2f}   (aim: at least 0.90)")
    show(f"whole way / newcomer    {ours / newcomer:8.2f}   (aim: at least 3.5)")
    return {
        "engine_records_per_s": alone,
        "whole_way_records_per_s": ours,
        "newcomer_records_per_s": newcomer,
        "of_engine": ours / alone,
        "of_newcomer": ours / newcomer,
    }


def half_load(options, values, results, show):
    """Return latency percentiles from publish to report, as a subscriber sees them, at half of what the way can do."""
    rate = results.get("whole_way_records_per_s") or whole_way(options, values, options.records, start_our_worker)
    rate_hz = min(rate / 2, options.most_per_s)
    with servers(options) as (settings, folder, _), start_our_worker(settings, folder):
        seconds = asyncio.run(latencies(options, settings, rate_hz))
    found = latency(seconds)
    show(f"latency at {rate_hz:5.1f}/s      p50 {found.p50:.0f}  p95 {found.p95:.0f}  p99 {found.p99:.0f} ms")
    return {"half_load_per_s": rate_hz, "latency_ms": msgspec.to_builtins(found)}


async def latencies(options, settings, rate_hz):
    """Publish at a rate, each record under an id of its own; return the seconds until each report."""
    records = max(round(rate_hz * options.seconds * 2), 2 * options.warm)
    encoded = encoded_apart(options, records)
    sent, seconds, pace = {}, [], Pace(rate_hz)
    async with (
        new_consumer(settings.kafka, [ECG_RISK], auto_offset_reset="earliest") as consumer,
        EcgPublisher(settings.kafka, Lane.REALTIME) as publisher,
        asyncio.TaskGroup() as tasks,
    ):

        async def send():
            for record_id, key, value in encoded:
                await pace.step()
                sent[record_id] = time.monotonic()
                await publisher.send_value(value, key=key, record_id=record_id)

        tasks.create_task(send())
        async with asyncio.timeout(60 + records / rate_hz):
            async for message in consumer:
                seconds.append(time.monotonic() - sent[decode_message(RiskReport, message.value).record_id])
                if len(seconds) == records:
                    break
    return seconds[options.warm :]


def memory(options, values, show):
    """Return the worker's resident memory while it works on each backlog, from its 400th answer on."""
    resident = {}
    for backlog in options.backlogs:
        with servers(options) as (settings, folder, _):
            asyncio.run(publish(settings, values, backlog))
            with start_our_worker(settings, folder) as worker:
                asyncio.run(answer_times(options, settings, options.watched_from, worker))
                resident[backlog] = typical_memory(options, psutil.Process(worker.process.pid)) / 2**20
        show(f"memory, backlog {backlog:6d}  {resident[backlog]:8.1f} MiB")
    small, large = resident.values()
    show(f"memory, large / small   {large / small:8.3f}   (aim: within 5 %)")
    return {"resident_mib": resident, "memory_ratio": large / small}


def typical_memory(options, process, seconds_apart=0.1):
    """Return the median of a process's resident bytes over some batches: one glance catches one batch's peak or not."""
    seen = []
    for _ in range(options.looks):
        seen.append(process.memory_info().rss)
        time.sleep(seconds_apart)
    return np.median(seen)


def generation(options, show):
    """Return how screening goes beside a cmr-worker that draws the cine of every flagged record, now and of before."""
    with servers(options) as (settings, folder, _):
        alone = screen_backlog(options, settings, folder, first=0)
        of_cines = settings.changed(http_port=free_port())
        with start_worker(of_cines, folder / "cmr-worker.log", "cmr-worker") as drawing:
            await_worker(drawing, of_cines)
            process = psutil.Process(drawing.process.pid)
            before = processor_seconds(process)
            beside = screen_backlog(options, settings, folder, first=options.records)
            drawn = processor_seconds(process) - before
    by_wall, by_processor = (one / other for one, other in zip(beside, alone, strict=True))
    show(f"screening alone         {alone[0]:8.1f} records/s, {alone[1]:.1f} a second of processor")
    show(f"beside drawn cines      {beside[0]:8.1f} records/s, {beside[1]:.1f} a second of processor")
    show(f"processor for cines     {drawn:8.1f} s meanwhile")
    show(f"beside / alone          {by_wall:8.2f}, a second of processor {by_processor:.2f}   (aim: at least 0.90)")
    return {"beside_cines": by_wall, "beside_cines_by_processor": by_processor, "cines_processor_s": drawn}


def screen_backlog(options, settings, folder, first):
    """Return records/s and records a second of the worker's processor, for a backlog of records of their own ids."""
    asyncio.run(publish(settings, encoded_apart(options, options.records, first), options.records))
    with start_our_worker(settings, folder) as worker:
        process = psutil.Process(worker.process.pid)
        before = processor_seconds(process)
        stamps = asyncio.run(answer_times(options, settings, first + options.records, worker))
        spent = processor_seconds(process) - before
    return steady_rate(options, np.sort(stamps)[first:]), options.records / spent


def reading(options, show):
    """Return the processor time of reading and encoding a record, against `wfdb`, and of publishing it."""
    import wfdb

    with tempfile.TemporaryDirectory() as name:
        write_wfdb(Path(name) / "ecgs", options.files, seed=7, processes=1)
        paths = list(find_ecgs([Path(name)]))
        records = list(map(read_ecg, paths))
        stems = [str(path.with_suffix("")) for path in paths]
        works = {
            "ours": functools.partial(each, read_ecg, paths),
            "wfdb": functools.partial(each, wfdb.rdrecord, stems),
            "encoding": functools.partial(each, encode_ecg, records),
        }
        ms = {work: 1e3 * spent / options.files for work, spent in in_turns(works, options.seconds).items()}
        ms["publishing"] = 1e3 * publishing(options, Path(name)) / options.files
    show(f"reading a record        {ms['ours']:8.2f} ms of processor (wfdb alone {ms['wfdb']:.2f})")
    show(f"wfdb / reading          {ms['wfdb'] / ms['ours']:8.2f}   (aim: at least 2)")
    show(f"encoding a record       {ms['encoding']:8.2f} ms of processor")
    show(
        f"publishing a file       {ms['publishing']:8.2f} ms of processor, {1e3 / ms['publishing']:.0f} a second of it"
    )
    return {"processor_ms": ms, "wfdb_of_reading": ms["wfdb"] / ms["ours"]}


def parts(options, ecgs, values, show):
    """Return the processor time of a record in each part of the worker's own work, in batches of the worker's size."""
    bundle = load_bundle(default_bundle())
    n_crops, rate_hz = bundle.manifest.input.n_crops, ecgs[0].sample_rate_hz
    screener = Screener(bundle, FreeEngine(load_probe(bundle).expected))
    screener.warm_up(screener.records_wanted)
    starts = range(0, len(ecgs), screener.records_wanted)
    batches = [ecgs[start : start + screener.records_wanted] for start in starts]
    signals = [np.stack(list(map(usable_signals, batch))) for batch in batches]
    prepared = list(map(screener.prepare, batches))
    answers = [answer for batch in prepared for answer in screener.run(batch)]
    works = {
        "decode": functools.partial(each, decode_ecg, [value for _, _, value in values]),
        "intake": functools.partial(each, lambda batch: take_in(batch, n_crops), batches),
        "measure": functools.partial(each, lambda batch: measure_ecgs(batch, rate_hz, [False] * len(batch)), signals),
        "preprocess": functools.partial(each, lambda batch: preprocess(batch, rate_hz, n_crops), signals),
        "read out": functools.partial(each, screener.run, prepared),
        "compose": functools.partial(each, composed, answers),
    }
    ms = {work: 1e3 * spent / len(ecgs) for work, spent in in_turns(works, options.seconds).items()}
    ms["gate"] = ms.pop("intake") - ms["measure"] - ms["preprocess"]  # and what turns integers into millivolts
    for name in ("decode", "gate", "measure", "preprocess", "read out", "compose"):
        show(f"{name} a record".ljust(24) + f"{ms[name]:8.3f} ms of processor")
    show(f"beside the network      {sum(ms.values()):8.3f} ms of processor a record, without Kafka")
    return {"parts_processor_ms": ms}


def composed(screening):
    """Return the messages that answer an ECG, as bytes."""
    report = compose_report(screening.record, screening.quality, screening.finding, screening.model, datetime.now(UTC))
    request = compose_cmr_request(report, screening.finding)
    return [encode_message(message) for message in (report, *compose_alerts(report), request) if message]


def ceiling(options, values, show):
    """Return how many records/s a worker screens whose engine costs nothing, and its processor time a record."""
    spent = []

    @contextlib.contextmanager
    def start_free_worker(settings, folder):
        with start_bench_worker(settings, folder, "free") as worker:
            process = psutil.Process(worker.process.pid)
            before = processor_seconds(process)
            yield worker
            spent.append(processor_seconds(process) - before)

    records = options.ceiling_records
    rate = whole_way(options, values, records, start_free_worker)
    show(f"ceiling of one worker   {rate:8.1f} records/s   (aim: at least 1200)")
    show(f"its processor time      {1e3 * spent[0] / records:8.3f} ms a record")
    return {"ceiling_records_per_s": rate, "ceiling_processor_ms": 1e3 * spent[0] / records}


def each(work, things):
    """Do the work with each of the things."""
    for thing in things:
        work(thing)


def in_turns(works, seconds):
    """Return the processor seconds of each work: the median of its turns. The works take turns for so many seconds."""
    spent, until = {name: [] for name in works}, time.perf_counter() + seconds
    while not all(spent.values()) or time.perf_counter() < until:
        for name, work in works.items():
            before = time.process_time()
            work()
            spent[name].append(time.process_time() - before)
    return {name: float(np.median(turns)) for name, turns in spent.items()}


def publishing(options, folder):
    """Return the processor seconds in which this process reads, encodes and publishes the files of a folder."""
    with servers(options) as (settings, _, _):
        before = time.process_time()
        sent = asyncio.run(publish_files(settings.kafka, [folder], lane=Lane.REALTIME))
        spent = time.process_time() - before
    if sent.published != options.files:
        raise SystemExit(f"{sent.published} of {options.files} files were published: {sent.trouble}")
    return spent


if __name__ == "__main__":
    main()
