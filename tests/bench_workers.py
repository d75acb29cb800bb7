"""The bench's part `workers`: 1, 2 and 4 workers of one group, each on a core of its own.

It is measured where this machine has the cores, and computed from the table of threads in any case.
"""

import argparse
import asyncio
import contextlib
import os

import numpy as np

from stream.demo.embedded_servers import free_port

from .bench_stage import answer_times, publish, servers, start_bench_worker
from .bench_threads import FLOAT32, watched

SERVERS = ("broker", "Redis")
COUNTED = (0.2, 0.8)
"""Of the answers, in their order: the first ones come while we still publish, the last ones of one worker alone."""


def workers(options, values, results, show):
    """Show records/s by the number of workers, measured and computed."""
    options = argparse.Namespace(**{**vars(options), "settings": {"engine": FLOAT32, **options.settings}})
    spent = results.get("threads") or watched(options, values)[1]
    cores = sorted(os.sched_getaffinity(0))
    rows = {}
    show("workers, a core each     measured  computed: servers on these cores  on cores of their own")
    for count in options.worker_counts:
        measured = on_own_cores(options, values, cores[:count]) if count <= len(cores) else None
        rows[count] = {"measured_per_s": measured, **computed(spent, count)}
        shown = f"{measured:9.1f}" if measured else f"{'no cores':>9}"
        show(f"{count:7d}                {shown}{rows[count]['shared_per_s']:34.1f}{rows[count]['apart_per_s']:23.1f}")
    one, two = (rows.get(count, {}).get("measured_per_s") for count in (1, 2))
    if one and two:
        show(f"two / one               {two / one:9.2f}   (2 at best)")
    return {"workers": rows}


def computed(spent, count):
    """Return records/s of so many workers, a core each, by what a record costs.

    Broker and Redis are on the same cores, or have a core each, which is then a bound.
    """
    of_servers = {name: spent["by_thread_ms"].get(name, 0.0) for name in SERVERS}
    all_ms = spent["inside_ms"] + spent["outside_ms"]
    of_worker = all_ms - sum(of_servers.values())
    bounds = [1e3 * count / of_worker, *(1e3 / ms for ms in of_servers.values() if ms > 0)]
    return {"shared_per_s": 1e3 * count / all_ms, "apart_per_s": min(bounds)}


def on_own_cores(options, values, cores):
    """Return records/s of workers that are held to a core each. They have joined before the backlog is published."""
    with servers(options) as (settings, folder, _), contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(start_bench_worker(settings.changed(http_port=free_port()), folder, "pinned", core))
            for core in cores
        ]
        records = options.records * len(cores) // 2
        asyncio.run(publish(settings, values, records))
        stamps = np.sort(asyncio.run(answer_times(options, settings, records, started[0])))
    first, last = (round(share * records) for share in COUNTED)
    return (last - first) / max(stamps[last] - stamps[first], 1e-3)
