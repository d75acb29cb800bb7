"""Writes MFER files by ISO 22077-1, right and wrong ones, for the tests of their reader."""

import struct

import numpy as np

CODES = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
"""The codes of I, II, III, aVR, aVL, aVF, V1 to V6."""
PREAMBLE = b"\x40\x20MFR Standard 12 leads ECG       "


def tlv(tag, value):
    """Return a definition."""
    length = bytes([len(value)]) if len(value) < 128 else b"\x84" + struct.pack(">I", len(value))
    return bytes([tag]) + length + value


def attributes(number, *definitions, indefinite=False):
    """Return the attributes of a channel."""
    value = b"".join(definitions)
    if indefinite:
        return bytes([0x3F, number]) + b"\x80" + value + b"\x00\x00"
    return bytes([0x3F]) + bytes([number]) + tlv(0, value)[1:]


def scaled(order, unit, exponent, mantissa):
    return struct.pack(order + "Bbh", unit, exponent, mantissa)


def frame(
    steps,
    *,
    order="<",
    codes=CODES,
    blocks=10,
    rate_hz=500,
    interval=None,
    step=(0, -6, 5),
    kind="i2",
    type_code=0,
    null=None,
    offset=None,
    pointer=None,
    waveform=1,
    sequences=None,
    each=lambda number: (),
    indefinite=False,
    more=b"",
):
    """Return a frame of samples (channels, samples) with its definitions."""
    count, samples = steps.shape
    block = samples // blocks
    data_type = order + kind
    parts = [
        tlv(0x01, b"\x01" if order == "<" else b"\x00"),
        tlv(0x08, struct.pack(order + "H", waveform)),
        tlv(0x05, bytes([count])),
        tlv(0x04, struct.pack(order + "I", block)),
        tlv(0x06, struct.pack(order + "I", blocks if sequences is None else sequences)) if sequences != 0 else b"",
        tlv(0x0A, bytes([type_code])),
        tlv(0x0B, scaled(order, 0, 0, rate_hz) if interval is None else interval) if interval != b"" else b"",
        tlv(0x0C, scaled(order, *step)) if step else b"",
        tlv(0x12, np.array(null, data_type).tobytes()) if null is not None else b"",
        tlv(0x0D, np.array(offset, data_type).tobytes()) if offset is not None else b"",
        tlv(0x07, struct.pack(order + "i", pointer)) if pointer is not None else b"",
        more,
    ]
    for number, code in enumerate(codes):
        lead = tlv(0x09, struct.pack(order + "H", code))
        parts.append(attributes(number, lead, *each(number), indefinite=indefinite))
    blocked = steps.reshape(count, blocks, block).swapaxes(0, 1)
    return b"".join(parts) + tlv(0x1E, np.ascontiguousarray(blocked, data_type).tobytes())


def patient(order="<", age=66, days=24200, sex=2, time=(2020, 11, 16, 21, 44, 39)):
    year, *rest = time
    return b"".join(
        [
            tlv(0x01, b"\x01" if order == "<" else b"\x00"),
            tlv(0x81, b"Roe^^Jane"),
            tlv(0x82, b"12345"),
            tlv(0x83, struct.pack(order + "BHHBB", age, days, 1951, 5, 2)),
            tlv(0x84, bytes([sex])),
            tlv(0x85, struct.pack(order + "H", year) + bytes(rest) + struct.pack(order + "HH", 250, 0)),
        ]
    )


def mfer(steps, **options):
    """Return a whole file of one frame."""
    return PREAMBLE + patient(options.get("order", "<")) + frame(steps, **options) + b"\x80\x00"
