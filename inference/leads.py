"""The 12 leads by name: put in the network's order, and the limb leads that are absent derived from I and II."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS
from schemas.errors import UnusableSignal

from .lead_names import LEAD_BY_NAME, MAX_NAME, listed, normal_form

Signals: TypeAlias = NDArray[np.float32]

HALF = np.float32(0.5)
DERIVATIONS: Mapping[str, Callable[[Signals, Signals], Signals]] = {
    "III": lambda i, ii: ii - i,
    "aVR": lambda i, ii: HALF * (-i - ii),
    "aVL": lambda i, ii: i - HALF * ii,
    "aVF": lambda i, ii: ii - HALF * i,
}
"""Einthoven's law and Goldberger's leads: each limb lead from I and II."""


def standard_name(name: str) -> str | None:
    """Return the standard name of a lead however it is written (`avr`, `DI`, `MDC_ECG_LEAD_V1`, `C1`), or None."""
    return _lead_named(name) if len(name) <= MAX_NAME else None


@lru_cache(maxsize=4096)
def _lead_named(name: str) -> str | None:
    return LEAD_BY_NAME.get(normal_form(name))


def arrange_leads(signals: Signals, names: Sequence[str]) -> tuple[Signals, tuple[str, ...]]:
    """Return the standard 12 leads in the order of `LEADS`, and the names of those that were derived.

    Signals that are in order already are returned as they are, not copied.

    Args:
        signals: (records, len(names), samples); leads that are none of the 12 are passed over.
        names: of the leads, in any order and spelling.

    Raises:
        UnusableSignal: `missing_lead` or `duplicate_lead`, with the leads' names.
    """
    rows = _rows(names)
    derived = tuple(name for name in LEADS if name not in rows and name in DERIVATIONS)
    if missing := [name for name in LEADS if name not in rows and name not in derived]:
        raise _missing(missing, [name for name in names if standard_name(name) is None])
    if not derived:
        order = [rows[name] for name in LEADS]
        return (signals if order == list(range(len(names))) else signals[:, order]), ()
    i, ii = signals[:, rows["I"]], signals[:, rows["II"]]
    arranged = [signals[:, rows[name]] if name in rows else DERIVATIONS[name](i, ii) for name in LEADS]
    return np.stack(arranged, axis=1), derived


def _rows(names: Sequence[str]) -> dict[str, int]:
    """Return the row of each of the 12 leads that is there."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        known = standard_name(name)
        if known in rows:
            twice = listed([names[rows[known]], name])
            raise UnusableSignal(f"lead {known} comes twice: as {twice}", code="duplicate_lead", leads=known)
        if known is not None:
            rows[known] = row
    return rows


def _missing(missing: Sequence[str], unknown: Sequence[str]) -> UnusableSignal:
    leads = ", ".join(missing)
    sentence = f"these leads are missing and cannot be derived: {leads}"
    if not unknown:
        return UnusableSignal(sentence, code="missing_lead", leads=leads)
    others = listed(unknown)
    sentence += f". These names are not of the 12 leads: {others}"
    return UnusableSignal(sentence, code="missing_lead", leads=leads, not_recognised=others)
