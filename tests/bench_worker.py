"""Workers that the bench starts in place of the user's: `free` has an engine that costs nothing, `watched` tells what
its threads use, `pinned` has one core.

    python -m tests.bench_worker free
    python -m tests.bench_worker watched FILE NAME=PID …
    python -m tests.bench_worker pinned CORE

The settings come from the environment, as the worker's do.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from inference.bundle import default_bundle, load_bundle, load_probe
from inference.screener import Screener
from stream.logs import configure_logs
from stream.runtime.early_end import end_at_once_by_sigterm
from stream.screening.model import load_screener
from stream.screening.worker import serve
from stream.settings import load_settings

WATCHER = "bench-watcher"
SAMPLE_S = 0.01
"""How often the watcher looks at what each thread is."""
SAMPLES_A_LOOK = 25
WAITING = frozenset({"threading", "selectors", "queue", "concurrent.futures.thread"})
"""A thread whose innermost frame is of these modules waits."""

ENGINE = "engine"
PARTS = (
    ("schemas.codec", "codec"),
    ("schemas.zstd_frames", "codec"),
    ("schemas.writer_schema", "codec"),
    ("schemas.ecg", "codec"),
    ("schemas.identity", "digest"),
    ("fastavro", "codec"),
    ("inference.waveform", "preprocess"),
    ("inference.ecg_measurements", "measure"),
    ("inference.typical_beat", "measure"),
    ("inference.average_beat", "measure"),
    ("inference.wave_limits", "measure"),
    ("inference.report", "compose"),
    ("inference.readout", "read out"),
    ("inference.screener", "screener"),
    ("inference", "gate"),
    ("schemas", "compose"),
    ("engines.batcher", "batcher"),
    ("engines.lanes", "batcher"),
    ("engines", ENGINE),
    ("__main__", ENGINE),
    ("stream.broker.event_producer", "producer"),
    ("aiokafka.producer", "producer"),
    ("aiokafka", "Kafka's consumer"),
    ("stream.broker.whole_partition", "Kafka's consumer"),
    ("stream.runtime.faust_transport", "Faust"),
    ("faust", "Faust"),
    ("mode", "Faust"),
    ("redis", "Redis's client"),
    ("stream.screening.known_ecgs", "known ECGs"),
    ("stream", "lanes"),
    ("prometheus_client", "metrics"),
)
"""What a thread is at, by the innermost frame whose module is one of these, or begins so."""


def main():
    """Serve with the engine that the command names."""
    end_at_once_by_sigterm()
    settings = load_settings(os.environ)
    configure_logs(settings.process.log_level, settings.process.log_format)
    kind, *arguments = sys.argv[1:]
    makers = {"free": free_screener, "watched": watched_screener, "pinned": pinned_screener}
    serve(settings, makers[kind](settings, *arguments))


def free_screener(settings):
    """Return a screener whose engine costs nothing."""
    bundle = load_bundle(default_bundle())
    screener = Screener(bundle, FreeEngine(load_probe(bundle).expected))
    screener.warm_up(settings.screening.max_batch or screener.records_wanted)
    return screener


def pinned_screener(settings, core):
    """Hold this process to a core, and return the screener that a user would have there."""
    os.sched_setaffinity(0, {int(core)})
    return load_screener(settings.model, max_batch=settings.screening.max_batch)


def watched_screener(settings, place, *servers):
    """Return the screener that a user would have; a thread writes down, over and over, what every thread has used."""
    libraries = set(thread_seconds(os.getpid()))  # those of OpenBLAS, and this one: they are there before the engine's
    screener = load_screener(settings.model, max_batch=settings.screening.max_batch)
    screener.engine = CountedEngine(screener.engine)
    pids = {name: int(pid) for name, _, pid in (server.partition("=") for server in servers)}
    watcher = Watcher(Path(place), screener.engine, screener.bundle.manifest.input.n_crops, pids, libraries)
    threading.Thread(target=watcher.watch, name=WATCHER, daemon=True).start()
    return screener


class FreeEngine:
    """An engine that costs nothing: it gives the reference's answers to the bundle's probe, over and over.

    So as many ECGs are flagged, and as much is said of each, as by a real engine.
    """

    name = "free"

    def __init__(self, answers):
        self._answers = answers
        self.output_names = tuple(answers)

    def warm_up(self, rows):
        """Do nothing."""

    def run(self, inputs):
        """Return as many answers as there are inputs."""
        return {name: np.resize(answers, (len(inputs), *answers.shape[1:])) for name, answers in self._answers.items()}

    def close(self):
        """Do nothing."""


class CountedEngine:
    """An engine that counts rows, and what the thread that calls it uses meanwhile."""

    def __init__(self, engine):
        self._engine = engine
        self.name, self.output_names = engine.name, engine.output_names
        self.warm_up, self.close = engine.warm_up, engine.close
        self.rows, self.caller_s = 0, 0.0

    def run(self, inputs):
        """Return the engine's answers."""
        before = time.thread_time()
        outputs = self._engine.run(inputs)
        self.caller_s += time.thread_time() - before
        self.rows += len(inputs)
        return outputs


class Watcher:
    """Writes down what every thread of this process, and the servers, have used, and at what the threads were."""

    def __init__(self, place, engine, n_crops, servers, libraries):
        self._place, self._engine, self._n_crops, self._servers = place, engine, n_crops, servers
        self._libraries = libraries
        self._samples = {}  # of each of Python's threads: how often it was at each part

    def watch(self):
        """Look for ever; each look is a line of the file."""
        with self._place.open("w") as looks:
            while True:
                looks.write(json.dumps(self._look()) + "\n")
                looks.flush()
                for _ in range(SAMPLES_A_LOOK):
                    time.sleep(SAMPLE_S)
                    self._sample()

    def _sample(self):
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if (frame := frames.get(thread.ident)) and frame.f_globals.get("__name__") not in WAITING:
                self._samples.setdefault(thread.name, Counter())[part_of(frame)] += 1

    def _look(self):
        used = thread_seconds(os.getpid())
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads = Counter()
        for thread, seconds in used.items():
            threads[names.get(thread) or ("libraries" if thread in self._libraries else "engine")] += seconds
        return {
            "at": time.time(),
            "records": self._engine.rows / self._n_crops,
            "caller_s": self._engine.caller_s,
            "threads": threads,
            "servers": {name: sum(thread_seconds(pid).values()) for name, pid in self._servers.items()},
            "samples": self._samples,
        }


def part_of(frame):
    """Return at what a thread is."""
    while frame:
        module = frame.f_globals.get("__name__", "") + "."
        for start, part in PARTS:
            if module.startswith((f"{start}.", f"{start}_")):
                return part
        frame = frame.f_back
    return "event loop"


def thread_seconds(pid):
    """Return what each thread of a process has used, by its id. Threads that have ended are not among them."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ends as we look
            found[int(task.name)] = _seconds_of(task)
    return found


def _seconds_of(task):
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:  # a kernel without it: whole ticks
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
