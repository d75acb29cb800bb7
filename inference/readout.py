"""The readout: turns the network's numbers into probabilities, flags, measurements and an embedding for each record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from schemas.errors import EngineFailed
from schemas.messages import CardiomyopathySubtype, Disease, Phenotype, Risk

from .manifest import Calibration, Manifest, TemperatureCalibration

PROBABILITY_DECIMALS = 6
"""A probability is compared with its threshold as it is reported, so thresholds are chosen on rounded ones as well."""
DECIMALS = {"disease_logits": PROBABILITY_DECIMALS, "phenotypes": 4, "subtype_logits": 6, "embedding": 6}
"""How many decimals of each output are kept. Smaller differences are rounding errors of the engine."""

MIN_NORM = 1e-6
"""A mean of unit vectors that is shorter than this has no direction."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the network says about one record.

    Attributes:
        risks: one for each disease, in the order of the manifest.
        phenotypes: all 82.
        subtype: the probability of each kind of cardiomyopathy, if there is one.
        embedding: (256,) of length 1.
        logits: (5,) of the diseases, averaged over the crops, before calibration; for evaluation, and not in reports.
    """

    risks: tuple[Risk, ...]
    phenotypes: tuple[Phenotype, ...]
    subtype: dict[CardiomyopathySubtype, float]
    embedding: NDArray[np.float64]
    logits: NDArray[np.float64]

    @property
    def flagged_diseases(self) -> tuple[Disease, ...]:
        """The diseases that are detected."""
        return tuple(risk.disease for risk in self.risks if risk.flagged)


class Readout:
    """Reads batches of outputs in the way that one manifest describes."""

    def __init__(self, manifest: Manifest) -> None:
        self._diseases = manifest.diseases
        self._thresholds = np.array([head.threshold for head in manifest.diseases])
        self._measurements = {
            flagged: [(head.name, head.unit, head.half_width(flagged=flagged)) for head in manifest.phenotypes]
            for flagged in (False, True)
        }
        self._informative = [head.informative for head in manifest.phenotypes]
        self._means = np.array([head.mean for head in manifest.phenotypes])
        self._deviations = np.array([head.sd for head in manifest.phenotypes])
        self._subtypes = manifest.subtypes
        self._sizes = {
            "disease_logits": len(manifest.diseases),
            "phenotypes": len(manifest.phenotypes),
            "subtype_logits": len(manifest.subtypes),
            "embedding": manifest.embedding_size,
        }

    def read(self, outputs: Mapping[str, NDArray[np.float32]], n_crops: int) -> list[Finding | EngineFailed]:
        """Return what was found in each record, or an error if the network's numbers are not finite.

        Logits, z-scores and embeddings are first averaged over the crops of a record, as published.

        Args:
            outputs: (records × crops, …) by name; the crops of a record follow each other.
            n_crops: the number of crops of each record.

        Raises:
            EngineFailed: an output is missing or has the wrong shape, or the outputs differ in their number of records.
        """
        means = {name: self._averaged(outputs, name, n_crops) for name in self._sizes}
        if len({len(values) for values in means.values()}) > 1:
            raise EngineFailed(
                f"the engine's outputs disagree on the records: { {n: len(v) for n, v in means.items()} }"
            )
        broken = self._broken(means)
        for values in means.values():
            values[broken] = 0.0  # so that no infinity reaches the code below
        findings = self._findings(means)
        return [_not_numbers() if bad else found for bad, found in zip(broken, findings, strict=True)]

    def _averaged(self, outputs: Mapping[str, NDArray[np.float32]], name: str, n_crops: int) -> NDArray[np.float64]:
        output, size = outputs.get(name), self._sizes[name]
        if output is None or output.ndim != 2 or output.shape[1] != size or len(output) % n_crops:
            shape = None if output is None else output.shape
            raise EngineFailed(f"the engine's {name} must have the shape (records × {n_crops}, {size}), not {shape}")
        with np.errstate(invalid="ignore"):  # infinities of both signs, which are found below
            return np.asarray(output.reshape(-1, n_crops, size).mean(axis=1, dtype=np.float64))

    def _broken(self, means: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        finite = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in means.values()])
        pointless = np.linalg.norm(np.nan_to_num(means["embedding"], posinf=0, neginf=0), axis=1) < MIN_NORM
        return np.asarray(~finite | pointless)

    def _findings(self, means: Mapping[str, NDArray[np.float64]]) -> list[Finding]:
        probabilities = _rounded(self._probabilities(means["disease_logits"]), "disease_logits")
        flags = (probabilities >= self._thresholds).tolist()
        phenotypes = _rounded(self._means + self._deviations * means["phenotypes"], "phenotypes").tolist()
        subtypes = _rounded(softmax(means["subtype_logits"], axis=1), "subtype_logits").tolist()
        embeddings = _rounded(_normalised(means["embedding"]), "embedding")
        return [
            Finding(
                risks=self._risks(*row[:2]),
                phenotypes=self._phenotypes(row[2], flagged=any(row[1])),
                subtype=dict(zip(self._subtypes, row[3], strict=True)),
                embedding=row[4],
                logits=row[5],
            )
            for row in zip(
                probabilities.tolist(), flags, phenotypes, subtypes, embeddings, means["disease_logits"], strict=True
            )
        ]

    def _probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = [calibrate(logits[:, i], head.calibration) for i, head in enumerate(self._diseases)]
        return np.stack(columns, axis=1)

    def _risks(self, probabilities: list[float], flags: list[bool]) -> tuple[Risk, ...]:
        return tuple(
            Risk(
                disease=head.name,
                probability=probability,
                threshold=head.threshold,
                flagged=flagged,
                verdict="detected" if flagged else "not_detected",
            )
            for head, probability, flagged in zip(self._diseases, probabilities, flags, strict=True)
        )

    def _phenotypes(self, values: list[float], *, flagged: bool) -> tuple[Phenotype, ...]:
        heads = zip(self._measurements[flagged], self._informative, values, strict=True)
        return tuple(
            [
                Phenotype(name=name, value=value, unit=unit, half_width=half_width, informative=informative)
                for (name, unit, half_width), informative, value in heads
            ]
        )


def calibrate(logits: NDArray[np.float64], calibration: Calibration | None) -> NDArray[np.float64]:
    """Return the probabilities of any logits: in [0, 1]. A higher logit never gives a lower probability."""
    if calibration is None:
        return np.asarray(expit(logits))
    if isinstance(calibration, TemperatureCalibration):
        return np.asarray(expit(logits / calibration.temperature + calibration.bias))
    return np.interp(logits, calibration.logits, calibration.probabilities)


def _normalised(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), MIN_NORM))


def _rounded(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    return np.round(values, DECIMALS[name]) + 0.0  # + 0.0 turns -0.0 into 0.0


def _not_numbers() -> EngineFailed:
    return EngineFailed("the network's output for this record has numbers that are not finite")
