"""The bench's part `threads`: what a record costs in each thread and process, under a full backlog, in float32."""

import argparse
import asyncio
import json
import operator
import time

import numpy as np

from .bench_stage import (
    answer_times,
    engine_alone,
    publish,
    servers,
    start_bench_worker,
    start_newcomer,
    steady_rate,
    whole_way,
)
from .bench_worker import ENGINE, WATCHER

FLOAT32 = "openvino"
NAMES = {
    "MainThread": "main thread",
    "batcher-preparer": "preparer",
    "batcher-device": "device thread, outside the engine",
    "libraries": "libraries' threads (OpenBLAS)",
    "Thread-": "Faust's consumer thread",
    "asyncio": "pool of the main thread",
    "ThreadPoolExecutor": "pool of the main thread",
}
"""How the table calls a thread, by the beginning of its own name."""
ALWAYS_SHOWN = frozenset(NAMES.values())
OWN = "the bench's own thread, not counted"
SMALLEST_MS = 0.005
LOOK_S = 0.25
NEARLY_ALL = 0.9
"""Of a backlog: the last batches are smaller."""
PATIENCE_S = 300.0
OUTSIDE_AIM, ENGINE_AIM, NEWCOMER_AIM = 0.10, 0.90, 3.5


def threads(options, ecgs, values, show):
    """Show the table, and the three ratios to which we are held. The engine alone is measured around each other one."""
    options = argparse.Namespace(**{**vars(options), "settings": {"engine": FLOAT32, **options.settings}})
    alone = [engine_alone(options, ecgs)]
    ours, spent = watched(options, values)
    alone.append(engine_alone(options, ecgs))
    newcomer = whole_way(options, values, max(options.records // 3, 3 * options.warm), start_newcomer)
    alone.append(engine_alone(options, ecgs))
    each_line(table(spent), show)
    per_s = float(np.mean([one.per_s for one in alone]))
    whole_ms = spent["inside_ms"] + spent["outside_ms"]
    ratios = {
        "outside_of_inside": spent["outside_ms"] / spent["inside_ms"],
        "of_engine": ours / per_s,
        "of_engine_by_processor": float(np.mean([one.processor_ms for one in alone])) / whole_ms,
        "of_newcomer": ours / newcomer,
    }
    each_line(against_aims(ratios, ours, per_s, newcomer), show)
    return {"threads": {**spent, **ratios, "records_per_s": ours, "engine_per_s": per_s, "newcomer_per_s": newcomer}}


def against_aims(ratios, ours, engine, newcomer):
    """Yield the ratios beside what they should be."""
    yield f"{'outside / within the engine':36}{ratios['outside_of_inside']:8.3f}   (aim: at most {OUTSIDE_AIM:.2f})"
    remark = f"(aim: at least {ENGINE_AIM:.2f}): {ours:.1f} of {engine:.1f} records/s"
    yield f"{'whole way / bare engine':36}{ratios['of_engine']:8.3f}   {remark}"
    yield f"{'the same in processor time':36}{ratios['of_engine_by_processor']:8.3f}   (whatever others take)"
    remark = f"(aim: at least {NEWCOMER_AIM}): {newcomer:.1f} records/s"
    yield f"{'whole way / newcomer':36}{ratios['of_newcomer']:8.3f}   {remark}"


def each_line(lines, show):
    """Show every line."""
    for line in lines:
        show(line)


def watched(options, values):
    """Return records/s of a worker over a full backlog, and what a record cost from the first answers to the last."""
    with servers(options) as (settings, folder, pids):
        asyncio.run(publish(settings, values, options.records))
        place = folder / "looks.json"
        watched_pids = [f"{name}={pid}" for name, pid in pids.items()]
        with start_bench_worker(settings, folder, "watched", place, *watched_pids) as worker:
            looks = looks_at(place, worker, NEARLY_ALL * options.records)
            stamps = asyncio.run(answer_times(options, settings, options.records, worker))
    first = [look for look in looks if look["records"] <= options.warm][-1]
    return steady_rate(options, stamps), costs(first, looks[-1])


def looks_at(place, worker, records):
    """Wait until the engine has run so many records, and return what the worker wrote down until then.

    Nobody reads the answers meanwhile: that would cost the broker something.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if not worker.running:
            raise SystemExit(worker.last_words())
        looks = [json.loads(line) for line in place.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if looks[-1]["records"] >= records:
            return looks
        time.sleep(LOOK_S)
    raise SystemExit(f"the worker did not run {records:.0f} records within {PATIENCE_S:g} s")


def costs(first, last):
    """Return milliseconds of processor a record between two looks: of each thread and process, and of its parts."""
    records = max(last["records"] - first["records"], 1)
    ms = a_record(first, last, records)
    by_thread = ms["threads"]
    within, watcher = by_thread.pop(ENGINE, 0.0), by_thread.pop(WATCHER, 0.0)
    by_thread["batcher-device"] = by_thread.get("batcher-device", 0.0) - ms["caller_s"]
    rows = renamed(by_thread, operator.add) | ms["servers"]
    return {
        "records": records,
        "seconds": last["at"] - first["at"],
        "engine_ms": {"its own threads": within, "the thread that calls it": ms["caller_s"]},
        "inside_ms": within + ms["caller_s"],
        "outside_ms": sum(rows.values()),
        "by_thread_ms": rows,
        "parts_ms": {name: shares(rows.get(name, 0.0), its) for name, its in renamed(ms["samples"], added).items()},
        "watcher_ms": watcher,
    }


def a_record(first, last, records):
    """Return the difference of two looks in milliseconds a record; what the first one lacks was nothing then."""
    if isinstance(last, dict):
        return {name: a_record(first.get(name, type(value)()), value, records) for name, value in last.items()}
    return 1e3 * (last - first) / records


def renamed(table, join):
    """Return a table by thread under the names that we show, with threads of one name joined."""
    joined = {}
    for name, value in table.items():
        shown = next((shown for start, shown in NAMES.items() if name.startswith(start)), name)
        joined[shown] = join(joined[shown], value) if shown in joined else value
    return joined


def shares(ms, samples):
    """Return how the cost of a thread is divided between the parts at which it was seen, the engine's aside."""
    seen = {part: count for part, count in samples.items() if part != ENGINE and count > 0}
    return {part: ms * count / sum(seen.values()) for part, count in seen.items()}


def added(one, other):
    """Return the sums of two tables of costs."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in one | other}


def table(spent):
    """Yield the table: the engine's threads first, then what lies outside them, the dearest first."""
    yield f"{'ms of processor a record':36}{'ms':>8}   of the engine's"
    within = spent["inside_ms"]
    own, caller = spent["engine_ms"].values()
    yield row("engine's threads", within, within, f"its own {own:.2f}, the device thread in its call {caller:.2f}")
    for name, ms in sorted(spent["by_thread_ms"].items(), key=lambda item: -item[1]):
        if ms >= SMALLEST_MS or name in ALWAYS_SHOWN:
            yield row(name, ms, within, in_words(spent["parts_ms"].get(name, {})))
    yield row("outside the engine's threads", spent["outside_ms"], within, "")
    yield row(OWN, spent["watcher_ms"], within, "")


def row(name, ms, within, remark):
    """Return a line of the table."""
    return f"{name:36}{ms:8.3f}   {ms / within:6.1%}   {remark}".rstrip()


def in_words(parts):
    """Return the parts of a thread, the dearest first."""
    dear = sorted(((ms, part) for part, ms in parts.items() if ms >= 2 * SMALLEST_MS), reverse=True)
    return ", ".join(f"{part} {ms:.2f}" for ms, part in dear)
