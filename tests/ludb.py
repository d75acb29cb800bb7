"""LUDB's records with the marks of its cardiologists, which lie lead by lead beside the signals."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from needed import ECGS

from inference.reading.read_ecg import read_ecg
from schemas.ecg_record import LEADS

FEWEST_LEADS = 4
"""A wave that is marked in fewer leads of a beat has no global limits."""


@dataclass
class Marked:
    """A record of LUDB.

    Attributes:
        number: LUDB's.
        signals: (12, 5000) in mV at 500 Hz.
        paced: whether the file says so.
        marks: heart_rate, pr_interval, qrs_duration, qt_interval by the marks; NaN where a wave is not marked.
    """

    number: int
    signals: np.ndarray
    paced: bool
    marks: dict[str, float]


def ludb_records():
    with (ECGS / "labels.csv").open() as file:
        paths = [ECGS / row["file"] for row in csv.DictReader(file) if row["dataset"] == "LUDB"]
    return [marked_record(path) for path in paths]


def marked_record(path):
    ecg = read_ecg(path)
    signals = np.frombuffer(ecg.samples, "<i2").reshape(12, -1) * np.float32(ecg.microvolts_per_step / 1e3)
    return Marked(int(path.stem.lower().removeprefix("ludb")), signals, bool(ecg.paced), marked_intervals(path))


def marked_intervals(path):
    """Return the medians over the beats: the second earliest onset and second latest end over the 12 leads."""
    import wfdb

    annotations = [wfdb.rdann(str(path), lead.lower()) for lead in LEADS]
    leads = [list(delineated_waves(one.symbol, one.sample)) for one in annotations]
    peaks = [peak for kind, _, peak, _ in leads[LEADS.index("II")] if kind == "N"]
    beats = np.array([global_intervals(leads, peak) for peak in peaks])
    pr, qrs, qt = (np.median(known) if (known := column[np.isfinite(column)]).size else np.nan for column in beats.T)
    rate = 60e3 / (2 * np.mean(np.diff(peaks))) if len(peaks) > 1 else np.nan
    return {"heart_rate": rate, "pr_interval": pr, "qrs_duration": qrs, "qt_interval": qt}


def delineated_waves(symbols, samples) -> Iterator[tuple[str, int, int, int]]:
    for before, at, after in zip(range(len(symbols)), range(1, len(symbols)), range(2, len(symbols)), strict=False):
        if symbols[before] == "(" and symbols[after] == ")":
            yield symbols[at], samples[before], samples[at], samples[after]


def global_intervals(leads, peak):
    def limits(kind, earliest, latest):
        near = [[wave for wave in waves if wave[0] == kind and earliest <= wave[2] - peak <= latest] for waves in leads]
        found = [waves[0] for waves in near if waves]
        enough = len(found) >= FEWEST_LEADS
        return np.array([(on, off) for _, on, _, off in found]) if enough else np.full((FEWEST_LEADS, 2), np.nan)

    qrs, p, t = limits("N", -60, 60), limits("p", -200, -20), limits("t", 30, 300)
    onset = np.sort(qrs[:, 0])[1]
    return 2 * np.array([onset - np.sort(p[:, 0])[1], np.sort(qrs[:, 1])[-2] - onset, np.median(t[:, 1]) - onset])
