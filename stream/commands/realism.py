"""`cardiacnets realism`: how simulated patients compare with real ECGs and published CMR values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from .optional_packages import need_modules
from .options import MAX_SEED, Json
from .output import print_json
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from training.simulation.realism import EcgComparison, HeartComparison, Realism


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `--json`."""

    patients: int
    seed: int
    files: list[str]
    realism: Realism


def realism_command(
    ecgs: Annotated[Path, typer.Option(help="Folder of real ECGs with a labels.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the plots.")],
    cine: Annotated[
        Path | None, typer.Option(help="A real cine to draw beside the simulated ones: ….npz with …_meta.json.")
    ] = None,
    patients: Annotated[int, typer.Option(min=1, help="Number of simulated patients.")] = 500,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the simulated patients.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare simulated patients with real ECGs and with published CMR values. Needs matplotlib."""
    need_modules("drawing the plots", "matplotlib")
    from training.simulation.realism import measure_realism, read_real_cine, read_real_ecgs, simulate_patients
    from training.simulation.realism_report import draw_cines, write_report

    real = read_real_ecgs(ecgs)
    real_cine = read_real_cine(cine) if cine else None
    done = itertools.count(1)
    with progress_bar() as show:
        simulated = simulate_patients(patients, seed, lambda: show("simulating", next(done), patients))
    realism = measure_realism(simulated, real)
    files = write_report(out, realism, simulated, real, cines=draw_cines(simulated), real_cine=real_cine)
    answer = Compared(patients=patients, seed=seed, files=[str(file) for file in files], realism=realism)
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _print(answer: Compared) -> None:
    from rich.table import Table

    from stream.plain_console import PlainConsole

    console, realism = PlainConsole(), answer.realism
    table = Table(box=None, padding=(0, 2))
    for heading in ("comparison", "agree", "largest differences (SD)"):
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
