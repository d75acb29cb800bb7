"""HL7 annotated ECG (aECG): each sequence set of each series is a part, with its own time line and scales.

The subject's name, number and birth date are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import UnreadableFile

from .aecg_sequences import SequenceSet, read_sequence_set
from .hl7_time import on_one_clock, point_in_time
from .left_out import left_out
from .pacing import paced_in_statements
from .patient import sex_of, years_of
from .recording import Part, Recording
from .xml_content import attribute_of, in_one_line, number_in, parse_xml, root_of, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME = "HL7 aECG"
MAX_SETS = 256
BEATS = "REPRESENTATIVE_BEAT"
AGE_CODES = {"21612-7", "30525-0"}
"""LOINC: age as reported, and age."""
PACED_BEAT = "MDC_ECG_BEAT_PACED"
PERSON = "componentof/timepointevent/componentof/subjectassignment/subject/trialsubject/subjectdemographicperson"
NO_COMMON_TIME = "at a time that the file does not state"


@dataclass(frozen=True, slots=True)
class Series:
    """A series of sequence sets.

    Attributes:
        derived: whether it was computed, as representative beats are.
        began: when, as the series says.
    """

    title: str
    element: Element
    derived: bool
    began: datetime | None


def is_aecg(head: bytes) -> bool:
    """Whether a content is an annotated ECG, by its first bytes."""
    return root_of(head) == "annotatedecg"


def read_aecg(content: bytes, path: Path) -> Recording:
    """Return what an annotated ECG holds.

    Raises:
        UnreadableFile: the content is not whole, or not of this format.
    """
    root = parse_xml(content, path, NAME)
    sets = list(_sequence_sets(root, path))
    if not sets:
        raise UnreadableFile(f"{path} was taken for {NAME}, but has no sequences of samples: export it with waveforms")
    parts, began = _on_one_time_line(sets)
    recorded_at = began or _effective_time(root, "center") or _effective_time(root, "low")
    return Recording(
        format_name=NAME,
        parts=parts,
        recorded_at=recorded_at,
        age_years=_age(root),
        sex=sex_of(attribute_of(root, "code", f"{PERSON}/administrativegendercode")),
        paced=_paced(root),
        remarks=left_out(parts),
    )


def _sequence_sets(root: Element, path: Path) -> Iterator[SequenceSet]:
    """Yield the sequence sets of all series, and of the series that were derived from them."""
    number = 0
    for series in _all_series(root):
        for place, element in enumerate(series.element.findall("component/sequenceset"), 1):
            if (number := number + 1) > MAX_SETS:
                raise UnreadableFile(f"{path} was taken for {NAME}, but has more than {MAX_SETS} sets of sequences")
            yield read_sequence_set(element, f"{series.title}, set {place}", series.began, derived=series.derived)


def _all_series(root: Element) -> Iterator[Series]:
    begun = _effective_time(root, "low")
    for number, element in enumerate(root.findall("component/series"), 1):
        code = in_one_line(attribute_of(element, "code", "code"))
        began = _effective_time(element, "low") or begun
        yield Series(f"series {number} ({code or 'no code'})", element, code.upper() == BEATS, began)
        for derived in element.findall("derivation/derivedseries"):
            kind = in_one_line(attribute_of(derived, "code", "code"))
            title = f"derived series of series {number} ({kind or 'no code'})"
            yield Series(title, derived, derived=True, began=None)


def _effective_time(element: Element, bound: str) -> datetime | None:
    written = attribute_of(element, "value", f"effectivetime/{bound}")
    return point_in_time(written or attribute_of(element, "value", "effectivetime"))


def _on_one_time_line(sets: list[SequenceSet]) -> tuple[tuple[Part, ...], datetime | None]:
    """Return the parts, with starts that count from one time, and that time, if the file says it."""
    timed = [one for one in sets if one.began and not one.part.derived]
    moments = on_one_clock([one.began for one in timed if one.began])
    if not moments:
        return tuple(one.part for one in sets), None
    first = min(moments)
    late_s = {id(one): (moment - first).total_seconds() for one, moment in zip(timed, moments, strict=True)}
    return tuple(_placed(one, late_s.get(id(one))) for one in sets), first


def _placed(one: SequenceSet, late_s: float | None) -> Part:
    if one.part.derived:
        return one.part
    if late_s is None:
        channels = tuple(replace(channel, unusable=channel.unusable or NO_COMMON_TIME) for channel in one.part.channels)
    else:
        channels = tuple(replace(channel, start_s=late_s) for channel in one.part.channels)
    return replace(one.part, channels=channels)


def _age(root: Element) -> float | None:
    for observation in root.findall("controlvariable/relatedobservation"):
        if attribute_of(observation, "code", "code") in AGE_CODES:
            years = number_in(attribute_of(observation, "value", "value"))
            if years is not None:
                return years_of(years, attribute_of(observation, "unit", "value"))
    return None


def _paced(root: Element) -> bool | None:
    """Return what the demographics say, or the beats, or the interpretation."""
    said = text_of(root, f"{PERSON}/paced").lower()
    if said in {"true", "false"}:
        return said == "true"
    if any(attribute_of(value, "code").upper().startswith(PACED_BEAT) for value in root.iter("value")):
        return True
    return paced_in_statements(_statements(root))


def _statements(root: Element) -> Iterator[str]:
    for annotation in root.iter("annotation"):
        if "INTERPRETATION" in attribute_of(annotation, "code", "code").upper():
            value = annotation.find("value")
            yield text_of(value) or attribute_of(value, "displayname") or attribute_of(value, "code")
