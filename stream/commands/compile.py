"""`cardiacnets compile`: exports, checks, times, remembers, and shows."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import msgspec
from rich.console import Console
from rich.table import Table

from engines.choice import Choice, Tolerances, check_engine
from engines.torch_engine import TorchEngine
from inference.bundle import Bundle, default_bundle, load_bundle, load_probe
from inference.export import OUTPUTS, package_network, restore_network
from inference.open_engine_for_bundle import measure_engines
from stream.settings import Settings


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What `compile` found on this machine."""

    model: str
    version: str
    chosen: str
    records_per_s: dict[str, float]
    differences: dict[str, dict[str, float]]
    refused: dict[str, str]
    tolerances: Tolerances
    threads: int


def compile_command(settings: Settings, *, export: bool, as_json: bool) -> None:
    """Measure the engines for a bundle and print what was found."""
    bundle = load_bundle(settings.model.bundle or default_bundle())
    if export:
        probe = load_probe(bundle)
        bundle = package_network(bundle.folder, restore_network(bundle), bundle.manifest, probe.inputs)
    n_crops = bundle.manifest.input.n_crops
    choice = measure_engines(
        bundle, threads=settings.model.threads, rows=settings.screening.max_batch * n_crops, remeasure=True
    )
    compiled = _compiled(bundle, choice, _torch_differences(bundle))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(compiled) + b"\n")
    else:
        Console().print(_table(compiled))


def _torch_differences(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Return how far torch itself, where it is installed, is from what it answered when the bundle was made."""
    if find_spec("torch") is None:
        return {}
    return {"torch": check_engine(TorchEngine(restore_network(bundle), OUTPUTS), load_probe(bundle))}


def _compiled(bundle: Bundle, choice: Choice, torch: dict[str, dict[str, float]]) -> Compiled:
    n_crops = bundle.manifest.input.n_crops
    return Compiled(
        model=bundle.reference.name,
        version=bundle.reference.version,
        chosen=choice.name,
        records_per_s={name: round(rate / n_crops, 1) for name, rate in choice.rows_per_s.items()},
        differences=choice.differences | torch,
        refused=choice.refused,
        tolerances=Tolerances(),
        threads=choice.threads,
    )


def _table(compiled: Compiled) -> Table:
    table = Table(title=f"{compiled.model} {compiled.version}, {compiled.threads} threads", box=None, padding=(0, 2))
    for heading in ("engine", "records/s", "largest difference from torch", ""):
        table.add_column(heading)
    for name, differences in compiled.differences.items():
        rate = compiled.records_per_s.get(name)
        remark = compiled.refused.get(name) or ("chosen" if name == compiled.chosen else "")
        table.add_row(name, f"{rate:.1f}" if rate else "–", f"{max(differences.values()):.1e}", remark)
    for name in compiled.refused.keys() - compiled.differences.keys():
        table.add_row(name, "–", "–", compiled.refused[name])
    return table
