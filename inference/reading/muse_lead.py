"""One lead of a MUSE waveform: its samples, its scale, and what stands against taking them."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .recording import Channel
from .units import millivolts_per
from .xml_content import label_of, number_in, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DEFAULT_BYTES = 2
SAMPLE_BYTES = {1, 2, 4}
MAX_SCALE = 1e9


@dataclass(frozen=True, slots=True)
class MuseLead:
    """A lead as it was read.

    Attributes:
        fits_checksum: whether the samples have the file's checksum, or the file gives none.
    """

    channel: Channel
    fits_checksum: bool = True


def read_lead(lead: Element, rate_hz: float, start_s: float, unusable: str) -> MuseLead:
    """Return a lead. Where its samples cannot be taken as voltages, its channel says why.

    Args:
        lead: the `LeadData` element.
        rate_hz: of the waveform.
        start_s: of the waveform.
        unusable: why no lead of the waveform can be taken; empty if they can.
    """
    name = label_of(lead, "leadid")
    start_s += (number_in(text_of(lead, "leadtimeoffset")) or 0.0) / 1e3
    start_s += (number_in(text_of(lead, "leadoffsetfirstsample")) or 0.0) / rate_hz
    payload, damage = _payload(lead)
    counts = np.frombuffer(payload, f"<i{_sample_bytes(lead)}").astype(np.float64)
    scale, lack = _millivolts_per_count(lead)
    reason = unusable or damage or lack
    if reason or scale is None:
        return MuseLead(Channel(name, counts, rate_hz, start_s, unusable=reason))
    channel = Channel(name, counts * scale, rate_hz, start_s, step_uv=scale * 1e3)
    return MuseLead(channel, _fits_checksum(lead, payload))


def _sample_bytes(lead: Element) -> int:
    size = number_in(text_of(lead, "leadsamplesize"))
    return int(size) if size in SAMPLE_BYTES else DEFAULT_BYTES


def _payload(lead: Element) -> tuple[bytes, str]:
    """Return the bytes of the samples, and what is damaged about them; nothing if they are no samples."""
    size = label_of(lead, "leadsamplesize")
    if size and number_in(size) not in SAMPLE_BYTES:
        return b"", f"in samples of {size!a} bytes each, which this reader does not know"
    try:
        payload = base64.b64decode("".join(text_of(lead, "waveformdata").split()), validate=True)
    except (binascii.Error, ValueError):
        return b"", "with damaged Base64"
    if not payload:
        return b"", "without samples"
    if len(payload) % _sample_bytes(lead):
        return b"", f"with {len(payload)} bytes, which are not samples of {_sample_bytes(lead)} bytes each"
    return payload, _contradiction(lead, len(payload))


def _contradiction(lead: Element, n_bytes: int) -> str:
    """Return what the file says of the length of the samples that is not so."""
    samples = n_bytes // _sample_bytes(lead)
    for said, is_so, noun in (("leadsamplecounttotal", samples, "samples"), ("leadbytecounttotal", n_bytes, "bytes")):
        count = number_in(text_of(lead, said))
        if count is not None and count != is_so:
            return f"with {is_so} {noun}, where the file says {count:.0f}"
    return ""


def _fits_checksum(lead: Element, payload: bytes) -> bool:
    checksum = text_of(lead, "leaddatacrc32")
    return not (checksum.isdecimal() and len(checksum) <= 10) or zlib.crc32(payload) == int(checksum)


def _millivolts_per_count(lead: Element) -> tuple[float | None, str]:
    """Return the scale, and what it lacks."""
    per_bit, unit = number_in(text_of(lead, "leadamplitudeunitsperbit")), label_of(lead, "leadamplitudeunits")
    if per_bit is None or not 0 < per_bit < MAX_SCALE:
        return None, "without LeadAmplitudeUnitsPerBit"
    millivolts = millivolts_per(unit)
    if millivolts is None:
        return (
            None,
            f"in {unit!a}, which is no unit of voltage" if unit else "without LeadAmplitudeUnits",
        )
    return per_bit * millivolts, ""
