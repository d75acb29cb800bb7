"""`python tests/measure_swaps.py`: how well exchanged electrodes are found in real ECGs that nothing was learned from.

Every sound record of ../shared/data/ecg, one a patient, is judged as it is and with each exchange of two limb
electrodes, and of chest electrodes, made exactly by exchanging its leads. Three judges: the gate, the rule that it had
before (I and V6 oppose each other), and the public network of ../shared/peers/lead_swap.
"""

import argparse
import csv
import hashlib
import json
import re
import tarfile
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from needed import ECGS
from peer_lead_swap import ANSWERS, PeerNetwork
from shares import wilson_interval

from inference.electrode_exchanges import CHEST_EXCHANGES
from inference.gate import examine
from inference.leads import arrange_leads
from inference.reading.read_ecg import read_ecg
from inference.waveform import MAX_DURATION_S
from schemas.ecg_record import LEADS, MISSING_SAMPLE

LIMB = ("RA-LA", "RA-LL", "LA-LL")
CHEST = ("V1-V2", "V2-V3", "V3-V4", "V4-V5", "V5-V6", "V1-V3", "V2-V4", "V3-V5", "V4-V6", "V1-V6")
MOVES = {
    "": {},
    "RA-LA": {"I": "-I", "II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR"},
    "RA-LL": {"I": "-III", "II": "-II", "III": "-I", "aVR": "aVF", "aVF": "aVR"},
    "LA-LL": {"I": "II", "II": "I", "III": "-III", "aVL": "aVF", "aVF": "aVL"},
    **{name: {name[:2]: name[3:], name[3:]: name[:2]} for name in CHEST_EXCHANGES if name != "none"},
}
"""Which lead is recorded in a lead's place, and with which sign, after each exchange."""
ARCHIVE = ECGS / "more" / "wfdb_code15_short.tar.xz"
UNSOUND = {"einthoven", "lead_order"}
"""Doubts with which a record's own limb leads are not taken for sound."""
CHILD_YEARS = 18
OLD_RULE = -0.5


@dataclass
class Real:
    record: str
    data_set: str
    group: str  # adults, children or paced
    signals: np.ndarray
    rate_hz: float


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write what each judge said of each record to this file")
    parser.add_argument("--only", nargs="*", help="data sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    records = [real for real in read_records() if not options.only or real.data_set in options.only]
    said = {name: [judged(judge, real, exchanges) for real in records] for name, judge, exchanges in judges()}
    show(records, said)
    if options.json:
        rows = [{"record": r.record, "data_set": r.data_set, "group": r.group} for r in records]
        options.json.write_text(json.dumps({"records": rows, "said": said}))


def judges():
    """Yield each judge's name, what it is, and the exchanges that it is asked about."""
    peer = PeerNetwork()
    yield "detector", ours, ("", *LIMB)
    yield "rule before", old_rule, ("", *LIMB)
    yield "public network", lambda x, rate: ANSWERS[int(peer.probabilities(x, rate).argmax())], ("", *LIMB)
    yield "chest", our_chest, ("", *CHEST)


def judged(judge, real, exchanges):
    return {name: judge(exchanged(real.signals, name), real.rate_hz) for name in exchanges}


def ours(signals, rate_hz):
    return doubted(signals, rate_hz, "limb_lead_reversal")


def our_chest(signals, rate_hz):
    return doubted(signals, rate_hz, "chest_lead_reversal")


def doubted(signals, rate_hz, code):
    (verdict,) = examine(signals[None], rate_hz)
    return next((doubt.numbers["exchange"] for doubt in verdict.doubts if doubt.code == code), "")


def old_rule(signals, rate_hz):
    stride = max(1, round(rate_hz / 250))
    i, v6 = (np.diff(signals[LEADS.index(name), ::stride]) for name in ("I", "V6"))
    return "RA-LA" if (i @ v6) / np.sqrt(max((i @ i) * (v6 @ v6), 1e-18)) < OLD_RULE else ""


def exchanged(signals, name):
    """Return the record as it would be if two electrodes had been exchanged."""
    changed = signals.copy()
    for lead, source in MOVES[name].items():
        sign = -1 if source.startswith("-") else 1
        changed[LEADS.index(lead)] = sign * signals[LEADS.index(source.lstrip("-"))]
    return changed


def read_records():
    """Return the sound records, one a patient and none twice."""
    found, known = [], set()
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(unpacked, filter="data")
        for row, path in rows(Path(unpacked)):
            record = read_ecg(path)
            signals = sound_signals(record)
            if signals is None:
                continue
            digest = hashlib.sha256(signals.tobytes()).hexdigest()
            patient = row.get("patient") or row["record"]
            if not {digest, patient} & known:
                found.append(Real(row["record"], row["dataset"], group(row, record), signals, record.sample_rate_hz))
            known |= {digest, patient}
    return found


def rows(unpacked):
    """Yield the lines of both tables with the path of their record."""
    for folder in (ECGS, ECGS / "more"):
        with (folder / "labels.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                if row["file"].startswith("long/"):
                    continue
                paths = [place / f"{row['file']}.hea" for place in (folder, unpacked)]
                yield row, next(path for path in paths if path.exists())


def sound_signals(record):
    """Return (12, samples) in mV of the first 10 s, or None where the gate refuses them or doubts the limb leads.

    A record of 7 s, which is too short to be screened, is judged here too.
    """
    used = round(MAX_DURATION_S * record.sample_rate_hz)
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)[:, :used]
    signals = np.where(steps == MISSING_SAMPLE, np.nan, steps * np.float32(record.microvolts_per_step / 1e3))
    arranged, _ = arrange_leads(signals[None].astype(np.float32), record.leads)
    (verdict,) = examine(arranged, record.sample_rate_hz)
    if verdict.refusal is not None or UNSOUND & {doubt.code for doubt in verdict.doubts}:
        return None
    return np.nan_to_num(arranged[0])


def group(row, record):
    if record.paced or row.get("PACE") == "1":
        return "paced"
    number, unit = re.match(r"([\d.]*) ?(\w*)", row["age"]).groups()
    years = float(number or "nan") / (12 if unit == "mo" else 1)
    return "children" if years < CHILD_YEARS else "adults"


def show(records, said):
    print(f"{len(records)} sound records, one a patient")
    everywhere = np.ones(len(records), bool)
    cuts = {"all": everywhere}
    cuts |= {name: np.array([r.group == name for r in records]) for name in ("adults", "children", "paced")}
    cuts |= {name: np.array([r.data_set == name for r in records]) for name in sorted({r.data_set for r in records})}
    for judge, answers in said.items():
        print(
            f"\n{judge}\n| records | n | false alarms |"
            + "".join(f" {name} found, named |" for name in answers[0] if name)
        )
        for cut, mask in cuts.items():
            if mask.any():
                print(line(cut, [answers[i] for i in np.flatnonzero(mask)]))


def line(cut, answers):
    n = len(answers)
    cells = [share(sum(answer[""] != "" for answer in answers), n)]
    for name in answers[0]:
        if name:
            found = share(sum(answer[name] != "" for answer in answers), n)
            cells.append(f"{found}, {percent(sum(answer[name] == name for answer in answers) / n)}")
    return f"| {cut} | {n} | " + " | ".join(cells) + " |"


def share(hits, n):
    """Return a share with Wilson's interval."""
    low, high = wilson_interval(hits, n)
    return f"{percent(hits / n)} ({percent(low)}-{percent(high)})"


def percent(value):
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
