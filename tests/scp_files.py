"""SCP-ECG files that a test makes: any rhythm, plain or coded, with whatever else the test says."""

import binascii
import struct

import numpy as np

from schemas.ecg_record import LEADS

NUMBERS = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))
SIMULTANEOUS = 0b100


def section(number, body):
    """Return a section with its header and checksum."""
    body += bytes(len(body) % 2)
    head = struct.pack("<HIBB6s", number, 16 + len(body), 20, 20, bytes(6))
    return checked(head + body)


def checked(body):
    return struct.pack("<H", binascii.crc_hqx(body, 0xFFFF)) + body


def scp(sections):
    """Return the bytes of a file of section bodies by their number."""
    written = {number: section(number, body) for number, body in sections.items()}
    place, pointers = 6 + 16 + 10 * 12, b""
    pointers += struct.pack("<HII", 0, 16 + 120, 7)
    for number in range(1, 12):
        length = len(written.get(number, b""))
        pointers += struct.pack("<HII", number, length, place + 1 if length else 0)
        place += length
    content = section(0, pointers) + b"".join(written[number] for number in sorted(written))
    return checked(struct.pack("<I", 6 + len(content)) + content)


def tags(*values):
    """Return section 1."""
    return b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in values) + b"\xff\0\0"


def leads_of(ranges, flags=None, names=LEADS):
    """Return section 3 of leads with the numbers of their first and last samples."""
    flags = SIMULTANEOUS | len(ranges) << 3 & 0xFF if flags is None else flags
    listed = zip(ranges, names, strict=False)
    return bytes([len(ranges), flags]) + b"".join(struct.pack("<IIB", *one, NUMBERS[name]) for one, name in listed)


def rhythm(rows, step_nv=5000, interval_us=4000, differences=0, bimodal=0, code=None):
    """Return section 5 or 6 of rows of integers, as they are or coded."""
    data = [code(row) if code else np.asarray(row, "<i2").tobytes() for row in differenced(rows, differences)]
    sizes = struct.pack(f"<{len(data)}H", *(len(one) & 0xFFFF for one in data))
    return struct.pack("<HHBB", step_nv, interval_us, differences, bimodal) + sizes + b"".join(data)


def differenced(rows, order):
    for row in rows:
        values = np.asarray(row, np.int64)
        yield values if not order else np.concatenate([values[:order], np.diff(values, order)])


def standard_code(values):
    """Write numbers in the Huffman code of the standard."""
    return packed("".join(map(standard_bits, values.tolist())))


def standard_bits(value):
    if abs(value) <= 8:
        return "1" * abs(value) + "0" + ("" if not value else "01"[value < 0])
    if -128 <= value < 128:
        return "1111111110" + f"{value & 0xFF:08b}"
    return "1111111111" + f"{value & 0xFFFF:016b}"


def packed(bits):
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def table_of(*tables):
    """Return a section 2 of tables of (prefix, bits in all, whether it is a value, value)."""
    section = struct.pack("<H", len(tables))
    for table in tables:
        section += struct.pack("<H", len(table))
        for prefix, total, mode, value in table:
            section += struct.pack("<BBBhI", len(prefix), total, mode, value, int(prefix[::-1], 2))
    return section


def plain(rows, ranges=None, **fields):
    """Return a file of one rhythm with all else as usual."""
    options = {
        name: fields.pop(name) for name in list(fields) if name in {"step_nv", "interval_us", "differences", "code"}
    }
    sections = {
        1: tags((25, struct.pack("<HBB", 2026, 1, 1)), (26, bytes([10, 10, 10]))),
        3: leads_of(ranges or [(1, len(row)) for row in rows]),
        6: rhythm(rows, **options),
    }
    if options.get("code") is standard_code:
        sections[2] = struct.pack("<H", 19999)
    return scp(sections | fields.pop("sections", {}))
