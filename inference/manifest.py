"""A bundle's manifest: what the model takes, what it answers, and how its answers are to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from schemas.ecg_record import LEADS
from schemas.messages import DISEASES, SUBTYPES, CardiomyopathySubtype, Disease, ModelReference, Probability

from .phenotypes import MEASUREMENTS

SAMPLE_RATE_HZ = 250
CROP_SAMPLES = 2250
EMBEDDING_SIZE = 256

GRAPH = "network.onnx"
WEIGHTS = "weights.safetensors"
PROBE = "probe.safetensors"
MODEL_FILES = (GRAPH, WEIGHTS, PROBE)

Finite: TypeAlias = Annotated[float, Meta(ge=-1e9, le=1e9)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=100)]
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the manifest: immutable, and without fields that this version does not know."""


class InputSpec(Part, frozen=True, kw_only=True):
    """What the graph takes: crops of standardised leads."""

    leads: tuple[str, ...] = LEADS
    sample_rate_hz: int = SAMPLE_RATE_HZ
    crop_samples: int = CROP_SAMPLES
    n_crops: Annotated[int, Meta(ge=1, le=16)] = 3
    """How many crops of a record are averaged."""


class TemperatureCalibration(Part, frozen=True, kw_only=True, tag="temperature", tag_field="method"):
    """Probability = sigmoid(logit / temperature + bias): Platt's method, the temperature positive."""

    temperature: Positive
    bias: Finite = 0.0


class IsotonicCalibration(Part, frozen=True, kw_only=True, tag="isotonic", tag_field="method"):
    """Probability = a rising line from knot to knot, level beyond the first and the last."""

    logits: Annotated[tuple[Finite, ...], Meta(min_length=2, max_length=10_000)]
    probabilities: Annotated[tuple[Probability, ...], Meta(min_length=2, max_length=10_000)]


Calibration: TypeAlias = TemperatureCalibration | IsotonicCalibration


class OperatingPoints(Part, frozen=True, kw_only=True):
    """Thresholds of the calibrated probability that were fixed on development data."""

    sensitivity_90: Probability
    """The highest that finds 90 % of the sick."""
    specificity_95: Probability
    """The lowest that leaves 95 % of the others alone."""


class DiseaseHead(Part, frozen=True, kw_only=True):
    """One disease logit: the threshold holds for the calibrated probability; no calibration means the plain sigmoid."""

    name: Disease
    threshold: Probability
    calibration: Calibration | None = None
    operating_points: OperatingPoints | None = None


class PhenotypeHead(Part, frozen=True, kw_only=True):
    """One z-score: value = mean + sd × z, in the unit."""

    name: str
    unit: str
    mean: Finite
    sd: Positive


class Described(Part, frozen=True, kw_only=True):
    """What every manifest says of a model first, whatever it answers; last comes `files`, the digests by name.

    The order stands, for a version depends on it; so each manifest has `files` of its own, after what it adds.

    Attributes:
        evidence: files that are no part of the model, so that its version does not depend on them.
    """

    evidence: ClassVar[tuple[str, ...]] = ()

    format_version: Literal[1] = 1
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=100)]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+_-]+\Z", max_length=100)]
    trained: bool
    weights: Text
    """What the weights are, in words that every answer repeats."""
    trained_on: Text
    licence: Text
    notes: Text
    preset: Text
    if TYPE_CHECKING:
        files: dict[FileName, Sha256]

    @property
    def reference(self) -> ModelReference:
        """The model as messages name it."""
        return ModelReference(name=self.name, version=self.version, trained=self.trained, weights=self.weights)


class Manifest(Described, frozen=True, kw_only=True):
    """The whole of a bundle's `manifest.json`."""

    evidence: ClassVar[tuple[str, ...]] = (PROBE,)

    input: InputSpec
    diseases: tuple[DiseaseHead, ...]
    phenotypes: tuple[PhenotypeHead, ...]
    subtypes: tuple[CardiomyopathySubtype, ...] = SUBTYPES
    embedding_size: int = EMBEDDING_SIZE
    files: dict[FileName, Sha256]


def fingerprint(manifest: Described) -> str:
    """Return 12 hex digits that change whenever an answer of this model could: with its files and all that is said."""
    files = {name: digest for name, digest in sorted(manifest.files.items()) if name not in manifest.evidence}
    content = msgspec.structs.replace(manifest, version="", files=files)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each thing in the manifest that this program cannot do or that contradicts another."""
    spec = manifest.input
    if (spec.leads, spec.sample_rate_hz, spec.crop_samples) != (LEADS, SAMPLE_RATE_HZ, CROP_SAMPLES):
        yield f"its input must be {CROP_SAMPLES} samples of {', '.join(LEADS)} at {SAMPLE_RATE_HZ} Hz"
    if tuple(head.name for head in manifest.diseases) != DISEASES:
        yield f"its diseases must be {', '.join(DISEASES)}, in this order"
    if [(head.name, head.unit) for head in manifest.phenotypes] != [(known.name, known.unit) for known in MEASUREMENTS]:
        yield f"its phenotypes must be the {len(MEASUREMENTS)} of inference.phenotypes, with their units, in order"
    if manifest.subtypes != SUBTYPES:
        yield f"its subtypes must be {', '.join(SUBTYPES)}, in this order"
    if manifest.embedding_size != EMBEDDING_SIZE:
        yield f"its embedding must have {EMBEDDING_SIZE} numbers"
    if missing := [name for name in MODEL_FILES if name not in manifest.files]:
        yield f"it does not list {', '.join(missing)}"
    for head in manifest.diseases:
        if isinstance(head.calibration, IsotonicCalibration) and not _rises(head.calibration):
            yield f"the calibration of {head.name} needs as many probabilities as logits, both rising"


def _rises(calibration: IsotonicCalibration) -> bool:
    logits, probabilities = calibration.logits, calibration.probabilities
    return (
        len(logits) == len(probabilities)
        and all(left < right for left, right in pairwise(logits))
        and all(left <= right for left, right in pairwise(probabilities))
    )
