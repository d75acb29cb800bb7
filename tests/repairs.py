"""`python tests/repairs.py`: how much the answers change when the intake repairs a record.

Each record is screened as it is, and with samples taken out that the intake bridges; shortened; with fewer leads. The
tables say how far the five probabilities move and how many records have another flag. Real ECGs come from
../shared/data, where it is there; simulated ones are always used.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from needed import ECGS

from inference.bundle import default_bundle, load_bundle
from inference.open_engine_for_bundle import open_float32_engine
from inference.reading.find_ecgs import find_ecgs
from inference.reading.read_ecg import read_or_refuse
from inference.screen_files import screen_sources
from inference.screener import Screener, Screening
from schemas.ecg_record import LEADS, MISSING_SAMPLE, EcgRecord
from training.simulation.ecg import generate_ecgs

SEED = 16
SHARE = 0.02
"""Of a lead's samples in the rows of many gaps: what the gate allows at most."""
LENGTHS_MS = (4, 20, 50, 100, 200)
BEFORE_QRS_S = 0.02
APART_S = 0.35
"""Two QRS complexes are at least this far apart."""
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Answers:
    """The probabilities (records, 5) and flags of each record; NaN where it was refused."""

    probabilities: np.ndarray
    flags: np.ndarray


def main():
    """Measure and print, as a table of Markdown."""
    options = read_options()
    with contextlib.closing(open_float32_engine(load_bundle(default_bundle()))) as engine:
        screener = Screener(load_bundle(default_bundle()), engine)
        for name, records in cohorts(options):
            measure(name, screener, records[: options.records], options)


def read_options():
    """Return the sizes of what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, help="at most so many of each cohort")
    parser.add_argument("--lengths-ms", type=int, nargs="+", default=LENGTHS_MS)
    parser.add_argument("--only", choices=["simulated", "real"])
    parser.add_argument("--gaps-only", action="store_true")
    return parser.parse_args()


def cohorts(options):
    """Yield the simulated and the real ECGs."""
    if options.only != "real":
        yield "simulated", list(generate_ecgs(200, seed=SEED))
    if options.only != "simulated" and ECGS.is_dir():
        yield "real", real_records()


def real_records():
    """Return every real WFDB record that can be read, those of the archive too, in an order that mixes the sets."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(ECGS / "more" / "wfdb_code15_short.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        found = map(read_or_refuse, find_ecgs([ECGS / "wfdb", ECGS / "more" / "wfdb", Path(folder)]))
        records = [record for record in found if isinstance(record, EcgRecord)]
    return [records[place] for place in np.random.default_rng(SEED).permutation(len(records))]


def measure(name, screener, records, options):
    """Print the table of one cohort."""
    whole = answers(screener, records)
    screened = [record for record, row in zip(records, whole.probabilities, strict=True) if not np.isnan(row).any()]
    whole = Answers(*(part[~np.isnan(whole.probabilities).any(axis=1)] for part in (whole.probabilities, whole.flags)))
    print(f"\n{name}: {len(screened)} of {len(records)} records are screened as they are\n")
    print("| change | screened | median | 95 % | 99 % | largest | another flag |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for label, change in changes(options):
        rng = np.random.default_rng(SEED)
        pairs = [(place, changed) for place, record in enumerate(screened) if (changed := change(record, rng))]
        if pairs:
            print(row(label, whole, [place for place, _ in pairs], answers(screener, [twin for _, twin in pairs])))


def row(label, whole, places, twin):
    """Return a line of the table."""
    there = ~np.isnan(twin.probabilities).any(axis=1)
    moved = np.abs(twin.probabilities - whole.probabilities[places])[there]
    other = (twin.flags != whole.flags[places])[there].any(axis=1)
    if not there.any():
        return f"| {label} | 0 of {len(there)} | | | | | |"
    quantiles = " | ".join(f"{value:.4f}" for value in np.quantile(moved, (0.5, 0.95, 0.99, 1)))
    return f"| {label} | {there.sum()} of {len(there)} | {quantiles} | {other.sum()} ({other.mean():.1%}) |"


def answers(screener, records):
    """Return the answers to the records, in order."""
    found = [numbers(answer) for _, answer in screen_sources(screener, records, lambda record: record)]
    return Answers(*map(np.array, zip(*found, strict=True)))


def numbers(answer):
    """Return the probabilities and the flags of one answer."""
    if not isinstance(answer, Screening):
        return [np.nan] * 5, [False] * 5
    return tuple(
        zip(*((risk.probability, risk.flagged) for risk in answer.finding.risks), strict=True)
    )  # two rows of five


def changes(options):
    """Yield the name of each change, and a function that makes it; the function returns None where it makes none."""
    for leads, at, many in itertools.product(("one lead", "all leads"), ("anywhere", "at QRS"), (False, True)):
        for length_ms in options.lengths_ms:
            if not many or length_ms < 1e3 * SHARE * 10:
                number = "gaps, 2 % in all" if many else "gap"
                yield f"{length_ms} ms {number}, {leads}, {at}", gaps(length_ms, leads, at, many)
    if not options.gaps_only:
        yield from ((f"the first {seconds:g} s in place of 10 s", first(seconds)) for seconds in (9, 9.5))
        yield "the last 10 s in place of the first", last_ten_seconds
        yield "derived leads: eight in place of twelve", eight_leads


def gaps(length_ms, leads, at, many):
    """Return the function that takes samples out of a record."""

    def change(record, rng):
        rate, steps = record.sample_rate_hz, steps_of(record).copy()
        used = min(steps.shape[1], round(10 * rate))
        length = max(1, round(length_ms / 1e3 * rate))
        number = max(1, int(SHARE * used / length)) if many else 1
        rows = slice(None) if leads == "all leads" else rng.integers(len(steps))
        possible = qrs_places(steps[:, :used], rate) if at == "at QRS" else np.arange(0, used - length)
        starts = rng.choice(possible, min(number, len(possible)), replace=False)
        for start in np.maximum(starts - (length // 2 if at == "at QRS" else 0), 0).tolist():
            steps[rows, start : start + length] = MISSING_SAMPLE
        return with_steps(record, steps)

    return change


def qrs_places(steps, rate):
    """Return the steepest place of each QRS complex: the largest changes of all leads, no two close together."""
    known = np.where(steps == MISSING_SAMPLE, 0, steps).astype(np.float32)
    steep = np.abs(np.diff(known, axis=1)).sum(axis=0)
    width = max(1, round(BEFORE_QRS_S * 2 * rate))
    steep = np.convolve(steep, np.ones(width) / width, "same")
    places, floor = [], 0.5 * np.quantile(steep, 0.99)
    for place in np.argsort(steep)[::-1].tolist():
        if steep[place] < floor:
            break
        if all(abs(place - other) > APART_S * rate for other in places):
            places.append(place)
    return np.array(places)


def first(seconds):
    """Return the function that keeps the first seconds, of a record of ten seconds or more."""

    def change(record, _):
        steps = steps_of(record)
        long = steps.shape[1] >= 10 * record.sample_rate_hz
        return with_steps(record, steps[:, : round(seconds * record.sample_rate_hz)]) if long else None

    return change


def last_ten_seconds(record, _):
    """Return the end of a record of at least twelve seconds."""
    steps, used = steps_of(record), round(10 * record.sample_rate_hz)
    return with_steps(record, steps[:, -used:]) if steps.shape[1] >= 1.2 * used else None


def eight_leads(record, _):
    """Return the record without the leads that can be derived."""
    rows = [record.leads.index(name) for name in EIGHT]
    whole = set(record.leads) >= set(LEADS)
    return msgspec.structs.replace(with_steps(record, steps_of(record)[rows]), leads=EIGHT) if whole else None


def steps_of(record):
    """Return the samples, (leads, samples) int16."""
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def with_steps(record, steps):
    """Return the record with other samples."""
    return msgspec.structs.replace(record, samples=np.ascontiguousarray(steps, "<i2").tobytes())


if __name__ == "__main__":
    main()
