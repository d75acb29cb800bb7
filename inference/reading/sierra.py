"""Philips Sierra XML (`restingecgdata`, versions 1.03 and 1.04): rhythm leads, and representative beats.

The patient's name, number and birth date are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .pacing import paced_in_statements
from .patient import sex_of, years_of
from .recording import Recording
from .sierra_beats import read_beats
from .sierra_waveforms import NAME, read_waveforms
from .xml_content import attribute_of, label_of, number_in, parse_xml, root_of, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TYPES = {"sierraecg", "philipsecg"}
VERSIONS = ("1.03", "1.04")
PATIENT = "patient/generalpatientdata"
PACED = {"yes", "paced", "pacemaker", "true"}
NOT_PACED = {"no", "notpaced", "not paced", "nopacemaker", "no pacemaker", "false"}


def is_sierra(head: bytes) -> bool:
    """Whether a content is a Philips Sierra file, by its first bytes."""
    return root_of(head) == "restingecgdata"


def read_sierra(content: bytes, path: Path) -> Recording:
    """Return what a Philips Sierra file holds.

    Raises:
        UnreadableFile: the content is not whole, or not of this format.
    """
    root = parse_xml(content, path, NAME)
    _check_version(root, path)
    recorded_at, remarks = _recorded_at(root)
    return Recording(
        format_name=NAME,
        parts=(read_waveforms(root, path), *read_beats(root)),
        recorded_at=recorded_at,
        age_years=_age(root),
        sex=sex_of(text_of(root, f"{PATIENT}/sex")),
        paced=_paced(root),
        remarks=remarks,
    )


def _check_version(root: Element, path: Path) -> None:
    kind, version = (label_of(root, f"documentinfo/document{what}") for what in ("type", "version"))
    if kind.lower() in TYPES and version.startswith(VERSIONS):
        return
    said = f"{kind or 'no type'} {version or 'without a version'}"
    known = " and ".join(VERSIONS)
    raise UnreadableFile(f"{path} was taken for {NAME}, but is {said}: this reader knows versions {known}")


def _recorded_at(root: Element) -> tuple[datetime | None, tuple[Remark, ...]]:
    day, time = (attribute_of(root, what, "dataacquisition") for what in ("date", "time"))
    try:
        return datetime.fromisoformat(f"{day}T{time}") if day and time else None, ()
    except ValueError:
        sentence = "the date and time of recording are not written as year-month-day and hour:minute, and were left out"
        return None, (Remark("recorded_at_unreadable", sentence),)


def _age(root: Element) -> float | None:
    """Return the stated age; never the device's default."""
    for unit in ("years", "months", "weeks", "days"):
        age = number_in(text_of(root, f"{PATIENT}/age/{unit}"))
        if age is not None:
            return years_of(age, unit)
    return None


def _paced(root: Element) -> bool | None:
    """Return what the patient's data say, or the interpretation. Detected pulses may be noise, and are not asked."""
    status = text_of(root, f"{PATIENT}/pacestatus").lower()
    return True if status in PACED else False if status in NOT_PACED else paced_in_statements(_statements(root))


def _statements(root: Element) -> Iterator[str]:
    for statement in root.iter("statement"):
        yield text_of(statement, "leftstatement")
    for coded in root.iter("codedstatement"):
        if attribute_of(coded, "deleted").lower() != "true":
            yield text_of(coded, "unparsedstatement/lhsstatement")
