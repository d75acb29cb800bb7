"""From torch to a bundle: the network as a graph, its weights, and torch's own answers to a probe."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import CorruptBundle, EngineUnavailable
from schemas.messages import DISEASES

from .bundle import BUNDLES, Bundle, write_bundle
from .geometry import CROP_SAMPLES
from .manifest import GRAPH, HALF_GRAPH, MODEL_RELEASE, PROBE, WEIGHTS, DiseaseHead, InputSpec, Manifest, PhenotypeHead
from .phenotypes import MEASUREMENTS

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from .models.network import EcgNetwork

INPUT = "crops"
OUTPUTS = ("disease_logits", "phenotypes", "subtype_logits", "embedding")
MAX_ROWS = 512
OPSET = 18
"""The exporter's default. ONNX Runtime, OpenVINO and TensorRT read it."""

UNTRAINED_NOTES = (
    "The weights are random and every number of a report is meaningless. The thresholds of 0.5 and the scale of the "
    "phenotypes (mean 0, deviation 1: plain z-scores) are placeholders, for nothing was fitted."
)


def create_bundle(
    folder: Path,
    *,
    preset: str,
    seed: int,
    probe_crops: NDArray[np.float32],
    n_crops: int = 3,
) -> Path:
    """Write a bundle of an untrained network into `folder`, and return the folder.

    Args:
        folder: created if it is missing. A bundle in it is replaced.
        preset: names the network's sizes.
        seed: for the weights. The same seed and probe give the same bundle.
        probe_crops: (k, 12, 2250) float32, standardised crops of at least two ECGs.
        n_crops: the answers of this many crops of a record are averaged.

    Raises:
        EngineUnavailable: torch or the exporter is not installed.
        InvalidSettings: there is no such preset.
        CorruptBundle: the folder holds other things than a bundle.
    """
    with needing_torch():
        import torch

        from .models.presets import find_preset
        from .models.untrained import draw_network

        network = draw_network(find_preset(preset), seed, torch.tensor(probe_crops))
    manifest = untrained_manifest(preset, n_crops)
    return package_network(folder, network, manifest, probe_crops).folder


def package_network(
    folder: Path,
    network: EcgNetwork,
    manifest: Manifest,
    probe_crops: NDArray[np.float32],
    *,
    float16: bool = False,
) -> Bundle:
    """Write the bundle of a network: graph, weights, probe and the completed manifest.

    Args:
        folder: the bundle's.
        network: with its weights.
        manifest: without files.
        probe_crops: as `create_bundle` takes them.
        float16: write the graph for GPUs too. A bundle that had one and is packaged without it has none.
    """
    from safetensors.numpy import save

    with BUNDLES.replacing(folder) as stage:
        export_network(network, stage / GRAPH)
        if float16:
            export_half_network(network, stage / HALF_GRAPH)
        (stage / WEIGHTS).write_bytes(save(_parameters(network)))
        probe = {INPUT: np.ascontiguousarray(probe_crops), **_answers(network, probe_crops)}
        (stage / PROBE).write_bytes(save(probe))
    return write_bundle(folder, manifest)


def export_network(network: EcgNetwork, path: Path) -> None:
    """Write the network as one ONNX file. It takes `crops` (1 to 512 rows, 12, 2250) and gives the four answers.

    Raises:
        EngineUnavailable: torch or the exporter is not installed.
    """
    _export_rows(network, path)


def export_half_network(network: EcgNetwork, path: Path) -> None:
    """Write the network with its encoder in float16, for GPUs. It takes and gives float32, as the other graph does.

    The heads stay in float32: they take no time, and their answers are what is read.

    Raises:
        EngineUnavailable: torch or the exporter is not installed.
    """
    with needing_torch():
        from .models.half import HalfNetwork
    _export_rows(HalfNetwork(network), path)


def _export_rows(network: nn.Module, path: Path) -> None:
    with needing_torch():
        import torch

    export_graph(
        path,
        network,
        inputs={INPUT: torch.zeros(3, 12, CROP_SAMPLES)},
        outputs=OUTPUTS,
        free={INPUT: {0: torch.export.Dim("rows", min=1, max=MAX_ROWS)}},
    )


def export_graph(
    path: Path, network: nn.Module, *, inputs: dict[str, Tensor], outputs: Sequence[str], free: dict[str, Any]
) -> None:
    """Write a network as one ONNX file. The same weights give the same bytes in any folder and on any machine.

    Args:
        path: the file.
        network: takes the inputs by position.
        inputs: examples by name.
        outputs: the names of the outputs.
        free: for each input, the axes whose extent may differ from the example's (torch calls them `dynamic_shapes`).

    Raises:
        EngineUnavailable: torch or the exporter is not installed.
    """
    with needing_torch(), _quiet_exporter():
        import onnx
        import torch

        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=free,
        )
        assert program is not None  # noqa: S101 - None is the answer of the exporter's other mode
        model = program.model_proto
        _strip(model)
        onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def restore_network(bundle: Bundle) -> EcgNetwork:
    """Return the bundle's network with its weights, for torch, in evaluation mode.

    Raises:
        CorruptBundle: the weights do not have exactly the tensors of the preset.
        EngineUnavailable: torch is not installed.
    """
    with needing_torch():
        from safetensors import SafetensorError
        from safetensors.torch import load

        from .models.network import EcgNetwork
        from .models.presets import find_preset
    network = EcgNetwork(find_preset(bundle.manifest.preset))
    try:
        network.load_state_dict(load(bundle.read(WEIGHTS)), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise CorruptBundle(f"{bundle.weights} does not fit the preset {bundle.manifest.preset}: {error}") from error
    return network.eval()


def untrained_manifest(preset: str, n_crops: int) -> Manifest:
    """Return the manifest of a network that has learned nothing. It says so, and its files are not listed yet."""
    return Manifest(
        name=f"cardiacnets-{preset}",
        version=MODEL_RELEASE,
        trained=False,
        weights="untrained",
        trained_on="nothing",
        licence="Apache-2.0",
        notes=UNTRAINED_NOTES,
        preset=preset,
        input=InputSpec(n_crops=n_crops),
        diseases=tuple(DiseaseHead(name=disease, threshold=0.5) for disease in DISEASES),
        phenotypes=tuple(PhenotypeHead(name=known.name, unit=known.unit, mean=0, sd=1) for known in MEASUREMENTS),
        files={},
    )


def _parameters(network: EcgNetwork) -> dict[str, NDArray[np.float32]]:
    return {name: np.ascontiguousarray(tensor.numpy(force=True)) for name, tensor in network.state_dict().items()}


def _answers(network: EcgNetwork, crops: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    from engines.torch_engine import TorchEngine

    return TorchEngine(network, OUTPUTS, row_shape=crops.shape[1:]).run(crops)


def _strip(model: ModelProto) -> None:
    """Remove what differs between machines and does not describe the network: paths, stack traces, versions."""
    model.producer_name, model.producer_version = "cardiacnets", ""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


@contextmanager
def needing_torch() -> Iterator[None]:
    """Turn a missing torch into a sentence that says how to install it.

    Raises:
        EngineUnavailable: torch or the exporter is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise EngineUnavailable("this needs torch: pip install 'cardiacnets[train]'") from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's warnings about itself and about packages that we do not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
