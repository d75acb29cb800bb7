"""`python tests/pacing_table.py`: how many paced ECGs show their spikes to the gate, and how many others seem to."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from needed import ECGS
from paced import pace, simulated
from repairs import real_records
from shares import wilson_interval

from inference.intake import take_in
from inference.pacing import find_spikes
from schemas.messages import Quality

PACED = ("10370003", "251266004", "251268003", "acemaker presence", " pacing")
"""Pacing rhythm, ventricular and atrial pacing in SNOMED CT, and LUDB's words. A wandering pacemaker is none."""
RECORDS = 100


def wilson(found, total):
    """Return a share with its interval of 95 %, as text."""
    if not total:
        return "-"
    low, high = wilson_interval(found, total)
    return f"{found} of {total} ({low:.1%} to {high:.1%})"


def print_simulated():
    """Print the share of simulated ECGs whose spikes are seen, by rate, filter, width and amplitude."""
    amplitudes = (0.1, 0.3, 1, 3, 5)
    print("| Hz | filter, Hz | width, ms | " + " | ".join(f"{one:g} mV" for one in amplitudes) + " |")
    print("|---:|---:|---:|" + "---:|" * len(amplitudes))
    for rate_hz, filters in ((500, (150, 225)), (1000, (150, 250, 450))):
        signals = simulated(RECORDS, 21, rate_hz)
        for filter_hz in filters:
            for width_ms in (0.1, 0.5, 1, 2):
                form = {"width_ms": width_ms, "filter_hz": filter_hz}
                cells = [seen(signals, rate_hz, amplitude_mv=amplitude, **form) for amplitude in amplitudes]
                print(f"| {rate_hz} | {filter_hz} | {width_ms} | " + " | ".join(f"{cell:.0%}" for cell in cells) + " |")
        others = len(list(find_spikes(simulated(RECORDS, 22, rate_hz), rate_hz)))
        print(f"\nnot paced, {rate_hz} Hz: {wilson(others, RECORDS)}\n")


def seen(signals, rate_hz, **form):
    """Return the share of ECGs whose spikes are seen."""
    rng = np.random.default_rng(1)
    return len(list(find_spikes(np.stack([pace(one, rate_hz, rng, **form) for one in signals]), rate_hz))) / len(
        signals
    )


def print_real():
    """Print the same of the real ECGs, by data set and rate."""
    labels = {}
    for path in (ECGS / "labels.csv", ECGS / "more" / "labels.csv"):
        with path.open() as file:
            labels |= {Path(row["file"]).name: row for row in csv.DictReader(file)}
    counts = Counter()
    for record in real_records():
        (quality,), row = take_in([record], 1).outcomes, labels[record.record_id]
        if isinstance(quality, Quality):
            text = f"{row['labels']};{row.get('labels_raw', '')}"
            counts[row["dataset"], record.sample_rate_hz, any(word in text for word in PACED), quality.pacing] += 1
    print("| data set | Hz | paced: seen | others: seen | not assessable |\n|---|---:|---:|---:|---:|")
    for name, rate_hz in sorted({key[:2] for key in counts}):
        cells = [cell(counts, name, rate_hz, paced) for paced in (True, False)]
        unknown = sum(counts[name, rate_hz, paced, "not_assessable"] for paced in (True, False))
        print(f"| {name} | {rate_hz:g} | {cells[0]} | {cells[1]} | {unknown} |")
    for paced in (True, False):
        found, others = (
            sum(n for key, n in counts.items() if key[2:] == (paced, state)) for state in ("seen", "not_seen")
        )
        print(f"\n{'paced' if paced else 'others'}: {wilson(found, found + others)}")


def cell(counts, name, rate_hz, paced):
    """Return how many of a data set are seen as paced."""
    found = counts[name, rate_hz, paced, "seen"]
    return wilson(found, found + counts[name, rate_hz, paced, "not_seen"])


if __name__ == "__main__":
    print_simulated()
    print_real()
