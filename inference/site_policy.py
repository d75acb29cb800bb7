"""What a site asks of an ECG beside what the model asks, and the reasons for which an ECG is not assessable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from schemas.messages import Risk

Reason: TypeAlias = Literal[
    "paced",
    "paediatric",
    "age_out_of_range",
    "age_unknown",
    "leads_exchanged",
    "low_quality",
    "untrained_weights",
]
HEAD_NOT_LEARNED: Final = "head_not_learned"
"""Why an ECG is not assessable for one disease, where it may be for others."""
REASONS: tuple[Reason, ...] = get_args(Reason)
IN_WORDS: dict[str, str] = {
    "paced": "the rhythm is paced",
    "paediatric": "the patient is younger than the model is for",
    "age_out_of_range": "the model is not for this age",
    "age_unknown": "no age is given",
    "leads_exchanged": "leads look exchanged",
    "low_quality": "the signal is doubtful",
    "untrained_weights": "the weights are untrained",
    "head_not_learned": "the model did not learn this disease",
}


def reasons_in_words(reasons: Iterable[str]) -> str:
    """Return the reasons as part of a sentence. A reason of a later version is shown by its code."""
    return ", ".join(IN_WORDS.get(reason, reason.replace("_", " ")) for reason in reasons)


def not_assessable(reasons: Iterable[str]) -> str:
    """Return the sentence that stands in the place of a number."""
    return f"Not assessable: {reasons_in_words(reasons)}."


def excluded_by(risks: Sequence[Risk]) -> tuple[str, ...]:
    """Return why the model is not for an ECG at all: neither for a risk nor for a measurement. Nothing if it is."""
    first = risks[0].reasons if risks else ()
    shared = (reason for reason in first if all(reason in risk.reasons for risk in risks))
    return tuple(reason for reason in shared if reason != HEAD_NOT_LEARNED)


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """What a site asks of an ECG beside what the model asks.

    Attributes:
        min_age_years: counts where it is above the model's.
        max_age_years: counts where it is below the model's.
        age_required: whether an ECG without an age is not assessable.
        screen_anyway: reasons that do not count at this site. Each report says so.
    """

    min_age_years: float | None = None
    max_age_years: float | None = None
    age_required: bool = False
    screen_anyway: frozenset[Reason] = frozenset()


MODEL_ALONE = SitePolicy()
"""A site that asks no more than the model."""
