"""ISHNE Holter files: a header of fixed places, a block of text, and interleaved samples.

The header's names, birth date and patient's number are not read.
"""

from __future__ import annotations

import binascii
import struct
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .recording import Channel, Part, Recording

MAGIC = b"ISHNE1.0"
ANNOTATIONS_MAGIC = b"ANN  1.0"
HEADER_BYTES = 522
MAX_LEADS = 12
LEAD_FAULT = -32768
"""The value that stands where a lead was at fault: no sample."""
LEADS = {5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF"} | {
    number + 10: f"V{number}" for number in range(1, 7)
}
OTHER_LEADS = {-9: "absent", 0: "unknown", 1: "bipolar", 2: "bipolar X", 3: "bipolar Y", 4: "bipolar Z"}
OTHER_LEADS |= {17: "ES", 18: "AS", 19: "AI"}
DOUBTFUL_QUALITY = {2: "intermittent noise", 3: "frequent noise", 4: "intermittent disconnection"}
DISCONNECTED = 5
"""The code of a lead that was often disconnected."""
SEXES: dict[int, Literal["female", "male"]] = {1: "male", 2: "female"}
PACED = {0: False} | dict.fromkeys(range(1, 6), True)
"""The codes of no pacemaker, of one of unknown type, and of four types."""


class _Lead(NamedTuple):
    """A lead as the header describes it."""

    spec: int
    quality: int
    step_nv: int
    samples: NDArray[np.int16]


def is_ishne(head: bytes) -> bool:
    """Return whether a content begins as an ISHNE file does."""
    return head.startswith((MAGIC, ANNOTATIONS_MAGIC))


def read_ishne(content: bytes, path: Path) -> Recording:
    """Return what an ISHNE file holds.

    Raises:
        UnreadableFile: the file is cut short, or its header says what cannot be.
    """
    taken_for = f"{path} was taken for an ISHNE Holter file, but"
    if content.startswith(ANNOTATIONS_MAGIC):
        raise UnreadableFile(
            f"{path} is an ISHNE file of annotations, without samples: name the file of the ECG itself"
        )
    if len(content) < HEADER_BYTES:
        raise UnreadableFile(f"{taken_for} its header is cut short: copy the file again")
    count, rate_hz = _word(content, 156), _word(content, 272)
    if not 1 <= count <= MAX_LEADS or rate_hz < 1:
        raise UnreadableFile(
            f"{taken_for} its header says {count} leads at {rate_hz} Hz, where 1 to {MAX_LEADS} leads and a rate are "
            "expected: export the file again"
        )
    samples, remarks = _samples(content, count, taken_for)
    specs, qualities, steps_nv = (_words(content, place, count) for place in (158, 182, 206))
    leads = [_Lead(*lead) for lead in zip(specs, qualities, steps_nv, samples, strict=True)]
    return Recording(
        format_name="ISHNE Holter",
        parts=(Part("the leads", tuple(_channel(lead, rate_hz, taken_for) for lead in leads)),),
        recorded_at=_recorded_at(content),
        sex=SEXES.get(_word(content, 128)),
        paced=PACED.get(_word(content, 230)),
        remarks=(*_checksum(content), *remarks, *_on_quality(specs, qualities)),
    )


def _channel(lead: _Lead, rate_hz: int, taken_for: str) -> Channel:
    """Return a lead in mV. One that is none of the 12 is named, and its samples are left alone."""
    name = LEADS.get(lead.spec)
    if name is None:
        return Channel(OTHER_LEADS.get(lead.spec, f"lead of code {lead.spec}"), np.empty(0), float(rate_hz))
    if lead.step_nv < 1:
        raise UnreadableFile(
            f"{taken_for} a step of its lead {name} is {lead.step_nv} nV, so it has no scale: export the file again"
        )
    if lead.quality == DISCONNECTED:
        raise UnreadableFile(
            f"{taken_for} the recorder marked lead {name} as often disconnected: check the electrode and record again"
        )
    millivolts = np.where(lead.samples == LEAD_FAULT, np.nan, lead.samples * (lead.step_nv * 1e-6))
    return Channel(name, millivolts, float(rate_hz), step_uv=lead.step_nv / 1e3)


def _samples(content: bytes, count: int, taken_for: str) -> tuple[NDArray[np.int16], list[Remark]]:
    """Return the samples (leads, samples), and what is wrong with their number."""
    start = _start(content, count)
    whole, rest = divmod(len(content) - start, 2 * count)
    if whole < 1:
        raise UnreadableFile(f"{taken_for} it ends before its samples: copy the file again")
    samples = np.frombuffer(content, "<i2", whole * count, start).reshape(whole, count).T
    announced = struct.unpack_from("<i", content, 14)[0]
    if not rest and announced in {whole, whole * count}:  # writers count the samples of one lead, or of all
        return samples, []
    said = f"the header announces {announced} samples, and the file has {whole} a lead"
    return samples, [Remark("file_length", said + (", the last ones cut short" if rest else ""))]


def _start(content: bytes, count: int) -> int:
    """Return where the samples begin: after the text, unless the header's own place alone fits their number."""
    text_bytes, announced, _, own = (int(number) for number in struct.unpack_from("<4i", content, 10))
    after_text = HEADER_BYTES + max(text_bytes, 0)
    fitting = [
        place
        for place in (after_text, own)
        if place >= HEADER_BYTES and len(content) - place in {2 * announced, 2 * announced * count}
    ]
    return fitting[0] if fitting else after_text


def _checksum(content: bytes) -> list[Remark]:
    """Compare the header with its checksum; 0 means that the writer made none. Its two bytes come in either order."""
    written = content[8:10]
    text_bytes = max(struct.unpack_from("<i", content, 10)[0], 0)
    found = binascii.crc_hqx(content[10 : HEADER_BYTES + text_bytes], 0xFFFF).to_bytes(2, "little")
    if written in {b"\x00\x00", found, found[::-1]}:
        return []
    return [Remark("file_checksum", "the checksum of the header is wrong, so the header may be wrong too")]


def _on_quality(specs: tuple[int, ...], qualities: tuple[int, ...]) -> list[Remark]:
    return [
        Remark("doubtful_lead", f"the recorder marked lead {LEADS[spec]}: {DOUBTFUL_QUALITY[quality]}")
        for spec, quality in zip(specs, qualities, strict=True)
        if spec in LEADS and quality in DOUBTFUL_QUALITY
    ]


def _recorded_at(content: bytes) -> datetime | None:
    (day, month, year), (hour, minute, second) = _words(content, 138, 3), _words(content, 150, 3)
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 -- the file names no zone
    except ValueError:
        return None


def _word(content: bytes, place: int) -> int:
    return _words(content, place, 1)[0]


def _words(content: bytes, place: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}h", content, place)
