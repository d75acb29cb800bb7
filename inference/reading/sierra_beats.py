"""The representative beats of a Philips Sierra file: computed, and so only named in errors."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .recording import Channel, Part
from .xml_content import attribute_of, number_in, text_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BEATS = 32


def read_beats(root: Element) -> tuple[Part, ...]:
    """Return the beats as a derived part; nothing if there are none that can be read."""
    beats = next(root.iter("repbeats"), None)
    rate_hz = number_in(attribute_of(beats, "samplespersec") or attribute_of(beats, "samplespersecond"))
    step_uv = number_in(attribute_of(beats, "resolution"))
    if beats is None or attribute_of(beats, "dataencoding") != "Base64" or attribute_of(beats, "compression"):
        return ()
    if not rate_hz or not step_uv or not 0 < rate_hz < 1e6 or not 0 < step_uv < 1e9:
        return ()
    channels = tuple(_channel(beat, rate_hz, step_uv) for beat in beats.findall("repbeat")[:MAX_BEATS])
    return (Part("representative beats", channels, derived=True),) if channels else ()


def _channel(beat: Element, rate_hz: float, step_uv: float) -> Channel:
    counts = _counts(text_of(beat, "waveform") or text_of(beat))
    return Channel(attribute_of(beat, "leadname")[:64], counts * (step_uv / 1e3), rate_hz, step_uv=step_uv)


def _counts(text: str) -> NDArray[np.float64]:
    try:
        payload = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return np.empty(0)
    return np.frombuffer(payload[: len(payload) // 2 * 2], "<i2").astype(np.float64)
