"""Builds a TensorRT plan from an ONNX graph: one optimisation profile, strongly typed: nothing is rounded unasked.

The precision is the graph's own: a float16 plan is built from a float16 graph. Only TF32 is a switch of the library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from schemas.errors import EngineUnavailable

from .onnx_content import NoOnnx, holds_float16
from .options import Precision
from .tensorrt_library import TensorRt

Progress: TypeAlias = Callable[[str, float], None]
"""Is told what the library does now, and which share of that is done."""


def tell_nobody(phase: str, share: float) -> None:
    """Take the progress, and do nothing with it."""


def build_plan(
    library: TensorRt,
    graph: bytes,
    *,
    precision: Precision,
    rows: int,
    gpu: str | None = None,
    timing: bytes = b"",
    tell: Progress = tell_nobody,
) -> tuple[bytes, bytes]:
    """Return a plan, and what the library measured on the way, which makes the next building quicker.

    Args:
        library: one of the two.
        graph: an ONNX graph whose tensors lie in it.
        precision: what the graph is in; TF32 takes a float32 graph.
        rows: the biggest batch, and the one that the plan is best for.
        gpu: the architecture to build for, such as `SM89`; None takes the GPU of this machine. RTX alone takes it.
        timing: what an earlier building measured.
        tell: is told of the progress.

    Raises:
        EngineUnavailable: the graph has another precision, operators that the library does not know, several inputs or
            a free axis besides the rows; or the library cannot build here.
    """
    _require_precision(graph, precision)
    builder = library.api.Builder(library.logger)
    network = builder.create_network(1 << int(library.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.api.OnnxParser(network, library.logger)  # kept: it owns the weights of the network
    if not parser.parse(graph):
        raise EngineUnavailable(f"{library.version} cannot read the graph: {_refusals(parser)}")
    library.errors.clear()
    config = builder.create_builder_config()
    _set_precision(library, config, precision)
    _add_profile(library, builder, network, config, rows)
    _set_target(library, config, gpu)
    config.progress_monitor = _monitor(library.api, tell)
    cache = _set_timing(library, config, timing)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineUnavailable(f"{library.version} cannot build the network: {library.complaint()}")
    return bytes(plan), bytes(cache.serialize()) if cache else b""


def _require_precision(graph: bytes, precision: Precision) -> None:
    try:
        is_half = holds_float16(graph)
    except NoOnnx as error:
        raise EngineUnavailable(f"what should be built is no ONNX graph: {error}") from error
    if is_half != (precision == "float16"):
        found = "float16" if is_half else "float32"
        raise EngineUnavailable(
            f"a plan in {precision} cannot be built from a graph in {found}: TensorRT computes in what the graph is in"
        )


def _refusals(parser: Any) -> str:
    found = [parser.get_error(number) for number in range(parser.num_errors)]
    return "; ".join(_refusal(error) for error in found)


def _refusal(error: Any) -> str:
    operator, node = error.node_operator(), error.node_name()
    place = f"operator {operator}" + (f" of node {node}" if node else "") + ": " if operator else ""
    return place + " ".join(error.desc().split("\n")[0:2])


def _set_precision(library: TensorRt, config: Any, precision: Precision) -> None:
    flag = library.api.BuilderFlag.TF32  # on by default
    (config.set_flag if precision == "tf32" else config.clear_flag)(flag)


def _add_profile(library: TensorRt, builder: Any, network: Any, config: Any, rows: int) -> None:
    if network.num_inputs != 1:
        raise EngineUnavailable(f"{library.name} takes networks of one input, and this one has {network.num_inputs}")
    source = network.get_input(0)
    free, *fixed = tuple(source.shape)
    if free != -1 or -1 in fixed:
        raise EngineUnavailable(
            f"{library.name} takes networks in which the number of rows is free and nothing else: {source.name} has "
            f"the shape {(free, *fixed)}"
        )
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, (1, *fixed), (rows, *fixed), (rows, *fixed))
    if config.add_optimization_profile(profile) < 0:
        raise EngineUnavailable(f"{library.version} refuses batches of up to {rows} rows: {library.complaint()}")


def _set_target(library: TensorRt, config: Any, gpu: str | None) -> None:
    if gpu is None:
        return
    if not library.is_rtx:
        raise EngineUnavailable(f"{library.name} builds for the GPU of the machine that it runs on: build there")
    known = library.api.ComputeCapability.__members__
    if gpu not in known:
        names = ", ".join(sorted((name for name in known if name.startswith("SM")), key=lambda name: int(name[2:])))
        raise EngineUnavailable(f"{library.version} builds for the architectures {names}, and not for {gpu}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[gpu], 0)


def _set_timing(library: TensorRt, config: Any, timing: bytes) -> Any:
    """Return the cache of measurements. RTX has none: it measures nothing while it builds."""
    if library.is_rtx:
        return None
    cache = config.create_timing_cache(timing)
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _monitor(api: Any, tell: Progress) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]  # as the logger's
        """Tells of the progress."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._steps[phase_name] = max(1, num_steps)
            tell(phase_name, 0.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell(phase_name, (step + 1) / self._steps.get(phase_name, step + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            tell(phase_name, 1.0)

    return Monitor()
