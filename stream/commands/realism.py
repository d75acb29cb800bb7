"""`cardiacnets realism`: how simulated patients compare with real ECGs and published CMR values."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from training.simulation.realism import (
    EcgComparison,
    HeartComparison,
    Realism,
    measure_realism,
    read_real_cine,
    read_real_ecgs,
    simulate_patients,
)
from training.simulation.realism_report import draw_cines, write_report

from .optional_packages import need_modules
from .progress_bar import counted


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `--json`."""

    patients: int
    seed: int
    files: list[str]
    realism: Realism


def realism_command(ecgs: Path, out: Path, *, cine: Path | None, patients: int, seed: int, as_json: bool) -> None:
    """Simulate, compare, write the report, and say what agrees."""
    need_modules("drawing the plots", "matplotlib")
    real = read_real_ecgs(ecgs)
    real_cine = read_real_cine(cine) if cine else None
    done = itertools.count(1)
    with counted("simulating") as show:
        simulated = simulate_patients(patients, seed, lambda: show(next(done), patients))
    realism = measure_realism(simulated, real)
    files = write_report(out, realism, simulated, real, cines=draw_cines(simulated), real_cine=real_cine)
    answer = Compared(patients=patients, seed=seed, files=[str(file) for file in files], realism=realism)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    else:
        _print(answer)


def _print(answer: Compared) -> None:
    console, realism = Console(), answer.realism
    table = Table(box=None, padding=(0, 2))
    for heading in ("comparison", "agree", "off most (SD)"):
        table.add_column(heading, overflow="fold")
    groups: dict[str, Sequence[EcgComparison | HeartComparison]] = {
        "healthy against normal ECGs": realism.healthy,
        "all against all ECGs": realism.everybody,
        "hearts against published values": realism.hearts,
    }
    for name, comparisons in groups.items():
        agreeing = sum(comparison.verdict == "agrees" for comparison in comparisons)
        worst = sorted(comparisons, key=lambda comparison: -abs(comparison.difference))[:4]
        off = ", ".join(f"{comparison.measurement} {comparison.difference:+.1f}" for comparison in worst)
        table.add_row(name, f"{agreeing} of {len(comparisons)}", off)
    console.print(table)
    console.print(f"wrote {', '.join(answer.files)}")
