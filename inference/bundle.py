"""Model bundles: folders of a manifest, a graph, weights and a probe, verified before anything is read from them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.choice import Probe
from schemas.errors import CorruptBundle
from schemas.messages import ModelReference

from .manifest import (
    CROP_SAMPLES,
    EMBEDDING_SIZE,
    GRAPH,
    MODEL_FILES,
    PROBE,
    WEIGHTS,
    Manifest,
    contradictions,
    fingerprint,
)

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
MAX_PROBE_ROWS = 4096
DOCUMENT_SUFFIXES = ("", ".md", ".txt")
"""Files that may lie in a bundle unlisted: a licence, a model card."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were verified."""

    folder: Path
    manifest: Manifest

    @property
    def graph(self) -> Path:
        """The ONNX file: `crops` in, the four answers out."""
        return self.folder / GRAPH

    @property
    def weights(self) -> Path:
        """The network's parameters, for torch."""
        return self.folder / WEIGHTS

    @property
    def reference(self) -> ModelReference:
        """The model as messages name it."""
        return self.manifest.reference


def default_bundle() -> Path:
    """Return the folder of the bundle that is shipped with the package."""
    return Path(str(files("inference") / "bundles" / "reference"))


def load_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`, every file of it verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the manifest contradicts itself.
    """
    manifest = _read_manifest(folder)
    for problem in contradictions(manifest):
        raise CorruptBundle(f"the manifest in {folder} cannot be used: {problem}")
    refuse_strangers(folder, (MANIFEST, *manifest.files))
    for name, expected in manifest.files.items():
        if _sha256(folder / name) != expected:
            raise CorruptBundle(f"{folder / name} is not the file that the manifest describes: fetch the bundle again")
    _check_version(manifest, folder)
    return Bundle(folder, manifest)


def write_bundle(folder: Path, manifest: Manifest) -> Bundle:
    """Complete a folder in which the model files lie: write its manifest, with their digests and the version.

    Args:
        folder: holds network.onnx, weights.safetensors and probe.safetensors, and nothing else but documents.
        manifest: what to write; its `files` are ignored, and to its `version` the fingerprint is added.

    Raises:
        CorruptBundle: the files or the manifest are not what a bundle may have.
    """
    digests = {name: _sha256(folder / name) for name in MODEL_FILES}
    checked = _decode_manifest(msgspec.json.encode(manifest), folder / MANIFEST)
    complete = msgspec.structs.replace(checked, files=digests)
    release = manifest.version.partition("+")[0]
    complete = msgspec.structs.replace(complete, version=f"{release}+{fingerprint(complete)}")
    text = msgspec.json.format(msgspec.json.encode(complete), indent=1) + b"\n"
    (folder / MANIFEST).write_bytes(text)
    return load_bundle(folder)


def load_probe(bundle: Bundle) -> Probe:
    """Return crops (k, 12, 2250) and what torch answered to them, so that any engine can be checked without torch.

    Raises:
        CorruptBundle: the probe has other tensors or shapes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = bundle.folder / PROBE
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CorruptBundle(f"{path} cannot be read: {error}") from error
    shapes = _probe_shapes(bundle.manifest, len(tensors.get("crops", ())))
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes or not _are_finite_float32(tensors):
        raise CorruptBundle(f"{path} must hold finite float32 tensors of the shapes {shapes}")
    return Probe(inputs=tensors.pop("crops"), expected=tensors)


def refuse_strangers(folder: Path, known: Collection[str]) -> None:
    """Refuse a folder that holds anything but the known files and documents.

    Raises:
        CorruptBundle: names the first stranger.
    """
    for path in sorted(folder.iterdir()):
        if path.name not in known and path.suffix.lower() not in DOCUMENT_SUFFIXES:
            raise CorruptBundle(f"{path} does not belong to the bundle: its manifest does not list it; remove it")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise CorruptBundle(f"{folder} is not a model bundle: {MANIFEST} cannot be read ({error.strerror})") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise CorruptBundle(f"{path} is larger than a manifest may be ({MAX_MANIFEST_BYTES} bytes)")
    return _decode_manifest(text, path)


def _decode_manifest(text: bytes, path: Path) -> Manifest:
    try:
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise CorruptBundle(f"{path} is not a manifest of this version: {error}") from error


def _check_version(manifest: Manifest, folder: Path) -> None:
    release, _, written = manifest.version.partition("+")
    if written != (actual := fingerprint(manifest)):
        raise CorruptBundle(
            f"the manifest in {folder} was changed but not its version, on which the ids of reports rest: "
            f"undo the change or, if it is meant, set the version to {release}+{actual}"
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptBundle(f"{path} cannot be read ({error.strerror}): fetch the bundle again") from error


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
