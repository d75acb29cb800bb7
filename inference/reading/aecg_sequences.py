"""A sequence set of an annotated ECG: one sequence of times, and one of samples for each lead."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .hl7_time import point_in_time, seconds_of
from .recording import Channel, Part
from .units import millivolts_per
from .xml_content import attribute_of, in_one_line, number_in, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_SCALE = 1e12
MAX_RELATIVE_S = 1e9
MAX_DIGITS = 1_000_000
"""A sequence of more samples is no ECG at rest: these are half an hour at 500 Hz."""
NULL_FLAVORS = {
    "ni",
    "nav",
    "na",
    "unk",
    "asku",
    "nask",
    "msk",
    "oth",
    "trc",
    "ninf",
    "pinf",
    "nan",
    "null",
    "-",
    "*",
    "?",
}
"""What stands for a sample that is missing: HL7's null flavours, and what programs write for them."""

_LEAD_CODE = re.compile(r"^\w*?_ECG_LEAD_", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Sequences over one time line.

    Attributes:
        part: the leads. Their starts count from the beginning of the set's own times.
        began: when the first sample was taken, as far as the file says.
    """

    part: Part
    began: datetime | None


@dataclass(frozen=True, slots=True)
class TimeLine:
    """The times of a set.

    Attributes:
        rate_hz: None if the set does not say it.
        head: the first time, where it is a point in time.
        head_s: the first time, where it is relative.
    """

    rate_hz: float | None
    head: datetime | None
    head_s: float


def read_sequence_set(element: Element, title: str, began: datetime | None, *, derived: bool) -> SequenceSet:
    """Return the leads of a set.

    Args:
        element: the `sequenceSet`.
        title: for errors.
        began: when the series began, from which relative times count.
        derived: whether the series was derived from another one.
    """
    sequences = element.findall("component/sequence")
    times = [sequence for sequence in sequences if _code(sequence).upper().startswith("TIME_")]
    leads = [sequence for sequence in sequences if not _code(sequence).upper().startswith("TIME_")]
    line = _time_line(times)
    if line.rate_hz is None:
        return SequenceSet(Part(f"{title}, which gives no increment of time that is known", (), derived), None)
    channels = tuple(_channel(lead, line.rate_hz, line.head_s) for lead in leads)
    return SequenceSet(Part(title, channels, derived), line.head or _later(began, line.head_s))


def _time_line(times: list[Element]) -> TimeLine:
    """Return the time line of the sequences of times: a set may have relative times beside absolute ones."""
    rates = [rate for rate in map(_rate, times) if rate]
    heads = [attribute_of(time, "value", "value/head") for time in times]
    units = [attribute_of(time, "unit", "value/head") for time in times]
    points = [point for point in map(point_in_time, heads) if point]
    relative = [seconds_of(head, unit) for head, unit in zip(heads, units, strict=True)]
    seconds = [second for second in relative if second is not None and abs(second) < MAX_RELATIVE_S]
    return TimeLine(rates[0] if rates else None, points[0] if points else None, seconds[0] if seconds else 0.0)


def _rate(time: Element) -> float | None:
    increment = time.find("value/increment")
    step_s = seconds_of(attribute_of(increment, "value"), attribute_of(increment, "unit"))
    if step_s is None or not 1e-9 < step_s < 1e9:
        return None
    rate_hz = 1.0 / step_s
    return float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) < 1e-6 * rate_hz else rate_hz


def _later(began: datetime | None, seconds: float) -> datetime | None:
    try:
        return began + timedelta(seconds=seconds) if began else None
    except OverflowError:
        return None


def _code(sequence: Element) -> str:
    return attribute_of(sequence, "code", "code") or attribute_of(sequence, "displayname", "code")


def _channel(sequence: Element, rate_hz: float, start_s: float) -> Channel:
    name = in_one_line(_LEAD_CODE.sub("", _code(sequence)))
    digits, damage = _digits(text_of(sequence, "value/digits"))
    scale_uv, origin_uv, lack = _scale(sequence)
    if damage or lack or scale_uv is None:
        return Channel(name, digits, rate_hz, start_s, unusable=damage or lack)
    millivolts = (origin_uv + digits * scale_uv) / 1e3
    return Channel(name, millivolts, rate_hz, start_s, step_uv=None if origin_uv else scale_uv)


def _digits(text: str) -> tuple[NDArray[np.float64], str]:
    """Return the digits, NaN where one is missing, and what is damaged about them."""
    words = text.split(maxsplit=MAX_DIGITS)
    if not words:
        return np.empty(0), "without samples"
    if len(words) > MAX_DIGITS:
        return np.empty(0), f"with more than {MAX_DIGITS:,} samples"
    try:
        digits = np.array(list(map(float, words)))
    except ValueError:
        read = [_digit(word) for word in words]
        wrong = next((word for word, digit in zip(words, read, strict=True) if digit is None), "")
        if wrong:
            return np.empty(0), f"with {in_one_line(wrong)!a} among its samples"
        digits = np.array([math.nan if digit is None else digit for digit in read])
    digits[~np.isfinite(digits)] = math.nan
    return digits, ""


def _digit(word: str) -> float | None:
    """Return a digit, NaN for a missing one, or None for what is neither."""
    return math.nan if word.lower() in NULL_FLAVORS else number_in(word)


def _scale(sequence: Element) -> tuple[float | None, float, str]:
    """Return scale and origin in microvolts, and what they lack."""
    scale, unit = (
        number_in(attribute_of(sequence, "value", "value/scale")),
        attribute_of(sequence, "unit", "value/scale"),
    )
    origin = number_in(attribute_of(sequence, "value", "value/origin")) or 0.0
    millivolts = millivolts_per(unit)
    if scale is None or not 0 < abs(scale) < MAX_SCALE:
        return None, 0.0, "without a scale"
    if millivolts is None:
        return None, 0.0, f"in {in_one_line(unit)!a}, which is no unit of voltage" if unit else "without a unit"
    origin_unit = attribute_of(sequence, "unit", "value/origin") or unit
    origin_millivolts = millivolts_per(origin_unit)
    if origin and (origin_millivolts is None or abs(origin) > MAX_SCALE):
        return None, 0.0, f"from an origin in {in_one_line(origin_unit)!a}, which is no unit of voltage"
    return scale * millivolts * 1e3, origin * (origin_millivolts or 0.0) * 1e3, ""
