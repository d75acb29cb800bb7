"""WFDB records, written by hand in any form that header(5) allows."""

import numpy as np

from schemas.ecg_record import LEADS
from training.simulation.ecg import generate_ecgs

STEPS = np.frombuffer(next(generate_ecgs(1, 0)).samples, "<i2").reshape(12, -1)
"""(12, 5000), 5 µV a step, 500 Hz."""
GAIN = "200(0)/mV"


def signal_line(name, lead, fmt="16", gain=GAIN, rest="16 0 0 0 0"):
    return f"{name} {fmt} {gain} {rest} {lead}"


def write_header(path, record_line, lines, comments=(), *, end="\n", encoding="utf-8"):
    """Write a header as it is given, and return its path."""
    text = end.join([record_line, *lines, *(f"# {comment}" for comment in comments), ""])
    path.write_bytes(text.encode(encoding))
    return path


def write_record(folder, name="100", digital=STEPS, leads=LEADS, *, length=None, comments=(), moment="", **fields):
    """Write a record of format 16 at 500 Hz, and return its header's path."""
    length = f" {digital.shape[1]}" if length is None else length
    lines = [signal_line(f"{name}.dat", lead, **fields) for lead in leads]
    (folder / f"{name}.dat").write_bytes(digital.T.astype("<i2").tobytes())
    return write_header(folder / f"{name}.hea", f"{name} {len(leads)} 500{length}{moment}", lines, comments)


def millivolts(record):
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    return np.where(steps == -32768, np.nan, steps * record.microvolts_per_step / 1e3)
