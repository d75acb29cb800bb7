"""`cardiacnets realism`: how simulated patients compare with real ECGs and published CMR values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from schemas.errors import EngineUnavailable
from training.realism import (
    EcgComparison,
    HeartComparison,
    Realism,
    measure_realism,
    read_real_cine,
    read_real_ecgs,
    simulate_patients,
)
from training.realism_report import draw_cines, write_report


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `--json`."""

    patients: int
    seed: int
    files: list[str]
    realism: Realism


def realism_command(ecgs: Path, out: Path, *, cine: Path | None, patients: int, seed: int, as_json: bool) -> None:
    """Simulate, compare, write the report, and say what agrees."""
    if find_spec("matplotlib") is None:
        raise EngineUnavailable("the plots need matplotlib: pip install 'cardiacnets[train]'")
    real = read_real_ecgs(ecgs)
    real_cine = read_real_cine(cine) if cine else None
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=patients)
        simulated = simulate_patients(patients, seed, lambda: bar.advance(task))
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
