"""Archives for backfills: a few simulated ECGs, written again and again under new ids in MIMIC-IV-ECG's layout."""

import csv
from datetime import UTC, datetime

from mimic_archive import steps, write_record

from stream.backfill.dataset import Made, create
from stream.backfill.readme import readme_of

COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
FIRST_STUDY, FIRST_SUBJECT = 40000000, 10000032
FLAT = 7
"""The study with this number has flat leads."""


def write_mimic(root, count, kinds=4):
    """Write an archive of `count` studies, two a subject, with its list. Return the paths of the list."""
    signals = [steps(number) for number in range(kinds)]
    rows = []
    for number in range(count):
        study, subject = FIRST_STUDY + number, FIRST_SUBJECT + number // 2
        place = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        signal = signals[number % kinds] * (number != FLAT)
        write_record(root / place, signal, subject)
        rows.append((subject, study, str(study), f"2180-07-23 08:{number % 60:02}:00", place))
    with (root / "record_list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return [row[-1] for row in rows]


def begin(folder, bundle, plan, **fields):
    """Begin a backfill's folder for these ECGs, as if of MIMIC-IV-ECG's archive."""
    made = {
        "program_version": "0.2.0",
        "created_at": datetime.now(UTC),
        "archive": "mimic-iv-ecg",
        "root": "/archive",
        "list_file": None,
        "path_column": "path",
        "ids": "name",
        "time_zone": None,
        "model": bundle.reference,
        "records": plan.num_rows,
        "schema": "1",
    }
    return create(folder, Made(**(made | fields)), plan, readme_of(bundle.reference))
