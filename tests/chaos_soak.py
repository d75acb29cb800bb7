"""A soak: a modest load for long on three brokers, and a fault every two minutes. Memory, what was lost, said twice."""

import json
import tempfile
import time
from datetime import UTC, datetime

import msgspec
import psutil
from chaos_faults import (
    HOLD_S,
    THREE,
    frozen,
    leader_gone,
    redis_frozen,
    redis_killed,
    rolling_restart,
)
from chaos_load import ECGS, Load, wait_for_answers
from chaos_stage import Stage

EVERY_S = 120.0
LOOK_S = 10.0


def other_worker_killed(stage):
    """Kill the worker that is not watched, and start another."""
    stage.workers.pop(1).process.kill()
    time.sleep(HOLD_S)
    stage.start_worker()


def other_worker_stopped(stage):
    """Stop the worker that is not watched, and start another."""
    stage.workers.pop(1).process.terminate()
    time.sleep(HOLD_S)
    stage.start_worker()


def both_workers_frozen(stage):
    """Freeze the watched worker and the other one, one after the other."""
    for worker in stage.workers[:2]:
        with frozen(worker.process):
            time.sleep(HOLD_S)


def follower_frozen(stage):
    """Freeze a broker."""
    with frozen(stage.cluster.nodes[-1].child.process):
        time.sleep(HOLD_S)


CYCLE = (
    other_worker_killed,
    leader_gone,
    both_workers_frozen,
    rolling_restart,
    redis_killed,
    follower_frozen,
    other_worker_stopped,
    redis_frozen,
)
"""The first worker is never ended: its memory is watched."""


def memory_of(stage):
    """Return resident mebibytes of the watched worker and of the brokers."""
    processes = {"worker": stage.workers[0].process} | {
        f"broker {node.number}": node.child.process for node in stage.cluster.nodes if node.child.running
    }
    found = {}
    for name, process in processes.items():
        try:
            found[name] = psutil.Process(process.pid).memory_info().rss >> 20
        except psutil.NoSuchProcess:
            continue
    return found


def soak(minutes, rate_hz, report=None):
    """Run it; print a line every two minutes and the figures at the end, and write all of it."""
    lines, begun_at = [], datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        Stage(THREE, folder) as stage,
        Load(stage.settings, ECGS, rate_hz) as load,
    ):
        stage.load = load
        wait_for_answers(load, 10)
        load.begin_anew()
        begun = time.monotonic()
        for number in range(int(minutes * 60 / EVERY_S)):
            until(begun + number * EVERY_S + LOOK_S)
            fault = CYCLE[number % len(CYCLE)]
            struck = time.monotonic()
            fault(stage)
            lines.append({"minute": round((struck - begun) / 60, 1), "fault": fault.__name__})
            lines[-1] |= {"took_s": round(time.monotonic() - struck, 1), "memory_mib": memory_of(stage)}
            lines[-1] |= {"sent": len(load.account.due), "unanswered": load.account.missing}
            print(json.dumps(lines[-1]), flush=True)
        until(begun + minutes * 60)
        load.finish()
        figures = load.account.figures(begun)
    result = {"begun": begun_at.isoformat(), "minutes": minutes, "rate_hz": rate_hz, **msgspec.to_builtins(figures)}
    del result["recovered_s"]  # from one fault to the last late answer; there were many
    print(json.dumps(result), flush=True)
    if report:
        report.write_text(json.dumps(result | {"faults": lines}, indent=1))
    return 1 if figures.lost or figures.contradictory else 0


def until(moment):
    """Return at that moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))
