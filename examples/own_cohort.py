"""A cohort of one's own pairs of ECGs and scans: `python examples/own_cohort.py PAIRS.csv OUT`.

PAIRS.csv has one row an ECG. Its columns: `ecg` (a file that `screen` reads), `patient_id` (a pseudonym), `cine`
(an .npy of 50 frames of one heart cycle, four-chamber view, in any size), and any of `age_years`, `female`, the five
diseases (0 or 1) and the 82 measurements by their names, such as `LVEF`. Leave empty what is not known. Needs
`pip install 'cardiacnets[train]'`.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from inference.reading.read_ecg import read_ecg
from schemas.errors import RecordError
from schemas.messages import DISEASES
from training.cohort.layout import PHENOTYPES, Row, assign_fold
from training.cohort.source_tables import as_kept, as_number
from training.cohort.ukb_cines import fit_cine
from training.cohort.writer import CohortWriter, write_cohort


def write_pairs(table: Path, out: Path) -> None:
    """Write the cohort; an ECG that the gate refuses is left out and counted."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scans = sum(bool(row.get("cine")) for row in rows)
    with write_cohort(out, source="own pairs", rows=len(rows), scans=scans, cines=scans > 0) as writer:
        for row in rows:
            add_pair(writer, row, table.parent)


def add_pair(writer: CohortWriter, row: dict[str, str], folder: Path) -> None:
    """Add one ECG, and its scan where there is one."""
    try:
        record = read_ecg(folder / row["ecg"])
        ecg = as_kept(record)
    except RecordError as refusal:
        writer.skip(refusal.wire_code)
        return
    known = {name: value for name, value in row.items() if value}
    writer.add(
        Row(
            record_id=record.record_id,
            patient_id=row["patient_id"],
            fold=assign_fold(row["patient_id"]),  # all ECGs of a patient lie in one fold
            age_years=as_number(known.get("age_years")),
            female=known["female"] == "1" if "female" in known else None,
            diseases={disease: known[disease] == "1" for disease in DISEASES if disease in known},
            phenotypes=np.array([as_number(known.get(name)) for name in PHENOTYPES]),
            cine=writer.add_scan(fit_cine(np.load(folder / known["cine"]))) if "cine" in known else -1,
        ),
        ecg,
    )


if __name__ == "__main__":
    write_pairs(Path(sys.argv[1]), Path(sys.argv[2]))
