"""DICOM waveforms: the multiplex groups of any waveform object, whatever its class is called."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.leads import standard_name
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .dicom_content import MAX_BESIDE_WAVEFORMS, beside_waveforms, inflated, refuse_crowded
from .dicom_samples import DTYPES, Codes, decoded, missing_in, values_of
from .pacing import paced_in_words
from .patient import plausible_age, sex_of
from .recording import Channel, Part, Recording
from .units import millivolts_per

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

FORMAT_NAME = "DICOM"
WANTED = (
    "SOPClassUID",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "TimezoneOffsetFromUTC",
    "PatientAge",
    "PatientSex",
    "WaveformSequence",
    "WaveformAnnotationSequence",
)
"""The elements that are read. A patient's name, number and birth date are not among them."""
UNREADABLE_VALUE = (ValueError, TypeError, AttributeError, KeyError, OverflowError, NotImplementedError, OSError)
"""What pydicom raises when it converts a value that is none."""
DERIVED_LABEL = re.compile(r"median|average|template|representative", re.IGNORECASE)
NO_SIGNAL = frozenset({"DISCONNECTED", "INVALID", "TEST DATA"})
"""A channel of such a status has no sample of a heart."""
DOUBTFUL = frozenset({"QUESTIONABLE", "UNCALIBRATED", "UNRANGED"})
LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-)0*[1-9]\d*|MDC_ECG_LEAD_\w+")
"""A code that says which lead a channel is, of the 12 or another one: its words and labels are not asked then."""
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
DATE_TIME = re.compile(r"(\d{8})(\d{2})(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?([+-]\d{4})?")
CONCEPTS = ("ConceptNameCodeSequence", "ConceptCodeSequence")
"""What an annotation is about, and what it says of that."""
MAX_CHANNELS = 1024
MAX_LABEL = 64
"""DICOM's own bound of a label's characters."""
LISTED_GROUPS = 3


def read_dicom(content: bytes, path: Path) -> Recording:
    """Return the waveforms of a DICOM content.

    Raises:
        UnreadableFile: it holds no waveform, or is broken.
    """
    from pydicom.config import disable_value_validation

    content = inflated(content, path)
    refuse_crowded(content, path)
    # pydicom would log the values that it finds wrong. In a broken file these may be a patient's name.
    with disable_value_validation(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            recording = _recording(_data_set(content, path), path)
        except (UnreadableFile, MemoryError):
            raise
        except Exception as error:  # pydicom raises nearly anything on a broken file
            sentence = f"{path} was taken for DICOM, but its structure is broken: copy or export the file again"
            raise UnreadableFile(sentence) from error
    return _with_warnings(recording, caught)


def _data_set(content: bytes, path: Path) -> Dataset:
    import pydicom

    if beside_waveforms(content) > MAX_BESIDE_WAVEFORMS:
        head = pydicom.filereader.read_partial(io.BytesIO(content), _after_identification, force=True)
        raise UnreadableFile(_is_no_waveform(_class_of(head), path))
    found = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(WANTED))
    if not _items(found, "WaveformSequence"):
        raise UnreadableFile(_is_no_waveform(_class_of(found), path))
    return found


def _after_identification(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 > 0x0008


def _class_of(found: FileDataset) -> str:
    """Return what kind of object a file says that it is."""
    from pydicom.uid import UID

    uid = UID(_text(found, "SOPClassUID") or _text(found.file_meta, "MediaStorageSOPClassUID"))
    return uid.name if uid.name != uid else "of an unknown class"


def _is_no_waveform(kind: str, path: Path) -> str:
    if "Waveform" in kind:
        most = f"{MAX_BESIDE_WAVEFORMS >> 20} MiB"
        return f"{path} is DICOM ({kind}), but holds no waveform, or more than {most} beside it: export the ECG again"
    return f"{path} is DICOM ({kind}) and no waveform: name the ECG itself, or export it as a waveform"


def _recording(found: Dataset, path: Path) -> Recording:
    groups = [_Group(number, item) for number, item in enumerate(_items(found, "WaveformSequence"), start=1)]
    return Recording(
        FORMAT_NAME,
        _parts(groups, path),
        recorded_at=_recorded_at(found),
        age_years=_age(found),
        sex=sex_of(_text(found, "PatientSex")),
        paced=paced_in_words("\n".join(_statements(found, groups))),
        remarks=tuple(remark for group in groups for remark in group.remarks),
    )


def _parts(groups: Sequence[_Group], path: Path) -> tuple[Part, ...]:
    """Return the channels of each group. A group that cannot be read leaves the others alone, and a remark."""
    parts, refusals = [], []
    for group in groups:
        try:
            parts.append(group.part())
        except _UnreadableGroup as refusal:
            refusals.append(f"{group.title} {refusal}")
            group.remarks.append(Remark("part_unread", refusals[-1]))
    if not parts:
        raise UnreadableFile(f"{path} was read as {FORMAT_NAME}, but its {'; its '.join(refusals[:LISTED_GROUPS])}")
    return tuple(parts)


class _UnreadableGroup(Exception):  # noqa: N818 -- it names the condition, as the others do
    """A multiplex group that cannot be read; says why."""


class _Group:
    """One multiplex group while it is read."""

    def __init__(self, number: int, item: Dataset) -> None:
        self.item = item
        self.label = _label(item, "MultiplexGroupLabel")
        self.title = f"multiplex group {number}" + (f" ({self.label})" if self.label else "")
        self.remarks: list[Remark] = []

    def part(self) -> Part:
        """Return the group's channels.

        Raises:
            _UnreadableGroup: the group contradicts itself.
        """
        codes = self._codes()
        definitions = _items(self.item, "ChannelDefinitionSequence")
        channels = codes.integers.shape[1]
        if len(definitions) != channels:
            raise _UnreadableGroup(f"has {channels} channels and describes {len(definitions)}")
        if codes.missed:
            held = len(codes.integers)
            sentence = f"{self.title} has {held} of the {held + codes.missed} samples that it announces"
            self.remarks.append(Remark("file_length", sentence))
        derived = _text(self.item, "WaveformOriginality") == "DERIVED" or bool(DERIVED_LABEL.search(self.label))
        read = tuple(self._channel(place, one, codes) for place, one in enumerate(definitions))
        return Part(self.title, read, derived)

    def _codes(self) -> Codes:
        channels, samples, bits = (
            round(_number(self.item, name) or 0)
            for name in ("NumberOfWaveformChannels", "NumberOfWaveformSamples", "WaveformBitsAllocated")
        )
        interpretation = _text(self.item, "WaveformSampleInterpretation")
        if not (bits and interpretation):
            raise _UnreadableGroup("does not say how its samples are written: the file may be cut short, copy it again")
        dtype = DTYPES.get((bits, interpretation))
        if dtype is None:
            raise _UnreadableGroup(f"has samples of {bits} bits called {interpretation!r:.8}, as no ECG has")
        if not (1 <= channels <= MAX_CHANNELS and samples >= 0):
            raise _UnreadableGroup(f"has {channels} channels of {samples} samples")
        data, padding = self.item.get("WaveformData") or b"", self.item.get("WaveformPaddingValue")
        return decoded(_in_order(data, self.item, bits), channels, samples, _order(self.item) + dtype, padding)

    def _channel(self, place: int, definition: Dataset, codes: Codes) -> Channel:
        rate_hz = _number(self.item, "SamplingFrequency") or 0.0
        own = codes.integers[:, place]
        name, scale = self._lead_name(place, definition), _Scale(definition)
        missing, kept = missing_in(own, codes.padding, rate_hz)
        self._remark_on(name, definition, codes.padding if kept else None)
        millivolts = (
            values_of(own, round(_number(definition, "WaveformBitsStored") or 0)) * scale.factor + scale.baseline
        )
        if _statuses(definition) & NO_SIGNAL:
            missing = np.ones(len(own), bool)
        millivolts[missing] = np.nan
        step_uv = abs(scale.factor) * 1e3 or None
        return Channel(name, millivolts, rate_hz, self._start_s(definition, rate_hz), step_uv, scale.unusable)

    def _remark_on(self, name: str, definition: Dataset, kept_padding: int | None) -> None:
        if doubts := _statuses(definition) & (DOUBTFUL | NO_SIGNAL):
            status = ", ".join(sorted(doubts)).lower()
            self.remarks.append(Remark("doubtful_lead", f"{self.title} calls its channel {name} {status}"))
        if kept_padding is not None:
            sentence = f"{self.title} calls the value {kept_padding} missing, but the signal takes it: it was kept"
            self.remarks.append(Remark("padding_kept", sentence))

    def _lead_name(self, place: int, definition: Dataset) -> str:
        """Return a channel's name: the lead of its code, before the code's words, before the channel's label."""
        source = next(iter(_items(definition, "ChannelSourceSequence")), None)
        code, meaning = (_label(source, name) for name in ("CodeValue", "CodeMeaning")) if source else ("", "")
        label = _label(definition, "ChannelLabel")
        if LEAD_CODE.fullmatch(code):
            lead = standard_name(code)
            called = next(filter(None, map(standard_name, (meaning, label))), lead)
            if lead and called != lead:
                sentence = (
                    f"channel {place + 1} of {self.title} is coded as {lead} and called {called}: the code was believed"
                )
                self.remarks.append(Remark("lead_called_otherwise", sentence))
            return lead or (meaning if meaning and not standard_name(meaning) else code)
        return next((text for text in (meaning, label) if standard_name(text)), meaning or label or code)

    def _start_s(self, definition: Dataset, rate_hz: float) -> float:
        """Return when a channel began: after its group, which began after the acquisition."""
        group_s = (_number(self.item, "MultiplexGroupTimeOffset") or 0.0) / 1e3
        skew_s = _number(definition, "ChannelTimeSkew")
        if skew_s is None:
            skew_s = (_number(definition, "ChannelSampleSkew") or 0.0) / rate_hz if rate_hz > 0 else 0.0
        return group_s + skew_s + (_number(definition, "ChannelOffset") or 0.0)


class _Scale:
    """How a channel's codes become millivolts: times the factor, plus the baseline; or why they do not."""

    def __init__(self, definition: Dataset) -> None:
        unit = next(iter(_items(definition, "ChannelSensitivityUnitsSequence")), None)
        words = [_label(unit, name) for name in ("CodeValue", "CodeMeaning")] if unit else []
        in_millivolts = next((found for word in words if (found := millivolts_per(word))), None)
        sensitivity = _number(definition, "ChannelSensitivity")
        self.factor, self.baseline, self.unusable = 1.0, 0.0, ""
        if in_millivolts is None:
            self.unusable = f"in {words[0]!r:.32}" if words and words[0] else "without a unit"
        elif not sensitivity:
            self.unusable = "without a sensitivity"
        else:
            correction = _number(definition, "ChannelSensitivityCorrectionFactor")
            self.factor = sensitivity * (1.0 if correction is None else correction) * in_millivolts
            self.baseline = (_number(definition, "ChannelBaseline") or 0.0) * in_millivolts
            self.unusable = "" if self.factor else "without a sensitivity"


def _order(item: Dataset) -> str:
    return ">" if item.original_encoding[1] is False else "<"


def _in_order(data: bytes, item: Dataset, bits: int) -> bytes:
    """Return the data with 8-bit samples in order: big endian exchanges the two samples of a word."""
    if bits != 8 or _order(item) == "<" or item["WaveformData"].VR != "OW":
        return data
    return np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()


def _statuses(definition: Dataset) -> set[str]:
    return set(_text(definition, "ChannelStatus").upper().split("\\"))


def _recorded_at(found: Dataset) -> datetime | None:
    """Return when the acquisition began; without a zone, where the file names none."""
    written = _text(found, "AcquisitionDateTime") or _text(found, "AcquisitionDate") + _text(found, "AcquisitionTime")
    parts = DATE_TIME.match(written)
    if parts is None:
        return None
    day, hour, minute, second, fraction, zone = parts.groups()
    zone = zone or _text(found, "TimezoneOffsetFromUTC")
    text = f"{day}T{hour}{minute}{second or '00'}.{(fraction or '0').ljust(6, '0')}"
    with suppress(ValueError):
        return datetime.fromisoformat(text + (zone if re.fullmatch(r"[+-]\d{4}", zone) else ""))
    return None


def _age(found: Dataset) -> float | None:
    written = re.fullmatch(r"(\d{1,3})([YMWD])", _text(found, "PatientAge"))
    return plausible_age(int(written[1]) * YEARS[written[2]]) if written else None


def _statements(found: Dataset, groups: Sequence[_Group]) -> Iterator[str]:
    """Yield what the annotations say, in words and by codes. An annotation may be a question and its answer."""
    for holder in (found, *(group.item for group in groups)):
        for annotation in _items(holder, "WaveformAnnotationSequence"):
            coded = [item for name in CONCEPTS for item in _items(annotation, name)]
            yield ": ".join(filter(None, (_text(item, "CodeMeaning") for item in coded))).replace("_", " ")
            yield from (_text(item, "CodeValue").replace("_", " ") for item in coded)
            yield _text(annotation, "UnformattedTextValue")


def _items(holder: Dataset, name: str) -> Sequence[Dataset]:
    items = holder.get(name)
    return items if isinstance(items, Sequence) and not isinstance(items, str | bytes) else ()


def _text(holder: Dataset, name: str) -> str:
    try:
        value: Any = holder.get(name)
        return "" if value is None else "\\".join(map(str, value)) if _is_multiple(value) else str(value).strip(" \0")
    except UNREADABLE_VALUE:
        return ""


def _label(holder: Dataset, name: str) -> str:
    """Return a text that may be shown to a person; empty where it is none."""
    text = _text(holder, name)
    return text if len(text) <= MAX_LABEL and text.isprintable() else ""


def _number(holder: Dataset, name: str) -> float | None:
    try:
        value = float(holder.get(name))
    except UNREADABLE_VALUE:
        return None
    return value if math.isfinite(value) else None


def _is_multiple(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _with_warnings(recording: Recording, caught: Sequence[warnings.WarningMessage]) -> Recording:
    messages = dict.fromkeys(
        str(one.message).splitlines()[0] for one in caught if issubclass(one.category, UserWarning)
    )
    doubts = tuple(Remark("library_warning", f"pydicom: {one}") for one in messages)
    return replace(recording, remarks=(*recording.remarks, *doubts))
