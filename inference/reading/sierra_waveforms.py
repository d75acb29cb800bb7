"""The rhythm leads of a Philips Sierra file: 16-bit counts as Base64, as plain text, or packed by XLI."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS
from schemas.errors import UnreadableFile

from .recording import Channel, Part
from .sierra_xli import BrokenXliError, unpacked
from .xml_content import attribute_of, in_one_line, number_in, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAME = "Philips Sierra XML"
SIGNAL = "dataacquisition/signalcharacteristics"
LEAD_SETS = {"std-12", "10-wire"}
"""Sets of leads that come in the standard order, where the file does not name each one."""
LIMB_LEADS = LEADS[:6]
MAX_LEADS = 32
MAX_SAMPLES = 65_536
"""A lead of more samples is no ECG at rest: these are two minutes at 500 Hz."""
NO, UNPACKED = {"false", "no", "f", "0"}, {"", "uncompressed", "none"}


def read_waveforms(root: Element, path: Path) -> Part:
    """Return the rhythm leads.

    Raises:
        UnreadableFile: there are none, or they are damaged.
    """
    waveform = next(root.iter("parsedwaveforms"), None)
    if waveform is None:
        _refuse(path, "has no parsedwaveforms element")
    rate_hz = _number(root, waveform, "samplespersecond", "samplingrate")
    length_ms = number_in(attribute_of(waveform, "durationperchannel"))
    if not rate_hz or not length_ms or not 0 < rate_hz * length_ms / 1e3 <= MAX_SAMPLES or rate_hz > 1e6:
        _refuse(path, "does not say how many samples a lead has, or says that they are more than an ECG at rest has")
    names, samples = _names(root, waveform, path), round(length_ms * rate_hz / 1e3)
    counts = _counts(root, waveform, len(names), samples, path)
    if _packing(waveform) and tuple(names[: len(LIMB_LEADS)]) == LIMB_LEADS:
        counts = _limb_leads_rebuilt(counts)
    zero = _number(root, waveform, "signaloffset", "signaloffset") or 0.0
    step_uv = _number(root, waveform, "resolution", "resolution") or _number(root, waveform, "", "signalresolution")
    channels = [_channel(name, row, rate_hz, zero, step_uv) for name, row in zip(names, counts, strict=True)]
    return Part("parsed waveforms", tuple(channels))


def _refuse(path: Path, found: str) -> NoReturn:
    raise UnreadableFile(f"{path} was taken for {NAME}, but {found}: export the ECG again")


def _channel(name: str, counts: NDArray[np.int64], rate_hz: float, zero: float, step_uv: float | None) -> Channel:
    if step_uv is None or not 0 < step_uv < 1e9:
        return Channel(name, counts.astype(np.float64), rate_hz, unusable="without a resolution")
    whole = zero == round(zero)
    return Channel(name, (counts - zero) * (step_uv / 1e3), rate_hz, step_uv=step_uv if whole else None)


def _number(root: Element, waveform: Element, attribute: str, name: str) -> float | None:
    """Return a number that stands with the waveform, or else with the signal's characteristics."""
    number = number_in(attribute_of(waveform, attribute))
    return number if number is not None else number_in(text_of(root, f"{SIGNAL}/{name}"))


def _names(root: Element, waveform: Element, path: Path) -> list[str]:
    names = [in_one_line(name) for name in attribute_of(waveform, "leadlabels").split()[: MAX_LEADS + 1]]
    stated = number_in(attribute_of(waveform, "numberofleads")) if names else None
    count = stated or len(names) or _number(root, waveform, "", "numberchannelsallocated")
    count = count or _number(root, waveform, "", "numberchannelsvalid")
    if not count or not 1 <= count <= MAX_LEADS:
        _refuse(path, f"does not say which leads it has, or has more than {MAX_LEADS}")
    if not names:
        lead_set = text_of(root, f"{SIGNAL}/acquisitiontype") or text_of(root, f"{SIGNAL}/leadset")
        names = list(LEADS) if lead_set.lower() in LEAD_SETS else []
    return [*names, *(f"channel {place + 1}" for place in range(len(names), int(count)))][: int(count)]


def _packing(waveform: Element) -> str:
    method = attribute_of(waveform, "compression") or attribute_of(waveform, "compressmethod")
    packed = attribute_of(waveform, "compressflag").lower() not in NO and method.lower() not in UNPACKED
    return in_one_line(method) if packed else ""


def _counts(root: Element, waveform: Element, leads: int, samples: int, path: Path) -> NDArray[np.int64]:
    """Return (leads, samples) as stored."""
    encoding, packing, text = attribute_of(waveform, "dataencoding"), _packing(waveform), text_of(waveform)
    bits = _number(root, waveform, "bitspersample", "bitspersample")
    if bits not in {None, 16.0}:
        _refuse(path, f"has samples of {bits:g} bits, and this reader knows 16")
    if encoding == "Plain" and not packing:
        return _in_rows(_plain_counts(text, leads * samples, path), leads, samples, path)
    if encoding != "Base64" or packing.upper() not in {"", "XLI"}:
        _refuse(
            path, f"stores samples as {in_one_line(encoding)!a} packed by {packing or 'nothing'}, which is not known"
        )
    try:
        payload = base64.b64decode("".join(text.split()), validate=True)
        if packing:
            return unpacked(payload, leads, samples)
    except (binascii.Error, ValueError) as error:
        _refuse(path, str(error) if isinstance(error, BrokenXliError) else "its Base64 is damaged")
    signed = (attribute_of(waveform, "signalsigned") or text_of(root, f"{SIGNAL}/signalsigned")).lower() not in NO
    counts = np.frombuffer(payload[: len(payload) // 2 * 2], "<i2" if signed else "<u2")
    return _in_rows(counts.astype(np.int64), leads, samples, path)


def _plain_counts(text: str, most: int, path: Path) -> NDArray[np.int64]:
    try:
        counts = np.array([int(word) for word in text.split(maxsplit=most)[:most]], dtype=np.int64)
    except (ValueError, OverflowError):
        _refuse(path, "has samples that are no whole numbers")
    if np.abs(counts).max(initial=0) > 2**31:
        _refuse(path, "has samples that no device writes")
    return counts


def _in_rows(counts: NDArray[np.int64], leads: int, samples: int, path: Path) -> NDArray[np.int64]:
    if len(counts) < leads * samples:
        _refuse(path, f"holds {len(counts)} samples, where {leads} leads of {samples} samples are announced")
    return counts[: leads * samples].reshape(leads, samples)


def _limb_leads_rebuilt(packed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the leads. Of III and the augmented leads XLI stores only how they differ from what I and II give."""
    counts = packed.copy()
    i, ii = packed[0], packed[1]
    iii = ii - i - packed[2]
    counts[2] = iii
    counts[3] = -packed[3] - (i + ii) // 2
    counts[4] = (i - iii) // 2 - packed[4]
    counts[5] = (ii + iii) // 2 - packed[5]
    return counts
