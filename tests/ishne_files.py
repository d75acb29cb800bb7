"""Writes ISHNE Holter files, right and wrong ones, for the tests of their reader."""

import binascii
import struct

import numpy as np

SPECS = tuple(range(5, 17))
"""The codes of I, II, III, aVR, aVL, aVF, V1 to V6."""


def ishne(
    steps,
    *,
    rate_hz=500,
    specs=SPECS,
    qualities=None,
    steps_nv=5000,
    sex=2,
    pacemaker=0,
    date=(16, 11, 2020),
    time=(21, 44, 39),
    text=b"",
    announced=None,
    ecg_place=None,
    checksum=True,
    magic=b"ISHNE1.0",
):
    """Return an ISHNE file of integer samples (leads, samples)."""
    count = len(steps)
    block = bytearray(512)

    def put(place, *words):
        struct.pack_into(f"<{len(words)}h", block, place - 10, *words)

    place = 522 + len(text)
    announced = steps.shape[1] if announced is None else announced
    struct.pack_into("<4i", block, 0, len(text), announced, 522, place if ecg_place is None else ecg_place)
    block[18:28] = b"Jane\x00Roe\x00\x00"
    put(26, 1)
    put(128, sex, 0, 2, 5, 1951)
    put(138, *date)
    put(150, *time)
    put(156, count)
    put(158, *specs)
    put(182, *(qualities or [1] * count))
    put(206, *np.broadcast_to(steps_nv, count))
    put(230, pacemaker)
    put(272, rate_hz)
    crc = binascii.crc_hqx(bytes(block) + text, 0xFFFF)
    written = crc if checksum is True else checksum
    return magic + struct.pack("<H", written) + bytes(block) + text + np.ascontiguousarray(steps.T, "<i2").tobytes()
