"""`python tests/measure_classic.py`: rate, PR, QRS and QT against the marks of LUDB's cardiologists, and their cost.

Each record of ../shared/data/ecg's LUDB goes the way that it goes in serving: what is paced by the file or by its
spikes has a rate alone. With `--neurokit`, NeuroKit2 measures the same records, by its methods `dwt` and `cwt`: each
lead by itself, of which the middle one counts. It is no dependency of the project: install it apart from the
environment (`pip install --target DIR neurokit2`), and name DIR in PYTHONPATH.
"""

import argparse
import time
import warnings

import numpy as np
from ludb import ludb_records

from inference.ecg_measurements import CHUNK_RECORDS, measure_ecgs
from inference.gate import examine

RATE_HZ = 500
NAMES = ("heart_rate", "pr_interval", "qrs_duration", "qt_interval")
UNITS = ("/min", "ms", "ms", "ms")
LEAD_II = 1
TRIES = 9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurokit", action="store_true", help="measure with NeuroKit2 as well")
    options = parser.parse_args()
    records = ludb_records()
    paced = paced_records(records)
    marks = np.array([[record.marks[name] for name in NAMES] for record in records])
    odd = np.array([record.number % 2 for record in records])
    judged = {"CardiacNets": ours(records, paced)}
    if options.neurokit:
        for method in ("dwt", "cwt"):
            judged[f"NeuroKit2, {method}"] = np.array([neurokit(record.signals, method) for record in records])
    print(f"{len(records)} records, {sum(paced)} of them paced\n")
    for group, chosen in groups(odd, np.array(paced)):
        print_table(group, chosen, judged, marks)
    print_costs(np.stack([record.signals for record in records]), paced)


def groups(odd, paced):
    yield "not paced, odd numbers", (odd == 1) & ~paced
    yield "not paced, even numbers", (odd == 0) & ~paced
    yield "all, paced ones too", np.ones(len(odd), bool)


def paced_records(records):
    verdicts = examine(np.stack([record.signals for record in records]), RATE_HZ)
    return [
        record.paced or any(doubt.code == "pacing_spikes" for doubt in verdict.doubts)
        for record, verdict in zip(records, verdicts, strict=True)
    ]


def ours(records, paced):
    rows = measure_ecgs(np.stack([record.signals for record in records]), RATE_HZ, paced)
    values = [{one.name: np.nan if one.value is None else one.value for one in row} for row in rows]
    return np.array([[row[name] for name in NAMES] for row in values])


def print_table(group, chosen, judged, marks):
    print(f"{group}: {chosen.sum()} records\n")
    print("| | by | marked | median | 90th percentile | bias | not measurable | measured, not marked |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for column, (name, unit) in enumerate(zip(NAMES, UNITS, strict=True)):
        for judge, values in judged.items():
            mark, value = marks[chosen, column], values[chosen, column]
            marked, known = np.isfinite(mark), np.isfinite(value)
            errors = (value - mark)[marked & known]
            middle, wide = np.percentile(np.abs(errors), (50, 90)) if errors.size else (np.nan, np.nan)
            missing = f"{(marked & ~known).sum()} ({(marked & ~known).sum() / marked.sum():.1%})"
            false = f"{(known & ~marked).sum()} of {(~marked).sum()}"
            cells = f"{middle:.1f} {unit} | {wide:.1f} {unit} | {np.median(errors):+.1f} | {missing} | {false}"
            print(f"| {name} | {judge} | {marked.sum()} | {cells} |")
    print()


def neurokit(signals, method):
    """Return rate, PR, QRS and QT by NeuroKit2: the middle of what it measures in the 12 leads."""
    import neurokit2

    missing = [np.nan] * len(NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clean = [neurokit2.ecg_clean(lead, sampling_rate=RATE_HZ) for lead in signals]
            _, found = neurokit2.ecg_peaks(clean[LEAD_II], sampling_rate=RATE_HZ)
            peaks = found["ECG_R_Peaks"]
            leads = [intervals(neurokit2, lead, peaks, method) for lead in clean]
        except Exception as error:  # whatever it cannot do, it did not measure
            print(f"NeuroKit2: {type(error).__name__}: {error}")
            return missing
        return [60 * RATE_HZ / np.mean(np.diff(peaks)), *np.nanmedian(leads, axis=0)]


def intervals(neurokit2, lead, peaks, method):
    """Return PR, QRS and QT of a lead in ms, as medians over its beats."""
    try:
        _, waves = neurokit2.ecg_delineate(lead, peaks, sampling_rate=RATE_HZ, method=method)
    except Exception:  # a lead that it cannot delineate
        return [np.nan] * 3
    p = nearest(waves["ECG_P_Onsets"], peaks, -0.4, 0.0)
    onset = nearest(waves["ECG_R_Onsets"], peaks, -0.2, 0.0)
    end = nearest(waves["ECG_R_Offsets"], peaks, 0.0, 0.2)
    t = nearest(waves["ECG_T_Offsets"], peaks, 0.1, 0.7)
    return [1e3 * np.nanmedian(between) for between in (onset - p, end - onset, t - onset)]


def nearest(places, peaks, first_s, last_s):
    """Return when the nearest of these places within the window about each peak is, in s; NaN where there is none."""
    times = np.array([place for place in places if np.isfinite(place)], float) / RATE_HZ
    found = []
    for peak in peaks / RATE_HZ:
        near = times[(times >= peak + first_s) & (times <= peak + last_s)]
        found.append(near[np.abs(near - peak).argmin()] if near.size else np.nan)
    return np.array(found)


def print_costs(signals, paced):
    batch, known = signals[:CHUNK_RECORDS], paced[:CHUNK_RECORDS]
    whole = quickest(lambda: measure_ecgs(batch, RATE_HZ, known)) / len(batch)
    alone = quickest(lambda: measure_ecgs(batch[:1], RATE_HZ, known[:1]))
    gate = quickest(lambda: examine(batch, RATE_HZ)) / len(batch)
    slow = quickest(lambda: measure_ecgs(batch[..., ::2], RATE_HZ / 2, known)) / len(batch)
    print(f"ms of processor a record, in batches of {len(batch)}: measurements {whole:.3f}, at 250 Hz {slow:.3f},")
    print(f"alone {alone:.3f}; the gate {gate:.3f}")


def quickest(call):
    """Return the least time of the process that the call takes, in ms."""
    call()
    times = []
    for _ in range(TRIES):
        start = time.process_time()
        for _ in range(8):
            call()
        times.append((time.process_time() - start) / 8)
    return 1e3 * min(times)


if __name__ == "__main__":
    main()
