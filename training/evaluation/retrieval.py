"""Retrieval between the modalities: is the embedding of an ECG nearest to that of the same patient's CMR?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.arrays import Floats
from training.instruments.rounding import rounded

RANKS = (1, 5, 10)
MAX_GALLERY = 4000
"""Patients searched among; the figures depend on it, and a matrix of all pairs must fit into memory."""
BLOCK = 500


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Retrieval in one direction.

    Attributes:
        gallery: number of candidates. Chance finds the right one first in 1 / gallery of the searches.
        median_rank: 1 is best, (gallery + 1) / 2 is chance.
    """

    gallery: int
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float


def retrieve(ecg: NDArray[np.floating], cmr: NDArray[np.floating]) -> dict[str, Retrieval]:
    """Return how well each modality finds the other, by cosine similarity.

    Args:
        ecg, cmr: (n, d), row i of both of the same patient; the first `MAX_GALLERY` are used.
    """
    queries, gallery = (_unit(np.asarray(vectors[:MAX_GALLERY], np.float64)) for vectors in (ecg, cmr))
    return {"ecg_to_cmr": _search(queries, gallery), "cmr_to_ecg": _search(gallery, queries)}


def ranks(queries: Floats, gallery: Floats) -> Floats:
    """Return the rank of each query's partner, from 1. Candidates at the same distance count half."""
    places = []
    for start in range(0, len(queries), BLOCK):
        similarity = queries[start : start + BLOCK] @ gallery.T
        own = similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))][:, None]
        nearer, alike = (similarity > own).sum(axis=1), (similarity == own).sum(axis=1)
        places.append(1 + nearer + (alike - 1) / 2)
    return np.concatenate(places) if places else np.empty(0)


def _search(queries: Floats, gallery: Floats) -> Retrieval:
    places = ranks(queries, gallery)
    one, five, ten = (rounded((places <= rank).mean()) for rank in RANKS)
    return Retrieval(len(gallery), one, five, ten, rounded(np.median(places)))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
