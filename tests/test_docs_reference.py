"""The reference pages say what the code says, and explain every code that it may send."""

import pytest
from prometheus_client import CollectorRegistry

from docs.reference_tables import (
    CINE_FAILURES,
    FILES,
    FOLDER,
    NOT_ASSESSABLE,
    REJECTIONS,
    WARNINGS,
    codes_in_source,
    pages,
)
from engines.batcher import Batcher
from inference.reading.file_note import PART
from inference.site_policy import HEAD_NOT_LEARNED, REASONS
from schemas import errors
from stream.cines import lane, maker, store
from stream.cines.metrics import CineMetrics
from stream.runtime.batcher_metrics import BatcherCollector
from stream.runtime.group import Group
from stream.runtime.group_metrics import GroupCollector
from stream.screening.metrics import Metrics
from stream.settings import Settings
from training.cohort import pairs_table, ukb

AGAIN = "run `make docs` and review the change"


def kinds(error):
    """Return an error and all errors below it."""
    return [error, *(kind for below in error.__subclasses__() for kind in kinds(below))]


@pytest.mark.parametrize("name", pages())
def test_a_committed_page_is_the_one_that_the_code_gives(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], AGAIN


def test_there_is_no_other_page_in_the_folder():
    assert {path.name for path in FOLDER.iterdir()} == set(pages())


def test_every_code_of_a_rejection_is_explained_and_no_other():
    foreseen = {kind.code for kind in (*kinds(errors.RecordError), *kinds(errors.TransientError))}
    redis = {store.RedisUnavailable.code, store.RedisFull.code, store.OversizedCine.code}  # of cines alone
    assert set(REJECTIONS) == codes_in_source(
        "refuse", "UnusableSignal", "UnreadableFile", "OtherContent"
    ) | foreseen - redis - {"error"}


def test_every_code_that_the_errors_file_has_of_its_own_is_explained_and_no_other():
    own = codes_in_source("FileNote", "passed_over", under=("inference", "stream"))
    of_cohorts = codes_in_source("MalformedRecord", under=("training",)) | {
        ukb.DOUBLED_FILE, ukb.DOUBLED_ROW, ukb.NO_ECG, ukb.NOT_IN_TABLE, ukb.UNREADABLE_SCAN,
        pairs_table.FAULTY_ROW, pairs_table.IMPLAUSIBLE, pairs_table.UNKNOWN_COLUMN,
    }  # fmt: skip
    counted_alone = {PART}
    assert set(FILES) == (own | of_cohorts) - set(REJECTIONS) - counted_alone


def test_every_code_of_a_warning_is_explained_and_no_other():
    assert set(WARNINGS) == codes_in_source("doubt", "QualityWarning", "Remark")


def test_every_reason_for_which_an_ecg_is_not_assessable_is_explained_and_no_other():
    assert set(NOT_ASSESSABLE) == {*REASONS, HEAD_NOT_LEARNED}


def test_every_code_of_a_cine_that_failed_is_explained():
    own = {maker.GENERATION_FAILED, lane.MALFORMED_REQUEST, errors.ForeignEmbedding.code}
    redis = {store.RedisUnavailable.code, store.RedisFull.code, store.OversizedCine.code}
    assert own | redis | {errors.Overloaded.code, errors.TransientError.code} == set(CINE_FAILURES)


def test_every_metric_that_a_process_shows_is_on_the_page():
    page = pages()["metrics.md"]
    idle = Batcher(prepare=tuple, run=list, max_batch=1, max_queue=1)
    registry = CollectorRegistry()
    registry.register(BatcherCollector(idle))
    registry.register(GroupCollector(Group(Settings().kafka, "group")))
    for shown in (Metrics().registry, CineMetrics().registry, registry):
        for family in shown.collect():
            assert f"`{family.name}" in page
