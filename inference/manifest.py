"""A bundle's manifest: what the model takes, what it answers, and how a program reads its answers.

A manifest can grow. A new field needs a default and leaves every manifest that was written without it as valid as
before, because a version is the fingerprint of the JSON that was written and not of the fields that a program knows.
A change that a default cannot express needs a new `format_version`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from schemas.ecg_record import LEADS
from schemas.messages import (
    DISEASES,
    EMBEDDING_SIZE,
    SUBTYPES,
    CardiomyopathySubtype,
    Disease,
    ModelReference,
    Probability,
)

from .geometry import CROP_SAMPLES, SAMPLE_RATE_HZ
from .phenotypes import MEASUREMENTS

FORMAT_VERSION: Final = 1
"""The newest format of a manifest that this program reads."""

MODEL_RELEASE: Final = "0.1.0"
"""Begins the version of every model that this program packages; the fingerprint follows it.

It is not the program's own version. A model that is packaged again by a later program gives the same answers, so it
must keep its version, and every report its id. Nor may a version depend on whether the program was installed.
"""

GRAPH = "network.onnx"
WEIGHTS = "weights.safetensors"
PROBE = "probe.safetensors"
HALF_GRAPH = "network.float16.onnx"
"""The same network in float16, for GPUs. A bundle need not have it."""
MODEL_FILES = (GRAPH, WEIGHTS, PROBE)

Finite: TypeAlias = Annotated[float, Meta(ge=-1e9, le=1e9)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=100)]
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000)]


class ManifestPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a manifest. It cannot be changed, and a field that this program does not know is an error."""


class InputSpec(ManifestPart, frozen=True, kw_only=True):
    """What the graph takes: crops of standardised leads."""

    leads: tuple[str, ...] = LEADS
    sample_rate_hz: int = SAMPLE_RATE_HZ
    crop_samples: int = CROP_SAMPLES
    n_crops: Annotated[int, Meta(ge=1, le=16)] = 3
    """The answers of this many crops of a record are averaged."""


class TemperatureCalibration(ManifestPart, frozen=True, kw_only=True, tag="temperature", tag_field="method"):
    """Probability = sigmoid(logit / temperature + bias): Platt's method with a positive temperature."""

    temperature: Positive
    bias: Finite = 0.0


class IsotonicCalibration(ManifestPart, frozen=True, kw_only=True, tag="isotonic", tag_field="method"):
    """Probability = a line that rises from knot to knot and is level before the first and after the last knot."""

    logits: Annotated[tuple[Finite, ...], Meta(min_length=2, max_length=10_000)]
    probabilities: Annotated[tuple[Probability, ...], Meta(min_length=2, max_length=10_000)]


Calibration: TypeAlias = TemperatureCalibration | IsotonicCalibration


class OperatingPoints(ManifestPart, frozen=True, kw_only=True):
    """Thresholds of the calibrated probability. They were chosen on development data."""

    sensitivity_90: Probability
    """The highest threshold that flags 90 % of the patients with the disease."""
    specificity_95: Probability
    """The lowest threshold that does not flag 95 % of the patients without the disease."""
    family_wise: Probability | msgspec.UnsetType = msgspec.UNSET
    """The lowest threshold at which, with those of the other diseases, `family_wise_rate` is kept."""
    family_wise_rate: Probability | msgspec.UnsetType = msgspec.UNSET
    """The share of the people with none of the diseases who have at least one flag."""


ExcludedBy: TypeAlias = Literal["paced", "leads_exchanged", "low_quality"]
ADULT_YEARS: Final = 18.0


class Eligibility(ManifestPart, frozen=True, kw_only=True):
    """Whom the model is for. Of others nothing is said but that their ECG is not assessable.

    A manifest that does not say so is for adults whose ECG is neither paced nor doubtful.
    """

    intended_use: Text = (
        "Resting 12-lead ECGs of adults, of at least 9 s, without pacing. For research: to be read by a physician."
    )
    min_age_years: Annotated[float, Meta(ge=0, le=150)] = ADULT_YEARS
    max_age_years: Annotated[float, Meta(ge=0, le=150)] | None = None
    age_required: bool = False
    """Whether an ECG without an age is not assessable. Otherwise its report has a warning."""
    takes: tuple[ExcludedBy, ...] = ()
    """What excludes an ECG from other models, and not from this one, because it learned from such ECGs."""


class DiseaseHead(ManifestPart, frozen=True, kw_only=True):
    """One disease logit. The threshold is one of the calibrated probability; without a calibration, the sigmoid's.

    A head that did not learn has the threshold 1, and never flags.
    """

    name: Disease
    threshold: Probability
    calibration: Calibration | None = None
    operating_points: OperatingPoints | None = None

    @property
    def fixed_thresholds(self) -> dict[str, float]:
        """The thresholds that were fixed on development data, by the name of the operating point."""
        points = self.operating_points
        if points is None:
            return {}
        named = {"family_wise": points.family_wise}
        named |= {"sensitivity_90": points.sensitivity_90, "specificity_95": points.specificity_95}
        return {name: value for name, value in named.items() if isinstance(value, float)}

    @property
    def learned(self) -> bool:
        """Whether the head learned from data."""
        return self.threshold < 1 or self.calibration is not None


class Certainty(ManifestPart, frozen=True, kw_only=True):
    """How sure a measurement is, by the residuals on development data."""

    half_width: Positive
    """Of the interval that held 90 % of the scans' values, where no disease was flagged. In the measurement's unit."""
    half_width_flagged: Positive
    """The same where a disease was flagged."""
    r2: Finite
    """The share of the variance that the estimates explain."""


MIN_R2: Final = 0.05
"""An ECG says about nothing of a measurement whose R² is lower."""


class PhenotypeHead(ManifestPart, frozen=True, kw_only=True):
    """One z-score: value = mean + sd × z. The value, the mean and the deviation have the unit."""

    name: str
    unit: str
    mean: Finite
    sd: Positive
    certainty: Certainty | msgspec.UnsetType = msgspec.UNSET

    @property
    def informative(self) -> bool:
        """Whether an ECG says something of the measurement, as far as the manifest knows."""
        return self.certainty is msgspec.UNSET or self.certainty.r2 >= MIN_R2

    def half_width(self, *, flagged: bool) -> float | None:
        """Return half of the interval of 90 %, for an ECG with or without a flag; None where the manifest has none."""
        if self.certainty is msgspec.UNSET:
            return None
        return self.certainty.half_width_flagged if flagged else self.certainty.half_width


class ModelManifest(ManifestPart, frozen=True, kw_only=True):
    """The fields that the manifests of all kinds of model begin with.

    Never reorder the fields of a manifest: a manifest is written in their order, and its version depends on the order.
    `files`, the digests by file name, comes last. Each kind of manifest therefore declares it after its own fields.

    Attributes:
        evidence: names of files that do not change an answer. The version does not depend on them.
    """

    evidence: ClassVar[tuple[str, ...]] = ()

    format_version: Literal[1] = FORMAT_VERSION
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=100)]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+_-]+\Z", max_length=100)]
    trained: bool
    weights: Text
    """Says what the weights are. Every answer repeats it."""
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


class Manifest(ModelManifest, frozen=True, kw_only=True):
    """The whole of a bundle's `manifest.json`."""

    # The float16 graph follows from the weights, and its rounding makes no other model, as that of bfloat16 does not.
    evidence: ClassVar[tuple[str, ...]] = (PROBE, HALF_GRAPH)

    input: InputSpec
    diseases: tuple[DiseaseHead, ...]
    phenotypes: tuple[PhenotypeHead, ...]
    subtypes: tuple[CardiomyopathySubtype, ...] = SUBTYPES
    embedding_size: int = EMBEDDING_SIZE
    eligibility: Eligibility | msgspec.UnsetType = msgspec.UNSET
    """Not written where it was not there, so that an older manifest keeps its fingerprint; see `for_whom`."""
    files: dict[FileName, Sha256]

    @property
    def for_whom(self) -> Eligibility:
        """Whom the model is for, also where the manifest does not say so."""
        return Eligibility() if self.eligibility is msgspec.UNSET else self.eligibility


def fingerprint(text: bytes, evidence: Collection[str]) -> str:
    """Return 12 hex digits that change with every field of a manifest and with every file that can change an answer.

    Fields count as they were written, in their order. A field that was not written does not count, even where this
    program has a default for it. Neither the version itself nor white space nor the order of the files counts.

    Args:
        text: the manifest's JSON. It has `version` and `files`.
        evidence: names of files that do not count.
    """
    content = msgspec.json.decode(text)
    files = {name: digest for name, digest in sorted(content["files"].items()) if name not in evidence}
    return hashlib.sha256(msgspec.json.encode(content | {"version": "", "files": files})).hexdigest()[:12]


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each claim that this program cannot meet or that contradicts another claim."""
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
    if (oldest := manifest.for_whom.max_age_years) is not None and oldest <= manifest.for_whom.min_age_years:
        yield "its max_age_years must be above its min_age_years"
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
