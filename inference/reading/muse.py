"""GE MUSE XML (`RestingECG`): each waveform is a part, each lead a channel of Base64 little-endian integers.

MUSE gives times in milliseconds, but for `LeadOffsetFirstSample`, which counts samples. The patient's name, number and
birth date are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from inference.lead_names import listed
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .left_out import left_out
from .muse_lead import MuseLead, read_lead
from .pacing import paced_in_statements
from .patient import sex_of, years_of
from .recording import Part, Recording
from .xml_content import label_of, number_in, parse_xml, root_of, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME = "GE MUSE XML"
MAX_WAVEFORMS = 64
RECORDED, MEDIAN = {"rhythm", ""}, "median"
DATE_FORMATS = ("%m-%d-%Y", "%m/%d/%Y", "%Y-%m-%d", "%Y%m%d", "%d-%b-%Y")
"""MUSE writes American dates. Other programs that write its format write the others, none of which is ambiguous."""
TIME_FORMATS = ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
MARKS = {
    "leadoff": Remark("doubtful_lead", "the device marked an electrode as off"),
    "baselinesway": Remark("doubtful_lead", "the device marked a swaying baseline"),
    "excessiveacnoise": Remark("doubtful_lead", "the device marked noise of the mains"),
    "musclenoise": Remark("doubtful_lead", "the device marked noise of muscles"),
}
"""What the device may mark a lead with, and the remark to which the names of the leads are added."""

LINE_END, DELETED = "ENDSLINE", "DELETED"
"""Flags of a statement's fragments."""


def is_muse(head: bytes) -> bool:
    """Whether a content is GE MUSE XML, by its first bytes."""
    return root_of(head) == "restingecg"


def read_muse(content: bytes, path: Path) -> Recording:
    """Return what a MUSE file holds.

    Raises:
        UnreadableFile: the content is not whole, or not of this format.
    """
    root = parse_xml(content, path, NAME)
    waveforms = root.findall("waveform")
    if not waveforms:
        raise UnreadableFile(f"{path} was taken for {NAME}, but has no Waveform element: export the ECG with waveforms")
    if len(waveforms) > MAX_WAVEFORMS:
        raise UnreadableFile(f"{path} was taken for {NAME}, but has more than {MAX_WAVEFORMS} waveforms: not an ECG")
    recorded_at, remarks = _recorded_at(root)
    read = [_read_waveform(waveform, number) for number, waveform in enumerate(waveforms, 1)]
    parts = tuple(part for part, _ in read)
    doubts = (remark for _, doubted in read for remark in doubted)
    return Recording(
        format_name=NAME,
        parts=parts,
        recorded_at=recorded_at,
        age_years=_age(root),
        sex=sex_of(text_of(root, "patientdemographics/gender")),
        paced=paced_in_statements(_statements(root)),
        remarks=(*remarks, *left_out(parts), *_marks(waveforms), *doubts),
    )


def _read_waveform(waveform: Element, number: int) -> tuple[Part, tuple[Remark, ...]]:
    kind = label_of(waveform, "waveformtype")
    title = f"waveform {number} ({kind or 'Rhythm'})"
    rate_hz = _rate(waveform)
    if rate_hz is None:
        return Part(f"{title}, which gives no sample rate", ()), ()
    unusable = "" if kind.lower() in {*RECORDED, MEDIAN} else f"in a waveform of type {kind}, which is not an ECG"
    if "multiplex" in text_of(waveform, "sampletype").lower():
        unusable = "in multiplexed samples, which this reader does not know"
    start_s = (number_in(text_of(waveform, "waveformstarttime")) or 0.0) / 1e3
    leads = [read_lead(lead, rate_hz, start_s, unusable) for lead in waveform.findall("leaddata")]
    is_median = kind.lower() == MEDIAN
    part = Part(title, tuple(lead.channel for lead in leads), derived=is_median)
    return part, () if is_median else tuple(_doubts(leads, title))


def _doubts(leads: list[MuseLead], title: str) -> Iterator[Remark]:
    if damaged := ", ".join(lead.channel.name for lead in leads if not lead.fits_checksum):
        yield Remark("file_checksum", f"{title}: the checksum does not fit the samples of {damaged}")


def _rate(waveform: Element) -> float | None:
    base, exponent = (number_in(text_of(waveform, name)) for name in ("samplebase", "sampleexponent"))
    if base is None or abs(exponent or 0.0) > 12:
        return None
    rate_hz = base * 10.0 ** (exponent or 0.0)
    return rate_hz if 0 < rate_hz < 1e9 else None


def _marks(waveforms: list[Element]) -> Iterator[Remark]:
    """Yield a remark for each kind of mark that the device set in recorded waveforms, with the leads."""
    recorded = [waveform for waveform in waveforms if text_of(waveform, "waveformtype").lower() in RECORDED]
    leads = [lead for waveform in recorded for lead in waveform.findall("leaddata")]
    for tag, mark in MARKS.items():
        marked = [label_of(lead, "leadid") for lead in leads if text_of(lead, tag).lower() in {"true", "1", "yes"}]
        if marked:
            yield Remark(mark.code, f"{mark.detail}: {listed(list(dict.fromkeys(marked)))}")
    if any(number_in(text_of(lead, "firstsamplebaseline")) for lead in leads):
        yield Remark("offset_not_applied", "FirstSampleBaseline is not 0 and was not applied: its meaning is not known")


def _recorded_at(root: Element) -> tuple[datetime | None, tuple[Remark, ...]]:
    day, time = (text_of(root, f"testdemographics/acquisition{what}") for what in ("date", "time"))
    moment = _moment(day, time)
    if moment is None and (day or time):
        sentence = "the date and time of recording are not written as month-day-year and hour:minute, and were left out"
        return None, (Remark("recorded_at_unreadable", sentence),)
    return moment, ()


def _moment(day: str, time: str) -> datetime | None:
    on = _day(day)
    for layout in TIME_FORMATS if on else ():
        try:
            at = datetime.strptime(time, layout).time()  # noqa: DTZ007 -- MUSE names no zone
        except ValueError:
            continue
        return datetime.combine(on, at) if on else None
    return None


def _day(text: str) -> date | None:
    for layout in DATE_FORMATS:
        try:
            return datetime.strptime(text, layout).date()  # noqa: DTZ007 -- MUSE names no zone
        except ValueError:
            continue
    return None


def _age(root: Element) -> float | None:
    age = number_in(text_of(root, "patientdemographics/patientage"))
    return years_of(age, text_of(root, "patientdemographics/ageunits"))


def _statements(root: Element) -> Iterator[str]:
    """Yield the statements that stand: of the diagnosis that was read over last, without those that were deleted.

    A statement goes on until a fragment with the flag ENDSLINE.
    """
    diagnosis = root.find("diagnosis")
    if diagnosis is None:
        diagnosis = root.find("originaldiagnosis")
    fragments = [] if diagnosis is None else diagnosis.findall("diagnosisstatement")
    flags = [" ".join(text_of(flag) for flag in fragment.findall("stmtflag")).upper() for fragment in fragments]
    has_ends = any(LINE_END in flag for flag in flags)
    line: list[str] = []
    for fragment, flag in zip(fragments, flags, strict=True):
        line += [] if DELETED in flag else [text_of(fragment, "stmttext")]
        if LINE_END in flag or not has_ends:
            yield " ".join(line)
            line = []
    yield " ".join(line)
