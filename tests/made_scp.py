"""SCP-ECG files with which the fuzzer begins: plain and coded rhythms, and one of which a beat was subtracted."""

import struct

import numpy as np
from scp_files import leads_of, plain, rhythm, scp, standard_code, table_of, tags


def made():
    """Yield small files."""
    rows = np.cumsum(np.random.default_rng(0).integers(-9, 10, (12, 900)), axis=1)
    for code in (None, standard_code):
        for differences in (0, 1, 2):
            yield plain(rows, interval_us=10_000, code=code, differences=differences)
    beat = struct.pack("<HHH", 500, 20, 1) + struct.pack("<HIII", 0, 190, 200, 220)
    patient = tags((4, struct.pack("<HB", 61, 1)), (8, b"\x02"), (34, struct.pack("<hH", 60, 0)))
    subtracted = leads_of([(1, 900)] * 12, flags=0b101 | 12 << 3 & 0xFF)
    parts = {1: patient, 3: subtracted, 4: beat, 5: rhythm(rows[:, :50], interval_us=10_000)}
    yield scp(parts | {6: rhythm(rows, interval_us=10_000)})
    own = table_of([("0", 1, 1, 1), ("10", 2, 0, 2), ("11", 10, 1, 0)], [("0", 1, 0, 1), ("1", 9, 1, 0)])
    yield plain(rows, interval_us=10_000, code=standard_code, sections={2: own})
