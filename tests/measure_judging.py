"""How long `cardiacnets evaluate --predictions` takes on an archive of MIMIC-IV-ECG's size, and how much memory.

    python tests/measure_judging.py FOLDER [--ecgs 800035]

It writes labels and answers of invented patients into the folder, about 1 GB, then runs the command.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from judged_archive import Ecg, write_answers
from mimic_archive import LABEL_COLUMNS

from inference.bundle import default_bundle, load_bundle
from schemas.messages import DISEASES
from stream.backfill.columns import Columns
from stream.backfill.dataset import COMPRESSION, PLAN, REFUSED, SCREENED, find

SHARD = 1000
PATIENTS = 161_352
LABELLED = 0.585
CODES = ("I2510", "I429", "I5022", "I270", "I319")
OTHERS = ", 'E785', 'I10', 'Z7901', 'N179', 'J9601', 'E119', 'F329', 'K219', 'D649', 'Z87891', 'R0602', 'Y929'"


def write(folder, count):
    """Write labels and answers: probabilities that are calibrated, one ECG of a hundred refused."""
    rng = np.random.default_rng(0)
    said = rng.beta(0.5, 6, (count, 5)).round(6)
    ill = rng.random((count, 5)) < said
    subjects = 10_000_000 + np.sort(rng.integers(max(1, PATIENTS * count // 800_035), size=count))
    studies = 40_000_000 + rng.permutation(count)
    write_labels(folder / "records_w_diag_icd10.csv", rng, subjects, studies, ill)
    write_shards(folder / "answers", subjects, studies, said, rng.random(count) < 0.01)


def write_labels(path, rng, subjects, studies, ill):
    count = len(studies)
    named = [[code for place, code in enumerate(CODES) if bits >> place & 1] or ["Z0000"] for bits in range(32)]
    combined = np.array([*("['" + "', '".join(codes) + f"'{OTHERS}]" for codes in named), "[]"])
    kind = np.where(rng.random(count) < LABELLED, ill @ (1 << np.arange(5)), 32)
    text = pa.array(combined[kind].tolist())
    folds = (subjects * 7919) % 20
    columns = dict.fromkeys(LABEL_COLUMNS, pa.array([""] * count)) | {
        "file_name": pc.binary_join_element_wise("mimic-iv-ecg/files", pa.array(studies).cast(pa.string()), "/"),
        "study_id": pa.array(studies),
        "subject_id": pa.array(subjects),
        "ecg_time": pa.array(np.datetime64("2180-01-01T00:00:00") + rng.integers(10**8, size=count)).cast(pa.string()),
        "all_diag_hosp": text,
        "all_diag_all": text,
        "gender": pa.array(np.array(["F", "M"])[subjects % 2].tolist()),
        "age": pa.array(20.0 + subjects % 70),
        "ecg_taken_in_ed": pa.array(np.array(["False", "True"])[kind % 2].tolist()),
        "ecg_taken_in_hosp": pa.array(np.array(["True", "False"])[kind % 2].tolist()),
        "fold": pa.array(folds),
        "strat_fold": pa.array(folds),
    }
    pacsv.write_csv(pa.table(columns), path)


def write_shards(folder, subjects, studies, said, refused):
    bundle, count = load_bundle(default_bundle()), len(studies)
    paths = [
        f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"
        for subject, study in zip(subjects, studies, strict=True)
    ]
    one = Ecg(paths[0], {"subject_id": int(subjects[0]), "study_id": int(studies[0])})
    dataset = write_answers(folder, bundle, [one], shard_records=SHARD, done=())
    manifest = (folder / "manifest.json").read_text().replace('"records": 1', f'"records": {count}')
    (folder / "manifest.json").write_text(manifest)
    plan = pa.table({"path": paths, "subject_id": pa.array(subjects), "study_id": pa.array(studies)})
    pq.write_table(plan, folder / PLAN, compression=COMPRESSION, row_group_size=SHARD)
    dataset, columns = find(folder), Columns(bundle.manifest, plan.schema)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(np.linspace(-0.1, 0.1, 256 * SHARD, dtype=np.float32)), 256)
    for number in range(dataset.shards):
        rows = np.arange(number * SHARD, min(count, (number + 1) * SHARD))
        for name, schema, kept in (
            (SCREENED, columns.screened, rows[~refused[rows]]),
            (REFUSED, columns.refused, rows[refused[rows]]),
        ):
            known = plan.take(pa.array(kept))
            mine = {name: known[name] for name in known.column_names} | {
                "record_id": known["study_id"].cast(pa.string()),
                "patient_id": known["subject_id"].cast(pa.string()),
                "code": pa.array(["flat_lead"] * len(kept)),
                "model_version": pa.array([bundle.reference.version] * len(kept)),
                "embedding": embedding.slice(0, len(kept)),
                **{f"probability_{disease}": said[kept, place] for place, disease in enumerate(DISEASES)},
            }
            filled = [mine[field.name] if field.name in mine else pa.nulls(len(kept), field.type) for field in schema]
            pq.write_table(pa.table(filled, schema=schema), dataset.file(name, number), compression=COMPRESSION)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ecgs", type=int, default=800_035)
    parser.add_argument("words", nargs="*", help="more options of the command, after --")
    asked = parser.parse_args()
    if not (asked.folder / "answers").is_dir():
        asked.folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        write(asked.folder, asked.ecgs)
        print(f"written in {time.monotonic() - begin:.0f} s")
    labels, answers = asked.folder / "records_w_diag_icd10.csv", asked.folder / "answers"
    command = [
        sys.executable,
        "-m",
        "stream.cli",
        "evaluate",
        "--predictions",
        answers,
        "--labels",
        labels,
        *asked.words,
    ]
    begin = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    print(
        f"status {status}, {time.monotonic() - begin:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of a core,",
        end=" ",
    )
    print(f"at most {usage.ru_maxrss / 1024:.0f} MiB in memory, labels of {labels.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
