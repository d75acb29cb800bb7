"""The 12 leads by name: put in the network's order, and the limb leads that are absent derived from I and II."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS
from schemas.errors import UnusableSignal

Signals: TypeAlias = NDArray[np.float32]

HALF = np.float32(0.5)
DERIVATIONS: Mapping[str, Callable[[Signals, Signals], Signals]] = {
    "III": lambda i, ii: ii - i,
    "aVR": lambda i, ii: HALF * (-i - ii),
    "aVL": lambda i, ii: i - HALF * ii,
    "aVF": lambda i, ii: ii - HALF * i,
}
"""Einthoven's law and Goldberger's leads: each limb lead from I and II."""

_DECORATION = re.compile(r"^(mdc_ecg_lead_|mdc_ecg_|ecg lead |lead |ecg )|[\s_.]|(?<=av)-", re.IGNORECASE)
"""What a name may carry; no other hyphen, for -aVR and I-II are leads of their own, upside down."""
_BY_LOWER_NAME = {name.lower(): name for name in LEADS}


def standard_name(name: str) -> str | None:
    """Return the standard name of a lead however it is written (`avr`, `Lead I`, `MDC_ECG_LEAD_V1`), or None."""
    return _BY_LOWER_NAME.get(_DECORATION.sub("", name.strip()).lower())


def arrange_leads(signals: Signals, names: Sequence[str]) -> tuple[Signals, tuple[str, ...]]:
    """Return the standard 12 leads in the order of `LEADS`, and the names of those that were derived.

    Signals that are in order already are returned as they are, not copied.

    Args:
        signals: (records, len(names), samples); leads that are none of the 12 are passed over.
        names: of the leads, in any order and spelling.

    Raises:
        UnusableSignal: `missing_lead` or `duplicate_lead`, with the leads' names.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        known = standard_name(name)
        if known in rows:
            raise UnusableSignal(f"lead {known} comes twice", code="duplicate_lead", leads=known)
        if known is not None:
            rows[known] = row
    derived = tuple(name for name in LEADS if name not in rows and name in DERIVATIONS)
    if missing := [name for name in LEADS if name not in rows and name not in derived]:
        listed = ", ".join(missing)
        raise UnusableSignal(
            f"these leads are missing and cannot be derived: {listed}", code="missing_lead", leads=listed
        )
    if not derived:
        order = [rows[name] for name in LEADS]
        return (signals if order == list(range(len(names))) else signals[:, order]), ()
    i, ii = signals[:, rows["I"]], signals[:, rows["II"]]
    arranged = [signals[:, rows[name]] if name in rows else DERIVATIONS[name](i, ii) for name in LEADS]
    return np.stack(arranged, axis=1), derived
