"""Model bundles: folders of a manifest, a graph, weights and a probe. All files are verified before one is opened."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.choice import Probe
from schemas.errors import CorruptBundle
from schemas.messages import EMBEDDING_SIZE, ModelReference

from .geometry import CROP_SAMPLES
from .manifest import (
    GRAPH,
    HALF_GRAPH,
    MODEL_FILES,
    PROBE,
    WEIGHTS,
    Manifest,
    contradictions,
)
from .verified_folder import FolderKind

MAX_PROBE_ROWS = 4096
BUNDLES = FolderKind(
    manifest=Manifest,
    files=MODEL_FILES,
    contradictions=contradictions,
    name="model bundle",
    optional=(HALF_GRAPH,),
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were verified."""

    folder: Path
    manifest: Manifest

    @property
    def graph(self) -> Path:
        """The ONNX file. It takes `crops` and gives four answers."""
        return self.folder / GRAPH

    @property
    def weights(self) -> Path:
        """The network's parameters, for torch."""
        return self.folder / WEIGHTS

    def read(self, name: str) -> bytes:
        """Return the content of a file that the manifest lists, verified as it is read.

        Raises:
            CorruptBundle: the file was changed since the bundle was loaded.
        """
        return BUNDLES.read_file(self.folder / name, self.manifest.files[name])

    @property
    def reference(self) -> ModelReference:
        """The model as messages name it."""
        return self.manifest.reference


def default_bundle() -> Path:
    """Return the folder of the bundle that is shipped with the package."""
    return Path(str(files("inference") / "bundles" / "reference"))


def load_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`. Every file is verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
    """
    return Bundle(folder, BUNDLES.read(folder))


def write_bundle(folder: Path, manifest: Manifest) -> Bundle:
    """Complete a folder that holds the model's files; see `FolderKind.write`."""
    return Bundle(folder, BUNDLES.write(folder, manifest))


def load_probe(bundle: Bundle) -> Probe:
    """Return crops (k, 12, 2250) and torch's answers to them. With them, any engine can be checked without torch.

    Raises:
        CorruptBundle: the probe has other tensors or shapes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = bundle.folder / PROBE
    try:
        tensors = load(bundle.read(PROBE))
    except SafetensorError as error:
        raise CorruptBundle(f"{path} cannot be read: {error}") from error
    shapes = _probe_shapes(bundle.manifest, len(tensors.get("crops", ())))
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes or not _are_finite_float32(tensors):
        raise CorruptBundle(f"{path} must hold finite float32 tensors of the shapes {shapes}")
    return Probe(inputs=tensors.pop("crops"), expected=tensors)


def _probe_shapes(manifest: Manifest, rows: int) -> dict[str, tuple[int, ...]]:
    rows = min(max(rows, 1), MAX_PROBE_ROWS)
    return {
        "crops": (rows, len(manifest.input.leads), CROP_SAMPLES),
        "disease_logits": (rows, len(manifest.diseases)),
        "phenotypes": (rows, len(manifest.phenotypes)),
        "subtype_logits": (rows, len(manifest.subtypes)),
        "embedding": (rows, EMBEDDING_SIZE),
    }


def _are_finite_float32(tensors: dict[str, NDArray[np.float32]]) -> bool:
    return all(tensor.dtype == np.float32 and np.isfinite(tensor).all() for tensor in tensors.values())
