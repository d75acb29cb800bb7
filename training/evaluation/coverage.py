"""Whether the intervals of measurements hold what they promise: nine of ten scans, whoever the people are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.manifest import Manifest
from schemas.messages import DISEASES
from training.arrays import Floats
from training.instruments.rounding import rounded

from .predictions import Predictions
from .subgroups import groups_of
from .truth import Truth
from .wording import readable, table

LVEF = "LVEF"


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of scans' values within the intervals of one group of people; NaN where nobody was measured.

    Attributes:
        mean: over the measurements.
        lowest: of the measurement whose interval holds the least, and `least_covered` names it.
        lvef: of the ejection fraction alone.
    """

    records: int
    mean: float
    lowest: float
    least_covered: str
    lvef: float


def measure_coverage(predictions: Predictions, truth: Truth, manifest: Manifest) -> dict[str, Coverage]:
    """Return the coverage by group; nothing where the manifest has no intervals."""
    names = [head.name for head in manifest.phenotypes]
    if any(head.half_width(flagged=False) is None for head in manifest.phenotypes):
        return {}
    thresholds = np.array([head.threshold for head in manifest.diseases])
    flagged = np.asarray((predictions.probabilities >= thresholds).any(axis=1))
    widths = np.array([[head.half_width(flagged=state) for head in manifest.phenotypes] for state in (False, True)])
    within = np.abs(truth.phenotypes - predictions.phenotypes) <= widths[flagged.astype(int)].astype(np.float64)
    covered = np.where(np.isfinite(truth.phenotypes), within, np.nan)
    return {name: _coverage(covered[members], names) for name, members in _groups(truth, flagged) if members.any()}


def write_coverage(found: Mapping[str, Coverage]) -> Iterator[str]:
    """Yield the table of coverage."""
    if not found:
        yield "The bundle gives no intervals."
        return
    rows = [
        (
            name,
            str(one.records),
            _percent(one.mean),
            _percent(one.lvef),
            f"{_percent(one.lowest)} ({one.least_covered})",
        )
        for name, one in found.items()
    ]
    yield from table(("scans within the interval of 90 %", "records", "all measurements", LVEF, "least covered"), rows)
    yield ""
    yield (
        "The intervals promise 90 % over people such as the model learned from, flagged or not. They do not promise it "
        "among those who have a disease: an estimate is drawn towards the mean, and a sick heart is far from it."
    )


def _groups(truth: Truth, flagged: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "everybody", np.ones(len(truth), bool)
    yield "flagged", flagged
    yield "not flagged", ~flagged
    for attribute, group, members in groups_of(truth):
        yield f"{attribute}: {group}", members
    for place, disease in enumerate(DISEASES):
        yield f"has {readable(disease)}", truth.diseases[:, place] == 1


def _coverage(covered: Floats, names: list[str]) -> Coverage:
    counts = np.isfinite(covered).sum(axis=0)
    shares = np.divide(np.nansum(covered, axis=0), counts, out=np.full(len(names), np.nan), where=counts > 0)
    if not counts.any():
        return Coverage(len(covered), float("nan"), float("nan"), "-", float("nan"))
    least = int(np.nanargmin(shares))
    mean, lowest, lvef = np.nanmean(shares), shares[least], shares[names.index(LVEF)]
    return Coverage(len(covered), rounded(mean), rounded(lowest), names[least], rounded(lvef))


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"
