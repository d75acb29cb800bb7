"""`make chaos`: what breaks, on which broker, what it costs. It writes the table of docs/reliability.md.

make chaos                                                      every row: 25 minutes
make chaos ARGS="--only worker-killed --broker embedded"        some of them
make chaos ARGS="--json chaos.json --keep-docs"                 the figures as JSON, and no table
make soak MINUTES=60                                            half load on three brokers, a fault every two minutes
"""

import argparse
import json
import logging
import re
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from chaos_faults import FAULTS, KAFKA, TANSU, THREE
from chaos_load import Load, wait_for_answers
from chaos_soak import soak
from chaos_stage import NotHereError, Stage

from stream.demo.stage import log_folder

RATE_HZ = 10.0
AROUND_S = (8.0, 20.0)
"""How long the load goes on before the fault, and after it."""
WARM = 10
"""Answers that the first load brings before the row begins: the first ones wait for workers to start."""
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by make chaos -->", "<!-- end of faults -->"
HEADINGS = (
    "fault", "broker", "sent", "lost", "said twice", "contradictory", "recovered (s)", "p50 (ms)", "p99 (ms)",
    "longest wait (s)",
)  # fmt: skip
SHORT = {"embedded": TANSU, "kafka": KAFKA, "three": THREE}
NAMES = {kind: name for name, kind in SHORT.items()}


def run_row(fault, kind, folder, *, rate_hz=RATE_HZ, around_s=AROUND_S):
    """Return what a fault cost on a broker, as an object."""
    before_s, after_s = around_s
    with Stage(kind, folder, fault) as stage:
        with Load(stage.settings, fault.load, rate_hz) as load:
            stage.load = load
            wait_for_answers(load, WARM)
            load.begin_anew()
            time.sleep(before_s)
            begun = time.monotonic()
            fault.strike(stage)
            time.sleep(after_s)
            load.finish()
            figures = load.account.figures(begun)
        if stage.dashboard:
            stage.notes.append(f"{stage.not_shown(load.account.answered)} not shown")
        return {"fault": fault.name, "broker": kind, **msgspec.to_builtins(figures), "notes": stage.notes}


def cells(row):
    """Return a row's cells."""
    title = next(fault.title for fault in FAULTS if fault.name == row["fault"])
    names = ("sent", "lost", "twice", "contradictory", "recovered_s", "p50_ms", "p99_ms", "longest_s")
    return [title, row["broker"], *(str(row[name]) for name in names)]


def write_table(page, rows):
    """Put the rows into the table of the page, in the place of older ones; the others stay."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    lines = {tuple(cells_of(line)[:2]): line for line in table.splitlines() if line.startswith("| ")}
    lines |= {tuple(cells(row)[:2]): "| " + " | ".join(cells(row)) + " |" for row in rows}
    order = [(fault.title, kind) for fault in FAULTS for kind in fault.brokers]
    body = [lines[place] for place in order if place in lines]
    head = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    page.write_text("\n".join([before + BEGIN, "", *head, *body, "", END]) + after, encoding="utf-8")


def cells_of(line):
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def chosen(options):
    """Return the rows that are asked for."""
    for fault in FAULTS:
        for kind in fault.brokers:
            asked = not options.only or fault.name in options.only
            if asked and (not options.broker or kind in {SHORT[name] for name in options.broker}):
                yield fault, kind


def is_sound(row):
    """Whether nothing was lost, and nothing contradicts anything."""
    return not (row["lost"] or row["contradictory"] or any(note[0] != "0" for note in row["notes"] if "shown" in note))


def main(arguments=None):
    """Run the rows, and say each; the exit code is 1 where one lost something or contradicts itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--broker", action="append", choices=list(SHORT))
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="ECGs a second")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--logs", type=Path, help="a folder to keep the logs of each row in")
    parser.add_argument("--keep-docs", action="store_true", help="leave docs/reliability.md as it is")
    parser.add_argument("--soak", action="store_true", help="half load on three brokers, a fault every two minutes")
    parser.add_argument("--minutes", type=float, default=60.0, help="of a soak")
    options = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # what it says of a broker that is gone is the fault itself
    if options.soak:
        return soak(options.minutes, options.rate, options.json)
    rows, failed = [], []
    for fault, kind in chosen(options):
        try:
            with log_folder(options.logs and options.logs / f"{fault.name}-{NAMES[kind]}") as folder:
                row = run_row(fault, kind, folder, rate_hz=options.rate)
        except NotHereError as error:
            print(f"{fault.name} on {kind}: not run: {error}", flush=True)
            continue
        except Exception as error:
            traceback.print_exc()
            failed.append(fault.name)
            print(f"{fault.name} on {kind}: it failed: {error!r}", flush=True)
            continue
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "rows": rows}, indent=1))
    if not options.keep_docs:
        write_table(PAGE, rows)
    return 1 if failed or not all(map(is_sound, rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
