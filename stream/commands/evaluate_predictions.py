"""`cardiacnets evaluate --predictions`: how good a model's answers to an archive are, by the archive's own labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain

from .output import print_json, say
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from inference.bundle import Bundle
    from stream.backfill.dataset import Dataset
    from stream.settings import Settings
    from training.evaluation.archives.evaluation import ArchiveEvaluation


def evaluate_predictions(
    settings: Settings,
    folder: Path,
    labels: Path,
    folds: tuple[str | None, str | None],
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Judge the answers in a folder, print the figures, and write the report if a folder for it is named.

    Args:
        settings: with the bundle that gave the answers.
        folder: of the answers.
        labels: the archive's table of labels.
        folds: which of them, and the column that has them; None for the usual ones.
        report: folder to write.
        as_json: print JSON, and no tables.

    Raises:
        InvalidSettings: a path is wrong, folder and labels do not belong together, or the bundle gave other answers.
        UnreadableCohort: the labels cannot be read.
    """
    from inference.bundle import default_bundle, load_bundle
    from stream.backfill.answers import open_finished

    dataset = open_finished(folder)
    bundle = load_bundle(settings.model.bundle or default_bundle())
    _refuse_other_model(dataset, bundle)
    found = _judge(dataset, bundle, labels, folds)
    _write(found, report, as_json=as_json)


def _refuse_other_model(dataset: Dataset, bundle: Bundle) -> None:
    there, mine = dataset.made.model, bundle.reference
    if (there.name, there.version) != (mine.name, mine.version):
        raise InvalidSettings(
            f"{dataset.folder} holds answers of {there.name} {there.version}, and the bundle is {mine.name} "
            f"{mine.version}: name the bundle that gave them with --bundle"
        )


def _judge(dataset: Dataset, bundle: Bundle, labels: Path, folds: tuple[str | None, str | None]) -> ArchiveEvaluation:
    from stream.backfill.answers import describe, read_answers
    from training.evaluation.archives.evaluation import judge_archive
    from training.evaluation.archives.label_table import read_labels

    with progress_bar() as show:
        show("labels", 0)
        table = read_labels(labels, *folds)
        show("labels", len(table), len(table))
        answers = read_answers(dataset, table, lambda done: show("answers", done, dataset.shards))
        return judge_archive(bundle, describe(dataset), table, answers, report=show)


def _write(found: ArchiveEvaluation, report: Path | None, *, as_json: bool) -> None:
    from training.evaluation.archives.figures_as_json import as_json as answer_of
    from training.evaluation.archives.report import write_archive_report

    from .prediction_tables import print_prediction_tables

    for warning in found.warnings:
        say(warning)
    if report is not None:
        write_archive_report(report, found)
    if as_json:
        print_json(answer_of(found))
        return
    print_prediction_tables(found)
    if report is not None:
        print_plain(f"wrote the report to {report}")
