"""Archives for backfills: a few simulated ECGs, written again and again under new ids in MIMIC-IV-ECG's layout."""

import csv

from mimic_archive import steps, write_record

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
