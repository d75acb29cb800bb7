"""Writes EDF and BDF files, right and wrong ones, for the tests of their reader."""

import numpy as np

from schemas.ecg_record import LEADS


def edf(
    steps,
    *,
    rate_hz=500,
    record_s=1.0,
    starts=None,
    kind="",
    bdf=False,
    labels=LEADS,
    unit="mV",
    physical=(-5.0, 5.0),
    digital=(-1000, 1000),
    records=None,
    duration=None,
    patient="X F 02-MAY-1951 Roe_Jane",
    recording="Startdate 16-NOV-2020 X X X",
    date="16.11.20",
    time="21.44.39",
    annotations=None,
):
    """Return an EDF file of integer samples (signals, samples).

    Args:
        starts: in seconds, of each data record; None: no annotations.
        annotations: the bytes of each data record's annotations, in place of those that `starts` makes.
    """
    size = 3 if bdf else 2
    samples = round(rate_hz * record_s)
    blocks = steps.reshape(len(steps), -1, samples).swapaxes(0, 1)
    if starts is not None:
        annotations = [f"{start:+.6f}\x14\x14\x00".encode() for start in starts]
    names = [*labels, *(["BDF Annotations" if bdf else "EDF Annotations"] if annotations else [])]
    texts = 20 * size
    columns = [
        (16, names),
        (80, [""] * len(names)),
        (8, each(unit, names)),
        *((8, [f"{value:.8g}"[:8] for value in each(end, names)]) for end in (*physical, *digital)),
        (80, ["HP:0.05Hz LP:150Hz"] * len(names)),
        (8, [*([samples] * len(labels)), *([texts // size] if annotations else [])]),
        (32, [""] * len(names)),
    ]
    head = (b"\xffBIOSEMI" if bdf else b"0       ") + f"{patient:80}{recording:80}{date:8}{time:8}".encode("latin-1")
    count = len(blocks) if records is None else records
    head += f"{256 * (len(names) + 1):<8}{kind:44}{count:<8}".encode()
    head += f"{record_s if duration is None else duration:<8}"[:8].encode() + f"{len(names):<4}".encode()
    for width, values in columns:
        head += b"".join(f"{value:<{width}}".encode("latin-1")[:width] for value in values)
    body = b""
    for place, block in enumerate(blocks):
        body += integers(block, size)
        if annotations:
            body += annotations[place].ljust(texts, b"\x00")
    return head + body


def each(value, names):
    return list(value) + [""] * (len(names) - len(value)) if isinstance(value, list) else [value] * len(names)


def integers(values, size):
    """Return little-endian integers of two or three bytes."""
    wide = np.ascontiguousarray(values, "<i4").view(np.uint8).reshape(-1, 4)
    return wide[:, :size].tobytes()
