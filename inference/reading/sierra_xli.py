"""XLI, the packing of Philips Sierra: each lead a chunk of LZW codes of differences. `ecgdatakit` has the two steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 8
CODE_BITS = 10
MOST_BYTES_A_SAMPLE = 4
"""A sample takes two bytes, and less when it is packed. A chunk of more bytes a sample, packed or unpacked, is an
attempt to fill the memory: a code of LZW may stand for 768 bytes, and the differences of many samples take gigabytes.
"""


class BrokenXliError(ValueError):
    """A chunk cannot be unpacked. The message goes after "the file was taken for ..., but "."""


def unpacked(payload: bytes, leads: int, samples: int) -> NDArray[np.int64]:
    """Return (leads, samples) as stored.

    Raises:
        BrokenXliError: a chunk is cut short, or holds other than so many samples.
    """
    rows = []
    for number, chunk in enumerate(_chunks(payload, leads, samples), 1):
        row = _decoded(chunk, number, samples)
        if len(row) < samples:
            raise BrokenXliError(f"lead {number} has {len(row)} of {samples} samples")
        rows.append(row[:samples])
    return np.stack(rows)


def _chunks(payload: bytes, leads: int, samples: int) -> list[bytes]:
    """Return a chunk for each lead, header included. Further chunks are no leads."""
    chunks: list[bytes] = []
    place = 0
    for number in range(1, leads + 1):
        size = int.from_bytes(payload[place : place + 4], "little", signed=True)
        end = place + HEADER_BYTES + size
        if size <= 0 or end > len(payload):
            raise BrokenXliError(f"its packed samples end in lead {number} of {leads}")
        if size > MOST_BYTES_A_SAMPLE * samples + HEADER_BYTES:
            raise BrokenXliError(f"lead {number} is packed into {size} bytes, more than its {samples} samples need")
        chunks.append(payload[place:end])
        place = end
    return chunks


def _decoded(chunk: bytes, number: int, samples: int) -> NDArray[np.int64]:
    from ecgdatakit.exceptions import CorruptedFileError
    from ecgdatakit.parsing.codecs.lzw import LzwDecoder
    from ecgdatakit.parsing.codecs.xli import xli_decode_deltas

    try:
        differences = LzwDecoder(chunk[HEADER_BYTES:], bits=CODE_BITS).read_all()
        if len(differences) > MOST_BYTES_A_SAMPLE * samples + HEADER_BYTES:
            size = f"{len(differences)} bytes, more than its {samples} samples need"
            raise BrokenXliError(f"lead {number} unpacks to {size}")
        row = xli_decode_deltas(differences, int.from_bytes(chunk[6:HEADER_BYTES], "little", signed=True))
    except (CorruptedFileError, OverflowError) as error:
        raise BrokenXliError(f"the packed samples of lead {number} are damaged") from error
    return np.asarray(row, np.int64)
