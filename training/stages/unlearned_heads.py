"""Heads that no label trained. Their answers would look like measurements, so these heads answer a constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch  # noqa: TID253 - changes a network
from numpy.typing import NDArray

from inference.manifest import DiseaseHead
from inference.models.heads import CONSTANT_EMBEDDING_BIAS
from inference.models.network import EcgNetwork
from inference.phenotypes import MEASUREMENTS
from inference.released_weights import ABSENT_THRESHOLD
from schemas.messages import DISEASES, EMBEDDING_SIZE
from training.cohort.layout import Cohort


@dataclass(frozen=True, slots=True, eq=False)
class Unlearned:
    """Heads without a label, or with labels of one kind only.

    Attributes:
        diseases: (5,); where no patient had a disease, a network would learn that nobody has it.
        phenotypes: (82,).
        subtype: of a cardiomyopathy.
        embedding: whether no ECG was aligned with a scan.
    """

    diseases: NDArray[np.bool_]
    phenotypes: NDArray[np.bool_]
    subtype: bool
    embedding: bool

    def names(self) -> Iterator[str]:
        """Yield their names for the manifest."""
        yield from (name.replace("_", " ") for name, without in zip(DISEASES, self.diseases, strict=True) if without)
        yield from self._measurements()
        if self.subtype:
            yield "subtype"
        if self.embedding:
            yield "embedding"

    def _measurements(self) -> Iterator[str]:
        """Yield the measurements, or those that are not among them where they are fewer: a manifest has little room."""
        names = np.array([measurement.name for measurement in MEASUREMENTS])
        learned, unlearned = names[~self.phenotypes].tolist(), names[self.phenotypes].tolist()
        if len(learned) >= len(unlearned):
            yield from unlearned
        else:
            yield f"all measurements but {' and '.join(learned)}" if learned else "all measurements"

    def head(self, head: DiseaseHead) -> DiseaseHead:
        """Return the head, or a head that never flags where no label trained it."""
        unlearned = self.diseases[DISEASES.index(head.name)]
        return DiseaseHead(name=head.name, threshold=ABSENT_THRESHOLD) if unlearned else head


def find_unlearned(cohort: Cohort, rows: NDArray[np.intp], *, aligned: bool) -> Unlearned:
    """Return the heads that the labels of the rows cannot have trained."""
    diseases, subtypes = cohort.diseases[rows], cohort.subtypes[rows]
    return Unlearned(
        diseases=~((diseases == 1).any(axis=0) & (diseases == 0).any(axis=0)),
        phenotypes=np.asarray(np.isnan(cohort.phenotypes[rows]).all(axis=0)),
        subtype=len(np.unique(subtypes[subtypes >= 0])) < 2,
        embedding=not aligned,
    )


def silence(network: EcgNetwork, unlearned: Unlearned) -> None:
    """Make these heads answer a constant: logits and z-scores of 0, the same embedding for all."""
    measured = network.phenotypes[-1]
    assert isinstance(measured, torch.nn.Linear)  # noqa: S101 - for the type checker
    layers = (
        (network.disease, unlearned.diseases),
        (measured, unlearned.phenotypes),
        (network.subtype, np.full(network.subtype.out_features, unlearned.subtype)),
        (network.alignment.projection, np.full(EMBEDDING_SIZE, unlearned.embedding)),
    )
    with torch.no_grad():
        for layer, silent in layers:
            layer.weight[torch.from_numpy(silent)] = 0
            layer.bias[torch.from_numpy(silent)] = 0
        if unlearned.embedding:
            network.alignment.projection.bias.fill_(CONSTANT_EMBEDDING_BIAS)
