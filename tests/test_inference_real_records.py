"""Every real record of the developers has an answer: it may be screened, or it is refused with a code.

With `pytest -s` it prints the table of codes by data set that stands in docs/benchmarks.md.
"""

import csv
import tarfile
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import chain

import numpy as np
import pytest
from needed import ECGS, needs_real_ecgs
from odd_ecgs import said

from inference.intake import CHUNK_RECORDS, take_in
from inference.reading.read_ecg import read_or_refuse
from schemas.ecg_record import EcgRecord
from schemas.messages import Quality

MORE = ECGS / "more"
ARCHIVE = MORE / "wfdb_code15_short.tar.xz"
RECORDS = 274 + 557
OURS_TO_MEND = {"reader_failed", "read_error", "permission_denied", "missing_file", "missing_header"}
"""Codes that would say that the data, or a reader, is not as it should be."""

pytestmark = needs_real_ecgs


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder of the archive's records."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def listed(table, *folders):
    """Yield the data set and the header of each record of a table, in the first folder that has it."""
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            headers = [folder / f"{row['file']}.hea" for folder in folders]
            yield row["dataset"], next((header for header in headers if header.exists()), headers[0])


def codes_of(path):
    """Return whether a file may be screened, and the codes of its warnings or of its refusal."""
    record = read_or_refuse(path)
    if not isinstance(record, EcgRecord):
        return False, {record.wire_code}
    (outcome,) = take_in([record], 1).outcomes
    if isinstance(outcome, Quality):
        return True, {warning.code for warning in outcome.warnings}
    return False, {outcome.wire_code}


def test_every_real_record_has_an_answer_by_code(unpacked):
    records = [*listed(ECGS / "labels.csv", ECGS), *listed(MORE / "labels.csv", MORE, unpacked)]
    answers = defaultdict(list)
    for dataset, header in records:
        answers[dataset].append(codes_of(header))
    print(table_of(answers))
    assert len(records) >= RECORDS
    assert sum(map(len, answers.values())) == len(records)
    refused = Counter(
        code for of_set in answers.values() for screened, codes in of_set if not screened for code in codes
    )
    assert not OURS_TO_MEND & set(refused)


def test_every_file_of_another_format_has_an_answer_by_code():
    files = sorted([*(ECGS / "formats").iterdir(), *(MORE / "formats").iterdir()])
    answers = {path.name: [codes_of(path)] for path in files}
    print(table_of(answers))
    assert len(answers) == 24
    assert not OURS_TO_MEND & {code for ((_, codes),) in answers.values() for code in codes}


def test_real_records_have_the_same_answers_in_batches_as_alone():
    """Batches of more than a chunk; a third of the records, to save a minute."""
    records = [
        record for record in map(read_or_refuse, sorted(ECGS.glob("*.hea"))[::3]) if isinstance(record, EcgRecord)
    ]
    now = datetime.now(UTC)
    for start in range(0, len(records), CHUNK_RECORDS + 3):
        batch = records[start : start + CHUNK_RECORDS + 3]
        together, alone = take_in(batch, 3, now), [take_in([record], 3, now) for record in batch]
        assert list(map(said, together.outcomes)) == [said(intake.outcomes[0]) for intake in alone]
        assert together.measurements == tuple(chain.from_iterable(intake.measurements for intake in alone))
        np.testing.assert_allclose(together.inputs, np.concatenate([intake.inputs for intake in alone]), atol=1e-5)


def table_of(answers):
    """Return a table in Markdown: how many records of each data set may be screened, and which codes they have."""
    lines = ["| data set | records | screened | refused by code | warned by code |", "|---|---|---|---|---|"]
    for dataset, of_set in sorted(answers.items()):
        refused, warned = (
            Counter(code for screened, codes in of_set if screened is kind for code in codes) for kind in (False, True)
        )
        screened = sum(screened for screened, _ in of_set)
        lines.append(f"| {dataset} | {len(of_set)} | {screened} | {in_words(refused)} | {in_words(warned)} |")
    return "\n".join(["", *lines, ""])


def in_words(counts):
    return ", ".join(f"`{code}` {count}" for code, count in sorted(counts.items()))
