"""Turns checkpoints of the released CardioNets weights into a bundle. Every tensor must fit, or nothing is written.

A released checkpoint is `{epoch, model, optimizer, scaler, config, …}`. Its `model` holds one encoder and one head. A
bundle has more heads. Heads that no checkpoint has answer a constant, and the manifest says so.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.protocol import wrapped_errors
from engines.regular_file import open_regular
from schemas.errors import CorruptBundle, EngineUnavailable, InvalidSettings
from schemas.messages import DISEASES, Disease

from .bounded_child import BoundedChild, ChildFailed, Limits, Reason
from .bundle import Bundle
from .export import package_network
from .manifest import MODEL_RELEASE, DiseaseHead, Finite, InputSpec, Manifest, PhenotypeHead, Positive
from .models.presets import PAPER, Preset
from .phenotypes import MEASUREMENTS, Measurement
from .verified_folder import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from .models.network import EcgNetwork

Head: TypeAlias = Literal["disease", "phenotypes", "subtype"]
Names: TypeAlias = dict[str, str]
"""Published name → ours."""

MAX_CHECKPOINT_BYTES = 4 * 2**30
"""Four times the paper's encoder together with its optimizer's two moments of each weight."""
MAX_PICKLE_BYTES = 16 * 2**20
"""The bound on everything that is not a tensor: names, shapes, the run's configuration."""
MAX_SCALER_BYTES = 2**20
MAX_SHOWN, MAX_SHOWN_NAME = 200, 200
"""An error lists so many unknown names, and so many characters of each."""
LIMITS = Limits(memory=8 * 2**30, processor_s=10, wall_s=600.0, written=MAX_CHECKPOINT_BYTES)
"""The paper's network takes 1.3 GB and 3 s, of which torch itself takes one."""
REASONS: dict[Reason, str] = {
    "memory": f"reading it takes more than {LIMITS.memory >> 30} GiB",
    "time": f"reading it takes longer than {LIMITS.processor_s} s",
    "died": "reading it ended the process that read it",
    "broken": "reading it broke the reader",
}

ENCODER_TENSORS: Names = {"pos_embedding": "positions", "sep_embedding": "separator"}
ENCODER_LAYERS: Names = {f"to_patch_embedding.{i}": f"patch_embedding.{i}" for i in (1, 2, 3)} | {"norm": "norm"}
BLOCK_LAYERS: Names = {
    "attn.norm": "attention_norm",
    "attn.fn.to_qkv": "attention.qkv",
    "attn.fn.to_out.0": "attention.output",
    "ff.norm": "mlp_norm",
    "ff.fn.net.0": "mlp.0",
    "ff.fn.net.3": "mlp.2",  # theirs counts two dropouts
}
HEAD_LAYERS: dict[Head, Names] = {
    "disease": {"head": "disease"},
    "subtype": {"head": "subtype"},
    "phenotypes": {f"head.{i}": f"phenotypes.{i}" for i in (0, 2, 4)},
}

ABSENT_THRESHOLD = 1.0
"""The constant probability of a disease without a head is 0.5: it is never flagged."""
PLACEHOLDER_THRESHOLD = 0.5
TRAINED_ON = (
    "UK Biobank and MIMIC-IV-ECG, as published with the weights (Ding et al., arXiv 2411.13602); the files do not say "
    "which records"
)


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scale of a phenotype's learned z-score: z = (value - mean) / sd, in the manifest's unit."""

    mean: Finite
    sd: Positive


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One released checkpoint whose names and shapes were verified.

    Attributes:
        path: the file.
        head: what the head answers.
        tensors: the encoder and the head under our names. A disease head has one row.
    """

    path: Path
    head: Head
    tensors: Mapping[str, Tensor]

    @property
    def encoder(self) -> dict[str, Tensor]:
        """The tensors of the encoder alone."""
        return {name: tensor for name, tensor in self.tensors.items() if name.startswith("encoder.")}


def import_bundle(
    folder: Path,
    paths: Sequence[Path],
    *,
    probe_crops: NDArray[np.float32],
    diseases: Sequence[str] = (),
    scales: Mapping[str, Scale] | None = None,
    preset: Preset = PAPER,
) -> Bundle:
    """Write a bundle of released checkpoints that share one encoder.

    Args:
        folder: created if it is missing. A bundle in it is replaced.
        paths: one checkpoint for each head.
        probe_crops: (k, 12, 2250) float32, standardised crops of at least two ECGs.
        diseases: which disease each checkpoint with a disease head is for, in the order of `paths`.
        scales: of the phenotypes, by name. Without them, a report carries plain z-scores.
        preset: the sizes of the network in the checkpoints.

    Raises:
        CorruptBundle: a file is not a checkpoint of that layout, or the folder holds other things than a bundle.
        InvalidSettings: the checkpoints do not belong together, or not to the diseases and scales.
        EngineUnavailable: torch is not installed.
    """
    checkpoints = [open_checkpoint(path, preset) for path in paths]
    imported = name_heads(checkpoints, diseases)
    if scales is not None and "phenotypes" not in imported:
        raise InvalidSettings("a phenotype scaler is of no use: none of the checkpoints has a phenotype head")
    network = join_checkpoints(checkpoints, imported, preset)
    return package_network(folder, network, released_manifest(imported, paths, scales, preset), probe_crops)


def open_checkpoint(path: Path, preset: Preset = PAPER, child: BoundedChild | None = None) -> Checkpoint:
    """Return a released checkpoint. Code in it is never run, and a child process reads it.

    Args:
        path: of the file.
        preset: whose tensors it must have.
        child: that reads it; None: the one of this process.

    Raises:
        CorruptBundle: it is not such a checkpoint, or its tensors are not the preset's. The error names every key that
            is unknown, missing or of another shape.
        InvalidSettings: there is no such file.
        EngineUnavailable: torch is not installed.
    """
    from safetensors import SafetensorError

    _require_file(path, MAX_CHECKPOINT_BYTES)
    with wrapped_errors(EngineUnavailable, "this needs torch (pip install 'cardiacnets[train]')"):
        import torch  # noqa: F401 -- a process without it shall say so
        from safetensors.torch import load_file
    with TemporaryDirectory() as folder:
        tensors = Path(folder, "tensors")
        asked = _Question(os.fsencode(Path.cwd()), os.fsencode(path), preset, MAX_PICKLE_BYTES, os.fsencode(tensors))
        answer = _asked(asked, path, child or checkpoint_child())
        if answer.head is None:
            raise CorruptBundle(answer.refusal)
        try:
            return Checkpoint(path, answer.head, load_file(tensors))
        except (SafetensorError, OSError) as error:
            raise CorruptBundle(f"{path} could not be read: {error}") from error


class _Question(msgspec.Struct):
    """What the child is asked: to read `path`, and to write its tensors to `target`."""

    folder: bytes
    path: bytes
    preset: Preset
    max_pickle_bytes: int
    target: bytes


class _Answer(msgspec.Struct):
    head: Head | None = None
    refusal: str = ""


@cache
def checkpoint_child() -> BoundedChild:
    """Return the child of this process that reads checkpoints. It is started when it is first asked."""
    return BoundedChild(LIMITS)


def _asked(question: _Question, path: Path, child: BoundedChild) -> _Answer:
    try:
        answer = child.ask(f"{__name__}:answer_checkpoint", msgspec.msgpack.encode(question))
    except ChildFailed as failure:
        sentence = f"{path} is not a released checkpoint: {REASONS[failure.reason]}; no code in it was run"
        raise CorruptBundle(sentence) from failure
    return msgspec.msgpack.decode(answer, type=_Answer)


def answer_checkpoint(question: bytes) -> bytes:
    """Read a checkpoint, in the child: write its tensors under our names, or say why it is refused."""
    from safetensors.torch import save_file

    asked = msgspec.msgpack.decode(question, type=_Question)
    os.chdir(asked.folder)
    try:
        head, tensors = _read_checkpoint(Path(os.fsdecode(asked.path)), asked.preset, asked.max_pickle_bytes)
    except CorruptBundle as refusal:
        return msgspec.msgpack.encode(_Answer(refusal=str(refusal)))
    save_file(tensors, os.fsdecode(asked.target))
    return msgspec.msgpack.encode(_Answer(head=head))


def _read_checkpoint(path: Path, preset: Preset, max_pickle_bytes: int) -> tuple[Head, dict[str, Tensor]]:
    state = _read_state(path, max_pickle_bytes)
    head = _head_of(state)
    names = published_names(head, preset)
    problems = list(_problems(state, _shapes(names, preset)))
    if problems:
        raise CorruptBundle(f"{path} does not have the layout of the released weights: {'; '.join(problems)}")
    return head, {ours: state[name].detach().float().contiguous().clone() for name, ours in names.items()}


def published_names(head: Head, preset: Preset) -> Names:
    """Return our name for each tensor of a released checkpoint with that head."""
    tensors = ENCODER_TENSORS | {f"lead_embeddings.{i}": f"lead_embeddings.{i}" for i in range(12)}
    layers = ENCODER_LAYERS | {
        f"block{i}.{name}": f"blocks.{i}.{ours}" for i in range(preset.depth) for name, ours in BLOCK_LAYERS.items()
    }
    encoder = tensors | _with_kinds(layers)
    return {name: f"encoder.{ours}" for name, ours in encoder.items()} | _with_kinds(HEAD_LAYERS[head])


def name_heads(checkpoints: Sequence[Checkpoint], diseases: Sequence[str]) -> tuple[str, ...]:
    """Return what each checkpoint's head answers: a disease, "phenotypes" or "subtype".

    Raises:
        InvalidSettings: there is not one disease for each disease head, or a head comes twice.
    """
    if unknown := [name for name in diseases if name not in DISEASES]:
        raise InvalidSettings(f"there is no disease {', '.join(unknown)}: the diseases are {', '.join(DISEASES)}")
    needed = [checkpoint.path.name for checkpoint in checkpoints if checkpoint.head == "disease"]
    if len(needed) != len(diseases):
        raise InvalidSettings(
            f"{len(needed)} of the checkpoints have a disease head ({', '.join(needed) or 'none'}) but {len(diseases)} "
            f"diseases are named: name one for each, in order, by --disease, of {', '.join(DISEASES)}"
        )
    given = iter(diseases)
    heads = tuple(next(given) if checkpoint.head == "disease" else checkpoint.head for checkpoint in checkpoints)
    if twice := sorted({head for head in heads if heads.count(head) > 1}):
        raise InvalidSettings(f"several checkpoints have a head for {', '.join(twice)}: give one each")
    return heads


def join_checkpoints(checkpoints: Sequence[Checkpoint], heads: Sequence[str], preset: Preset = PAPER) -> EcgNetwork:
    """Return one network of all the checkpoints, in evaluation mode. Heads that no checkpoint has answer a constant.

    Args:
        checkpoints: at least one.
        heads: what each one's head answers, as `name_heads` says.
        preset: the sizes of the network.

    Raises:
        InvalidSettings: their encoders differ.
    """
    import torch

    from .models.heads import CONSTANT_EMBEDDING_BIAS

    first, *others = checkpoints
    for other in others:
        _require_same_encoder(first, other)
    network = _hollow_network(preset)
    state = {name: torch.zeros(tensor.shape) for name, tensor in network.state_dict().items()}
    state["alignment.projection.bias"].fill_(CONSTANT_EMBEDDING_BIAS)
    for checkpoint, head in zip(checkpoints, heads, strict=True):
        for name, tensor in checkpoint.tensors.items():
            rows = _row_of(head) if name.startswith("disease.") else slice(None)
            state[name][rows].copy_(tensor)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def released_manifest(
    heads: Sequence[str], paths: Sequence[Path], scales: Mapping[str, Scale] | None, preset: Preset
) -> Manifest:
    """Return the manifest that says which heads were imported, which are absent, and how far to trust either.

    Args:
        heads: what each checkpoint's head answers, as `name_heads` says.
        paths: the checkpoints, for their digests.
        scales: of the phenotypes, by name; None: plain z-scores.
        preset: the sizes of the network.
    """
    absent = [head for head in (*DISEASES, "phenotypes", "subtype", "embedding") if head not in heads]
    scale_of = scales or {}
    return Manifest(
        name="cardionets-released",
        version=MODEL_RELEASE,
        trained=True,
        weights=(
            f"released CardioNets weights, imported by you: {', '.join(heads)}; "
            f"absent, and answered by a constant: {', '.join(absent)}"
        ),
        trained_on=TRAINED_ON,
        licence="the one under which you got the weights",
        notes=" ".join(_notes(heads, paths, scaled=scales is not None)),
        preset=preset.name,
        input=InputSpec(n_crops=3),
        diseases=tuple(_disease_head(disease, present=disease in heads) for disease in DISEASES),
        phenotypes=tuple(_phenotype_head(known, scale_of.get(known.name, Scale(0.0, 1.0))) for known in MEASUREMENTS),
        files={},
    )


def read_scales(path: Path) -> dict[str, Scale]:
    """Return the scale of each of the 82 phenotypes from a JSON object {name: {"mean": …, "sd": …}}.

    Raises:
        InvalidSettings: the file is not there, or does not hold exactly that.
    """
    _require_file(path, MAX_SCALER_BYTES)
    try:
        scales = msgspec.json.decode(path.read_bytes(), type=dict[str, Scale])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidSettings(f'{path} must hold {{name: {{"mean": number, "sd": positive}}}}: {error}') from error
    known = [measurement.name for measurement in MEASUREMENTS]
    if problems := list(_name_problems(scales, known)):
        raise InvalidSettings(f"{path} must hold exactly the {len(known)} phenotypes: {'; '.join(problems)}")
    return scales


def _read_state(path: Path, max_pickle_bytes: int) -> dict[str, Tensor]:
    """Return the file's state dict. Its keys and values are not checked yet, but none of them is code."""
    import torch

    _require_plain_archive(path, max_pickle_bytes)
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript archives, which are refused here
            content = None if foreign else torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except Exception as error:
        raise CorruptBundle(f"{path} is not a checkpoint of tensors and plain values; no code in it was run") from error
    if foreign:
        raise CorruptBundle(
            f"{path} holds more than tensors and plain values, which may be code and was not run: "
            f"{', '.join(sorted(foreign))}"
        )
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CorruptBundle(f"{path} is not a released checkpoint: it has no state dict under 'model'")
    return state


def _require_file(path: Path, max_bytes: int) -> None:
    if not path.is_file():
        raise InvalidSettings(f"there is no file {str(path)!r}: check its name")
    if (size := path.stat().st_size) > max_bytes:
        raise InvalidSettings(f"{path} has {size} bytes, and at most {max_bytes} are read")


def _require_plain_archive(path: Path, max_pickle_bytes: int) -> None:
    """Refuse files that torch cannot map into memory or that would unpack to more than their size."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CorruptBundle(
            f"{path} is not a checkpoint that torch.save of version 1.6 or newer wrote: {error}"
        ) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CorruptBundle(f"{path} is compressed, which torch.save never does: it is not read")
    if any(entry.file_size > max_pickle_bytes for entry in entries if entry.filename.endswith(".pkl")):
        raise CorruptBundle(f"{path} holds more than {max_pickle_bytes} bytes beside its tensors: it is not read")


def _head_of(state: Mapping[str, Tensor]) -> Head:
    """Return the most likely head. The check of all names and shapes then decides."""
    if "head.weight" in state:
        return "subtype" if getattr(state["head.weight"], "shape", ())[:1] == (3,) else "disease"
    return "phenotypes" if any(name in state for name in _with_kinds(HEAD_LAYERS["phenotypes"])) else "disease"


def _with_kinds(layers: Names) -> Names:
    return {f"{name}.{kind}": f"{ours}.{kind}" for name, ours in layers.items() for kind in ("weight", "bias")}


def _hollow_network(preset: Preset) -> EcgNetwork:
    """Return a network whose parameters have shapes but take no memory."""
    import torch

    from .models.network import EcgNetwork

    with torch.device("meta"):
        return EcgNetwork(preset)


def _shapes(names: Names, preset: Preset) -> dict[str, tuple[int, ...]]:
    """Return the shape of each published tensor."""
    shapes = {name: tuple(tensor.shape) for name, tensor in _hollow_network(preset).state_dict().items()}
    return {
        name: (1, *shapes[ours][1:]) if ours.startswith("disease.") else shapes[ours] for name, ours in names.items()
    }


def _problems(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    yield from _name_problems(state, shapes)
    for name, shape in shapes.items():
        if name in state and (problem := _tensor_problem(state[name], shape)):
            yield f"{name} {problem}"


def _name_problems(found: Collection[object], expected: Collection[str]) -> Iterator[str]:
    if unknown := [str(name) for name in found if name not in expected]:
        yield f"unknown: {', '.join(name[:MAX_SHOWN_NAME] for name in unknown[:MAX_SHOWN])}" + (
            f" and {len(unknown) - MAX_SHOWN} more" if len(unknown) > MAX_SHOWN else ""
        )
    if missing := [name for name in expected if name not in found]:
        yield f"missing: {', '.join(missing)}"


def _tensor_problem(value: object, shape: tuple[int, ...]) -> str | None:
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return "is no plain tensor"
    if tuple(value.shape) != shape:
        return f"has the shape {tuple(value.shape)} instead of {shape}"
    if not value.is_floating_point() or not value.float().isfinite().all():
        return "has other values than finite floating-point numbers"
    return None


def _require_same_encoder(one: Checkpoint, other: Checkpoint) -> None:
    import torch

    differing = [name for name, tensor in one.encoder.items() if not torch.equal(tensor, other.tensors[name])]
    if differing:
        raise InvalidSettings(
            f"{one.path} and {other.path} have different encoders ({len(differing)} tensors, the first is "
            f"{differing[0]}), and a bundle has one: import each into a bundle of its own"
        )


def _row_of(disease: str) -> slice:
    row = [str(known) for known in DISEASES].index(disease)
    return slice(row, row + 1)


def _notes(heads: Sequence[str], paths: Sequence[Path], *, scaled: bool) -> Iterator[str]:
    sources = [f"{head} (sha256 {sha256(path)})" for head, path in zip(heads, paths, strict=True)]
    yield f"Imported: {', '.join(sources)}."
    yield (
        f"A disease without a head always has the probability 0.5 and the threshold {ABSENT_THRESHOLD:g}, so it is "
        "never flagged; the embedding is the same for every ECG, so a cine drawn from it says nothing of the patient."
    )
    if set(heads) & set(DISEASES):
        yield (
            f"Diseases: plain sigmoid and a threshold of {PLACEHOLDER_THRESHOLD:g} are placeholders, for the "
            "checkpoints carry no calibration and were fitted to as many cases as controls: calibrate before use."
        )
    if "phenotypes" not in heads:
        yield "The phenotypes are 0 for every ECG."
    elif not scaled:
        yield "The phenotypes are plain z-scores in spite of their units: the checkpoint has no scaler."
    if "subtype" in heads and "cardiomyopathy" not in heads:
        yield "The subtype is never reported, since that needs a flagged cardiomyopathy."


def _disease_head(disease: Disease, *, present: bool) -> DiseaseHead:
    return DiseaseHead(name=disease, threshold=PLACEHOLDER_THRESHOLD if present else ABSENT_THRESHOLD)


def _phenotype_head(known: Measurement, scale: Scale) -> PhenotypeHead:
    return PhenotypeHead(name=known.name, unit=known.unit, mean=scale.mean, sd=scale.sd)
