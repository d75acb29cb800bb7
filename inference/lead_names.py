"""The names under which files and devices know the 12 leads, as a table.

Names that several leads could bear (`1`, `L1`, `VR`) are not in it, nor are the names of other leads (`V4R`, `-aVR`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from schemas.ecg_record import LEADS

MAX_NAME = 64
"""A longer text is not the name of a lead."""
QUOTED_NAME = 24
LISTED_NAMES = 12

PREFIXES = ("", "lead", "ecg", "ekg", "ecg lead", "ekg lead", "mdc ecg lead", "mdc ecg", "mdc ecg elec potl")
"""What may stand before a lead's own name, with or without a space between."""

SCP_NUMBERS: Mapping[int, str] = MappingProxyType(
    {
        1: "I",
        2: "II",
        61: "III",
        62: "aVR",
        63: "aVL",
        64: "aVF",
        **{number + 2: f"V{number}" for number in range(1, 7)},
    }
)
"""The numbers of the leads in SCP-ECG. IEEE 11073 (MDC) took them over as codes. Alone they are not names."""

_MDC_PARTITION = 2
_MDC_ELECTRIC_POTENTIAL = 256
_SEPARATORS = re.compile(r"[\s_.]+")
_UNIT = re.compile(r" ?[(\[] ?[mun\u03bc]?v ?[)\]]$| [mun\u03bc]v$")
"""A unit of voltage after the name, as spreadsheets have it: `I (mV)`."""


def own_names(lead: str) -> tuple[str, ...]:
    """Return the names that stand for a lead without a prefix, in normal form."""
    name = lead.lower()
    if lead in {"I", "II", "III"}:
        return (name, f"d{name}", f"d {name}", f"d{len(name)}", f"{name} (einthoven)")
    if lead.startswith("aV"):
        side = {"r": "right", "l": "left", "f": "foot"}[name[-1]]
        return (name, f"av {name[-1]}", f"a v{name[-1]}", f"av-{name[-1]}", f"{name}, augmented voltage, {side}")
    return (name, f"v {name[1]}", f"c{name[1]}")


def codes(lead: str) -> tuple[str, ...]:
    """Return the codes of a lead in IEEE 11073 (MDC) and in DICOM's scheme SCPECG, as files write them."""
    number = next(number for number, name in SCP_NUMBERS.items() if name == lead)
    potential = number + _MDC_ELECTRIC_POTENTIAL
    numbers = (f"{(_MDC_PARTITION << 16) + code}" for code in (number, potential))
    return (f"{_MDC_PARTITION}:{number}", f"{_MDC_PARTITION}:{potential}", *numbers, f"5.6.3-9-{number}")


def normal_form(name: str) -> str:
    """Return a name without what does not matter: case, width of letters, kind of separator, a unit in brackets."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return _UNIT.sub("", _SEPARATORS.sub(" ", plain).strip(" \0"))


def listed(names: Sequence[str]) -> str:
    """Return names for an error: quoted, each shortened, and not too many of them."""
    shown = [ascii(name if len(name) <= QUOTED_NAME else f"{name[:QUOTED_NAME]}…") for name in names[:LISTED_NAMES]]
    more = len(names) - LISTED_NAMES
    return ", ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def _names() -> Iterator[tuple[str, str]]:
    for lead in LEADS:
        for own in own_names(lead):
            for prefix in PREFIXES:
                yield f"{prefix}{own}", lead
                yield f"{prefix} {own}".strip(), lead
        for code in codes(lead):
            yield normal_form(code), lead


LEAD_BY_NAME: Mapping[str, str] = MappingProxyType(dict(_names()))
"""The lead of each accepted name in normal form."""
