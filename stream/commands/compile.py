"""`cardiacnets compile`: builds an engine, checks and times every engine on this machine, remembers the fastest."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from engines.plan_note import PlanNote

from .optional_packages import need_modules
from .options import BundleFolder, Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from rich.table import Table

    from engines.choice import Choice, Tolerances
    from engines.options import EngineOptions
    from inference.bundle import Bundle


class Built(PlanNote, frozen=True, kw_only=True):
    """What was built, with the note of the network alone."""

    preprocessing: PlanNote | None = None
    """Of the network with its preprocessing, where the engine preprocesses."""


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
    built: Built | None = None
    """What was built before, where an engine was named."""


def compile_command(
    bundle: BundleFolder = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. All by default.")] = None,
    export: Annotated[
        bool, typer.Option("--export", help="First export the graphs of the bundle again. This needs torch.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="First build this engine: one of TensorRT, which takes minutes.")
    ] = None,
    for_gpu: Annotated[
        str | None,
        typer.Option(help="Build for this architecture, such as SM89, on a machine without such a GPU, and end."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every engine against torch, time the engines on this machine, and remember the fastest that passes."""
    if for_gpu and not engine:
        raise typer.BadParameter("--for-gpu needs --engine: which engine should be built?")
    from inference.bundle import default_bundle, load_bundle, load_probe
    from inference.export import package_network, restore_network
    from inference.open_engine_for_bundle import measure_engines

    settings = settings_with(bundle=bundle, threads=threads)
    loaded = load_bundle(settings.model.bundle or default_bundle())
    if export:
        need_modules("exporting the graph", "torch", "onnxscript")
        probe = load_probe(loaded)
        loaded = package_network(loaded.folder, restore_network(loaded), loaded.manifest, probe.inputs, float16=True)
    batch = settings.screening.max_batch
    rows = batch * loaded.manifest.input.n_crops if batch else None
    built = _build(engine, loaded, settings.model.engine_options(), rows, for_gpu, as_json=as_json) if engine else None
    if built and for_gpu:
        _tell_built(built, as_json=as_json)
        return
    choice = measure_engines(loaded, settings.model.engine_options(), rows=rows, remeasure=True)
    compiled = _describe(loaded, choice, _torch_differences(loaded), built)
    if as_json:
        print_json(compiled)
    else:
        from stream.plain_console import PlainConsole

        PlainConsole().print(_table(compiled))
        for names, reason in _by_reason(compiled):
            say(f"not tried: {', '.join(names)}: {reason}")


def _build(
    name: str, bundle: Bundle, options: EngineOptions, rows: int | None, gpu: str | None, *, as_json: bool
) -> Built:
    """Build what an engine opens, and show how far it is, unless a program reads the output."""
    from rich.progress import Progress

    from engines.catalog import build_engine, rows_wanted
    from inference.open_engine_for_bundle import graphs_of
    from inference.signals_engine import build_preprocessing
    from stream.plain_console import PlainConsole

    sized = msgspec.structs.replace(options, rows=rows or rows_wanted(name))
    with Progress(console=PlainConsole(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task(f"building {name}", total=1.0)

        def tell(phase: str, share: float) -> None:
            progress.update(task, completed=share, description=f"building {name}: {phase}")

        network = build_engine(name, graphs_of(bundle), sized, gpu=gpu, tell=tell)
        preprocessing = build_preprocessing(bundle, name, sized, gpu, tell)
        return Built(**msgspec.structs.asdict(network), preprocessing=preprocessing)


def _tell_built(built: Built, *, as_json: bool) -> None:
    if as_json:
        print_json(built)
        return
    key = built.key
    say(
        f"built for {key.gpu} by {key.library} in {built.built_s:.1f} s: {key.precision}, batches of up to {key.rows} "
        f"rows, {built.size / 1e6:.1f} MB"
    )
    if note := built.preprocessing:
        say(
            f"and with preprocessing in {note.built_s:.1f} s: batches of up to {note.key.rows} records, "
            f"{note.size / 1e6:.1f} MB"
        )


def _torch_differences(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Return how far torch itself, where it is installed, is from what it answered when the bundle was made."""
    if find_spec("torch") is None:
        return {}
    from engines.choice import check_engine
    from engines.torch_engine import TorchEngine
    from inference.bundle import load_probe
    from inference.export import OUTPUTS, restore_network

    return {"torch": check_engine(TorchEngine(restore_network(bundle), OUTPUTS), load_probe(bundle))}


def _describe(bundle: Bundle, choice: Choice, torch: dict[str, dict[str, float]], built: Built | None) -> Compiled:
    from engines.choice import Tolerances

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
        built=built,
    )


def _table(compiled: Compiled) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{compiled.model} {compiled.version}, {compiled.threads} threads", box=None, padding=(0, 2))
    for heading in ("engine", "records/s", "largest difference from torch", ""):
        table.add_column(heading)
    for name, differences in compiled.differences.items():
        rate = compiled.records_per_s.get(name)
        remark = escape(compiled.refused.get(name) or ("chosen" if name == compiled.chosen else ""))
        table.add_row(name, f"{rate:.1f}" if rate else "–", f"{max(differences.values()):.1e}", remark)
    return table


def _by_reason(compiled: Compiled) -> list[tuple[list[str], str]]:
    """Return the engines that could not be tried, those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for name, reason in compiled.refused.items():
        if name not in compiled.differences:
            reasons.setdefault(reason.removeprefix(f"{name} "), []).append(name)
    return [(names, reason) for reason, names in reasons.items()]
