"""The detector of exchanged electrodes as a verified folder: its weights, its thresholds, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import CorruptBundle

from .electrode_exchanges import CHEST_EXCHANGES, LIMB_EXCHANGES, Matrices
from .lead_swaps import Scorer, Suspicion, shapes_of
from .manifest import WEIGHTS, FileName, Finite, ModelManifest, Sha256
from .typical_beat import CHEST_LEADS, LIMB_LEADS, SEEN, SPANS, Signals, typical_beats
from .verified_folder import FolderKind

LIMB, CHEST = "limb", "chest"
KINDS: dict[str, tuple[Mapping[str, Matrices], slice]] = {
    LIMB: (LIMB_EXCHANGES, LIMB_LEADS),
    CHEST: (CHEST_EXCHANGES, CHEST_LEADS),
}
"""The exchanges of either kind of electrodes, and the leads that they move."""
MOVED_ROUND_LOG_ODDS = -3.0
"""Before looking, three electrodes that have moved round are so much less likely than two that were exchanged."""
PARTS = ("first", "bias", "second", "second_bias", "last")


class SwapManifest(ModelManifest, frozen=True, kw_only=True):
    """The whole of a detector's `manifest.json`. The thresholds are differences of two scores."""

    limb_threshold: Finite
    chest_threshold: Finite
    files: dict[FileName, Sha256]


def contradictions(manifest: SwapManifest) -> Iterator[str]:
    """Yield a sentence for each claim that this program cannot meet."""
    if WEIGHTS not in manifest.files:
        yield f"it does not list {WEIGHTS}"


SWAP_DETECTORS = FolderKind(
    manifest=SwapManifest, files=(WEIGHTS,), contradictions=contradictions, name="detector of exchanged electrodes"
)


@dataclass(frozen=True, slots=True)
class SwapDetector:
    """The scorers of limb and of chest electrodes."""

    limb: Scorer
    chest: Scorer

    def doubts(self, signals: Signals, rate_hz: float) -> list[tuple[Suspicion | None, Suspicion | None]]:
        """Return for each record the exchange of limb electrodes and that of chest electrodes that are to be doubted.

        Args:
            signals: (records, 12, samples) finite, in the order of `schemas.ecg_record.LEADS`.
            rate_hz: of the signals.
        """
        shapes = shapes_of(typical_beats(signals, rate_hz))
        return list(zip(self.limb.doubts(shapes), self.chest.doubts(shapes), strict=True))


@cache
def default_swap_detector() -> SwapDetector:
    """Return the detector that is shipped with the package."""
    return load_swap_detector(default_folder())


def default_folder() -> Path:
    """Return the folder of the detector that is shipped with the package."""
    return Path(str(files("inference") / "swap_detectors" / "reference"))


def load_swap_detector(folder: Path) -> SwapDetector:
    """Return the detector in a folder. Every file is verified against the manifest.

    Raises:
        CorruptBundle: a file is missing, altered or not listed, or the weights are none of a detector.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    manifest = SWAP_DETECTORS.read(folder)
    path = folder / WEIGHTS
    try:
        tensors = load(SWAP_DETECTORS.read_file(path, manifest.files[WEIGHTS]))
    except SafetensorError as error:
        raise CorruptBundle(f"{path} cannot be read: {error}") from error
    return SwapDetector(
        limb=make_scorer(LIMB, tensors, manifest.limb_threshold, path),
        chest=make_scorer(CHEST, tensors, manifest.chest_threshold, path),
    )


def make_scorer(kind: str, tensors: Mapping[str, NDArray[np.floating]], threshold: float, path: Path) -> Scorer:
    """Return the scorer of a kind of electrodes from the tensors of a detector's file.

    Raises:
        CorruptBundle: they are not those of a detector.
    """
    exchanges, moved = KINDS[kind]
    parts = {name: np.asarray(tensors.get(f"{kind}.{name}", ()), np.float32) for name in PARTS}
    hidden, more = parts["bias"].size, parts["second_bias"].size
    expected = {
        "first": (len(SEEN), SPANS, hidden),
        "bias": (hidden,),
        "second": (hidden, more),
        "second_bias": (more,),
        "last": (more,),
    }
    found = {name: values.shape for name, values in parts.items()}
    if not hidden or not more or found != expected or not all(np.isfinite(values).all() for values in parts.values()):
        raise CorruptBundle(f"{path} must hold finite tensors of a detector, and {kind} has the shapes {found}")
    odds = np.array([MOVED_ROUND_LOG_ODDS * (name.count("-") > 1) for name in exchanges], np.float32)
    return Scorer(exchanges=exchanges, moved=moved, log_odds=odds, threshold=threshold, **parts)
