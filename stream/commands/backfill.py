"""`cardiacnets backfill`: an archive of ECGs into a table of Parquet files, without Kafka, going on where it ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain

from .backfill_progress import show_progress
from .file_options import TimeZone, print_first_notes, print_totals, zone_named
from .optional_packages import need_modules
from .options import BundleFolder, EngineName, Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from inference.file_account import FileAccount
    from stream.backfill.dataset import Dataset, Summary
    from stream.backfill.on_ray import Cluster
    from stream.backfill.work import Work
    from stream.settings import ModelSettings, Settings

RECORDS_A_BATCH = 16
CLAIM_S = 60.0


def backfill_command(
    root: Annotated[
        str,
        typer.Argument(help="Archive: files of any formats, MIMIC-IV-ECG, PTB-XL; a folder, or s3://, gs://, …"),
    ],
    out: Annotated[str, typer.Option(help="Folder of the tables. A folder that was begun is gone on with.")],
    list_file: Annotated[
        str | None, typer.Option("--list", help="Table of the ECGs, CSV or Parquet; its columns become columns.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(help="Column of --list that has the paths below ROOT. `path` by default.")
    ] = None,
    ids: Annotated[
        Literal["name", "path"] | None,
        typer.Option(help="Record ids: a file's name without its ending (MIMIC-IV-ECG, PTB-XL) or its path (others)."),
    ] = None,
    time_zone: TimeZone = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. One for each two cores by default, of this machine or the cluster."),
    ] = None,
    shard_records: Annotated[
        int | None, typer.Option(min=1, help="ECGs of a shard, and so of a file. 1000 by default.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster that screens: auto, local, HOST:PORT or ray://HOST:PORT."),
    ] = None,
    ray_gpus: Annotated[
        float | None,
        typer.Option(min=0.0, help="GPUs of each process on the cluster. By default one if the engine runs on GPUs."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the shards that hold the first so many ECGs.")] = None,
    shards: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only each N-th shard, from the I-th: for machines side by side.")
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Do shards again in which an ECG was refused with this code: `read_error`."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Screen nothing: read every file that is done, and say what is wrong.")
    ] = False,
    errors: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File to write: a line of JSON for each file that is not screened."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Screen an archive into Parquet tables. Killed at any moment, the same command goes on.

    Several processes and machines may share the folder: each takes shards that nobody has. The exit code is 1 if the
    work is not done, or if --verify found a fault; ECGs that are refused are in a table of their own.
    """
    from inference.file_account import open_account
    from stream.backfill.begin import Asked, open_dataset
    from stream.backfill.shard import Reading
    from stream.backfill.stored_archive import archive_at
    from stream.backfill.work import Work

    if ray is not None:
        need_modules("--ray", "ray", extra="ray")
    settings, zone = settings_with(bundle=bundle, engine=engine), zone_named(time_zone)
    folder = _folder_named(out)
    archive = archive_at(root, list_file, path_column)
    with open_account(errors, continues=True) as account:
        asked = Asked(settings.model, archive, ids or archive.ids, time_zone, shard_records, RECORDS_A_BATCH)
        dataset = open_dataset(folder, asked, account.tell)
        if verify:
            _verify(dataset, settings)
            return
        chosen = _chosen(dataset, limit, shards)
        if again:
            count = dataset.open_again(chosen, frozenset(again))
            say(f"shards with ECGs refused with {', '.join(again)}, which are done again: {count}")
        who = _who(ray, processes, ray_gpus, dataset.made.engine)
        work = Work(
            folder=folder.absolute(),
            shards=chosen,
            reading=Reading(archive.root, asked.ids, zone, RECORDS_A_BATCH),
            model=_model_settings(settings, dataset.made.engine, who),
            claim_s=CLAIM_S,
        )
        summary = _run(dataset, work, who, account, as_json=as_json)
    print_totals(account)
    if as_json:
        print_json(summary)
    else:
        print_first_notes(account, errors)
        _say(summary, folder)


def _folder_named(out: str) -> Path:
    if "://" in out:
        sentence = (
            f"--out {out} is no folder: tables are written to a folder of this machine, or one that machines share"
        )
        raise InvalidSettings(f"{sentence}. Copy it to the store afterwards")
    return Path(out)


def _who(ray: str | None, processes: int | None, gpus: float | None, engine: str) -> int | Cluster:
    """Return what runs the shards: so many processes of this machine, or a Ray cluster."""
    from engines.catalog import find_entry
    from engines.options import usable_cores
    from stream.backfill.on_ray import Cluster

    if ray is None:
        return processes or max(1, usable_cores() // 2)
    return Cluster(ray, processes, float(find_entry(engine).device == "gpu") if gpus is None else gpus)


def _model_settings(settings: Settings, engine: str, who: int | Cluster) -> ModelSettings:
    """Return the settings of a process of this machine, or what is known of those on a cluster."""
    import msgspec

    from engines.options import usable_cores

    model = settings.model
    threads = model.threads or (max(1, usable_cores() // who) if isinstance(who, int) else None)
    bundle = model.bundle and model.bundle.absolute()
    return msgspec.structs.replace(model, bundle=bundle, engine=engine, threads=threads)


def _chosen(dataset: Dataset, limit: int | None, shards: str | None) -> list[int]:
    """Return the numbers of the shards that this command is to do."""
    count = dataset.shards if limit is None else min(dataset.shards, -(-limit // dataset.made.shard_records))
    if shards is None:
        return list(range(count))
    first, _, step = shards.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise InvalidSettings(f"--shards {shards}: write it as I/N, from 1/N to N/N, such as 1/4")
    return list(range(int(first) - 1, count, int(step)))


def _run(dataset: Dataset, work: Work, who: int | Cluster, account: FileAccount, *, as_json: bool) -> Summary:
    from engines.whole_json import write_json
    from stream.backfill.dataset import SUMMARY, Summary
    from stream.backfill.on_ray import run_on_ray
    from stream.backfill.run import run_processes

    begin = time.monotonic()
    with show_progress(begin, as_json=as_json) as show:
        if isinstance(who, int):
            progress = run_processes(dataset, work, who, tell=account.tell, show=show)
        else:
            progress = run_on_ray(dataset, work, who, tell=account.tell, show=show)
    seconds = time.monotonic() - begin
    done, screened, refused = dataset.count()
    did = progress.done - progress.before
    summary = Summary(
        shards=dataset.shards,
        done=done,
        screened=screened,
        refused=refused,
        seconds=round(seconds, 3),
        records_per_s=round(did / seconds, 1) if did else None,
    )
    write_json(dataset.folder / SUMMARY, summary)
    return summary


def _verify(dataset: Dataset, settings: Settings) -> None:
    from inference.bundle import default_bundle, load_bundle
    from stream.backfill.columns import Columns

    columns = Columns(load_bundle(settings.model.bundle or default_bundle()).manifest, dataset.plan_schema())
    faults = 0
    for fault in dataset.faults(columns):
        print_plain(fault)
        faults += 1
    if faults:
        raise SystemExit(1)
    done, screened, codes = dataset.count()
    refused = sum(codes.values())
    say(f"{done} of {dataset.shards} shards are done and sound: {screened} ECGs screened, {refused} refused")


def _say(summary: Summary, out: Path) -> None:
    refused = sum(summary.refused.values())
    print_plain(
        f"{out}: {summary.done} of {summary.shards} shards done, {summary.screened} ECGs screened, {refused} refused"
    )
