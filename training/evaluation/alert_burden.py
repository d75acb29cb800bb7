"""What thresholds mean for a ward: alerts a hundred ECGs, false ones among the healthy, and scans for one patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.manifest import DiseaseHead
from training.arrays import Floats

from .bootstrap import Estimate, bootstrap, estimate
from .wording import full, table

IN_USE = "in use"
POINTS = {
    IN_USE: "at which the bundle flags",
    "family_wise": "family-wise",
    "specificity_95": "95 % specificity each",
    "sensitivity_90": "90 % sensitivity each",
}


@dataclass(frozen=True, slots=True)
class AlertBurden:
    """The alerts of all diseases together, at the prevalence of the data.

    Attributes:
        alerts: flags an ECG.
        alerted: share of the ECGs with at least one flag.
        family_wise: share of the ECGs with at least one flag, of people with none of the diseases.
        found: share of the people with a disease of whom at least one disease is flagged that they have.
        needed_to_image: alerted people for one who has a disease that is flagged.
    """

    alerts: Estimate
    alerted: Estimate
    family_wise: Estimate
    found: Estimate
    needed_to_image: Estimate


def measure_burden(
    probabilities: Floats, outcomes: Floats, heads: Sequence[DiseaseHead], weights: NDArray[np.uint16]
) -> dict[str, AlertBurden]:
    """Return the burden at the thresholds in use, and at each operating point that all diseases have.

    Args:
        probabilities: (n, diseases), in the order of the heads.
        outcomes: (n, diseases) 0, 1, or NaN where it is not known, which counts as no evidence of the disease.
        heads: of the bundle.
        weights: (draws, n) of `draw_patients`.
    """
    named = {IN_USE: [head.threshold for head in heads]}
    for name in (point for point in POINTS if point != IN_USE):
        if all(name in head.fixed_thresholds for head in heads):
            named[name] = [head.fixed_thresholds[name] for head in heads]
    return {
        name: _burden(probabilities >= np.array(thresholds), outcomes == 1, weights)
        for name, thresholds in named.items()
    }


def _burden(flags: NDArray[np.bool_], sick: NDArray[np.bool_], weights: NDArray[np.uint16]) -> AlertBurden:
    alerted, ill, right = flags.any(axis=1), sick.any(axis=1), (flags & sick).any(axis=1)
    counts = np.stack(
        [np.ones(len(flags)), flags.sum(axis=1), alerted, ~ill, alerted & ~ill, ill, right], axis=1
    ).astype(np.float64)
    draws = _shares(bootstrap(lambda drawn: np.asarray(drawn @ counts), weights))
    values = _shares(counts.sum(axis=0, keepdims=True))
    return AlertBurden(**{name: estimate(values[name][0], draws[name]) for name in values})


def _shares(sums: Floats) -> dict[str, Floats]:
    """Return the figures of sums (draws, 7): ECGs, flags, alerted, healthy, alerted healthy, ill, rightly alerted."""
    ecgs, flags, alerted, healthy, alarmed, ill, right = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "alerts": flags / ecgs,
            "alerted": alerted / ecgs,
            "family_wise": alarmed / healthy,
            "found": right / ill,
            "needed_to_image": alerted / right,
        }


def write_burden(burdens: Mapping[str, AlertBurden]) -> Iterator[str]:
    """Yield the table of the burden."""
    rows = [
        (
            POINTS[name],
            *(_in_a_hundred(share) for share in (one.alerts, one.alerted, one.family_wise, one.found)),
            full(one.needed_to_image),
        )
        for name, one in burdens.items()
    ]
    yield from table(
        (
            "thresholds",
            "alerts a 100 ECGs",
            "ECGs with an alert, of 100",
            "alerted, of 100 people with none of the diseases",
            "found, of 100 with a disease",
            "alerted for one found",
        ),
        rows,
    )
    yield ""
    yield "At the prevalence of these data. An alert is a flag of one disease, before repeated ones are held back."


def _in_a_hundred(one: Estimate) -> str:
    value, low, high = (100 * figure for figure in one)
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


PREVALENCES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def write_predictive_values(rates: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Yield the table of PPV and NPV at prevalences that a ward may have.

    Args:
        rates: sensitivity and specificity of each disease, at the thresholds in use.
    """
    rows = [
        (name, *(_values(sensitivity, specificity, share) for share in PREVALENCES))
        for name, (sensitivity, specificity) in rates.items()
    ]
    yield from table(("PPV / NPV, %, at a prevalence of", *(f"{100 * share:g} %" for share in PREVALENCES)), rows)
    yield ""
    yield "Computed from sensitivity and specificity, as if they did not depend on who comes. They do, a little."


def _values(sensitivity: float, specificity: float, prevalence: float) -> str:
    hits, alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    passes, misses = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return f"{_percent(hits, hits + alarms)} / {_percent(passes, passes + misses)}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole > 0 else "-"
