"""The command line: `cardiacnets`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from schemas.errors import CardiacNetsError, InvalidSettings

from .commands.train import PresetName, train_app

if TYPE_CHECKING:
    from .settings import Settings

FAILED, MISUSED = 1, 2

app = typer.Typer(
    name="cardiacnets",
    help="Screens 12-lead ECGs as they arrive. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
bundle_app = typer.Typer(help="Model bundles.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
cohort_app = typer.Typer(help="Cohorts of real patients.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort")
app.add_typer(train_app, name="train")

Broker = Annotated[str | None, typer.Option(help="Kafka bootstrap servers, host:port[,host:port].")]
BundleFolder = Annotated[Path | None, typer.Option(help="Model bundle; the shipped one by default.")]
GeneratorFolder = Annotated[Path | None, typer.Option(help="Cine generator; the shipped one by default.")]
HttpPort = Annotated[int | None, typer.Option(help="Port of /metrics, /healthz and /readyz; 0 takes any.")]
RedisUrl = Annotated[str | None, typer.Option(help="redis://\\[user:password@]host:port/db")]
EngineName = Annotated[str | None, typer.Option(help="Engine; the fastest that passes its check by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
LaneName = Annotated[str, typer.Option(help="realtime or backfill.")]


@app.command()
def screen(
    files: Annotated[list[Path], typer.Argument(help="ECG files: WFDB, DICOM, MUSE, SCP, HL7 aECG, Sierra, …")],
    json: Json = False,
    bundle: BundleFolder = None,
    engine: EngineName = None,
    cine: Annotated[
        Path | None, typer.Option(help="Also draw the CMR cine that the ECG suggests: .gif, .mp4, .nii.gz or .png.")
    ] = None,
    generator: GeneratorFolder = None,
) -> None:
    """Screen ECG files without Kafka: one answer a file, in order."""
    from .commands.screen import screen_command

    screen_command(_settings(bundle=bundle, engine=engine, generator=generator), files, as_json=json, cine=cine)


@app.command()
def worker(
    broker: Broker = None,
    redis: RedisUrl = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
    http_port: HttpPort = None,
) -> None:
    """Screen the ECGs of the Kafka topics until SIGTERM. All settings: CARDIACNETS_* (see the README)."""
    from .screening.worker import run_worker

    run_worker(_settings(broker=broker, redis=redis, bundle=bundle, engine=engine, http_port=http_port))


@app.command()
def cmr_worker(
    broker: Broker = None,
    redis: RedisUrl = None,
    generator: GeneratorFolder = None,
    http_port: HttpPort = None,
) -> None:
    """Draw the cines of flagged ECGs into Redis until SIGTERM, at a lower priority than screening."""
    from .cines.worker import run_cine_worker

    run_cine_worker(_settings(broker=broker, redis=redis, generator=generator, http_port=http_port))


@app.command()
def dashboard(
    broker: Broker = None,
    redis: RedisUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; this machine alone by default.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any that is free.")] = None,
) -> None:
    """Serve the dashboard: alerts, ECGs, cines and measurements in a browser. Prints the address that opens it."""
    from .commands.dashboard import dashboard_command

    dashboard_command(_settings(broker=broker, redis=redis, dashboard_host=host, dashboard_port=port))


@app.command()
def cine(
    record_id: Annotated[str, typer.Argument(help="The ECG's record id.")],
    out: Annotated[Path, typer.Option(help="File to write: .gif, .mp4, .nii.gz or .png.")],
    redis: RedisUrl = None,
) -> None:
    """Fetch a record's generated cine from Redis."""
    from .commands.cine import cine_command

    cine_command(_settings(redis=redis), record_id, out)


@app.command()
def fhir(
    reports: Annotated[str, typer.Argument(help="Reports, one a line, as on ecg.risk.v1 or of `screen --json`; or -.")],
    out: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
) -> None:
    """Write reports as FHIR R4: one Bundle a line, of a DiagnosticReport with its Observations."""
    from .commands.fhir import fhir_command

    fhir_command(reports, out=out)


@app.command()
def publish(
    paths: Annotated[list[Path], typer.Argument(help="ECG files, and folders to walk.")],
    broker: Broker = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second at most.")] = None,
    lane: LaneName = "realtime",
    skip: Annotated[int, typer.Option(min=0, help="Files to pass over, which an earlier run has published.")] = 0,
    json: Json = False,
) -> None:
    """Publish ECG files to Kafka, as a device fleet or an archive does.

    A file's name without its ending becomes the record's id, which reports and dashboards show: it must name nobody.
    """
    from .commands.publish import publish_command

    publish_command(_settings(broker=broker), paths, rate_hz=rate, lane=lane, skip=skip, as_json=json)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Publish, wait for every answer, end.")] = False,
    json: Json = False,
    ecgs: Annotated[Path | None, typer.Option(help="ECGs to publish; generated ones by default.")] = None,
    records: Annotated[int | None, typer.Option(min=1, help="How many ECGs to publish.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Records a second.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated ECGs.")] = 0,
    logs: Annotated[Path | None, typer.Option(help="Folder to keep the logs in.")] = None,
    bundle: BundleFolder = None,
    engine: EngineName = None,
) -> None:
    """Show it all on this machine: an embedded broker, a worker, ECGs going in and risks coming out."""
    from .commands.demo import demo_command

    settings = _settings(bundle=bundle, engine=engine)
    demo_command(settings, once=once, as_json=json, ecgs=ecgs, records=records, rate_hz=rate, seed=seed, logs=logs)


@app.command()
def evaluate(
    cohort: Annotated[
        str, typer.Option(help="'simulated', or the folder of a cohort, whose test fold is used.")
    ] = "simulated",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the simulated patients, one that nobody learned from; 1 by default.")
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=20, help="Of the simulated cohort; 4000, or 300 of whom cines are drawn.")
    ] = None,
    json: Json = False,
    report: Annotated[Path | None, typer.Option(help="Folder for a report with plots and a model card.")] = None,
    bundle: BundleFolder = None,
    baselines: Annotated[Path | None, typer.Option(help="Folder of baselines; the shipped ones by default.")] = None,
    ecgs: Annotated[Path | None, typer.Option(help="Also rank real ECGs: a folder of files with a labels.csv.")] = None,
    generator: Annotated[bool, typer.Option("--generator", help="Measure the cine generator instead.")] = False,
) -> None:
    """Measure how good a model is, on patients it has not seen, beside its baselines."""
    if generator:
        from .commands.evaluate_cines import evaluate_cines_command

        if cohort != "simulated" or baselines or ecgs:
            raise InvalidSettings(
                "--generator is measured on simulated patients: --cohort, --baselines, --ecgs do not go"
            )
        settings = _settings(bundle=bundle)
        evaluate_cines_command(settings, patients=patients, seed=seed, report=report, as_json=json)
        return
    from .commands.evaluate import evaluate_command

    evaluate_command(
        _settings(bundle=bundle),
        cohort=cohort,
        patients=patients,
        seed=seed,
        baselines=baselines,
        ecgs=ecgs,
        report=report,
        as_json=json,
    )


@app.command(name="compile")
def compile_(
    bundle: BundleFolder = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")] = None,
    export: Annotated[bool, typer.Option("--export", help="Export the graph anew first; needs torch.")] = False,
    json: Json = False,
) -> None:
    """Check every engine against torch, time them on this machine, and remember the fastest that passes."""
    from .commands.compile import compile_command

    compile_command(_settings(bundle=bundle, threads=threads), export=export, as_json=json)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write; a cohort that is there already is replaced.")],
    patients: Annotated[int, typer.Option(min=1, help="How many patients are scanned and measured.")] = 1000,
    unmeasured: Annotated[int, typer.Option(min=0, help="How many more have a scan that nobody measured.")] = 0,
    unscanned: Annotated[int, typer.Option(min=0, help="How many more have an ECG and diagnoses alone.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the population.")] = 0,
    layout: Annotated[str, typer.Option("--format", help="cohort, or wfdb: ECGs alone, as files.")] = "cohort",
    cines: Annotated[bool, typer.Option(help="Draw the four-chamber cines.")] = True,
    short_axis: Annotated[bool, typer.Option("--short-axis", help="Draw short-axis cines as well.")] = False,
    test_only: Annotated[bool, typer.Option("--test-only", help="Put everybody into the test fold.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
    json: Json = False,
) -> None:
    """Simulate a paired cohort: ECGs, cines, phenotypes and diseases of patients who do not exist."""
    from .commands.simulate import simulate_command

    simulate_command(
        out,
        patients=patients,
        unmeasured=unmeasured,
        unscanned=unscanned,
        seed=seed,
        layout=layout,
        cines=cines,
        short_axis=short_axis,
        test_only=test_only,
        processes=processes,
        as_json=json,
    )


@app.command()
def realism(
    ecgs: Annotated[Path, typer.Option(help="Folder of real ECGs with their labels.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the plots.")],
    cine: Annotated[Path | None, typer.Option(help="A real cine, ….npz with …_meta.json, to draw beside.")] = None,
    patients: Annotated[int, typer.Option(min=1, help="Simulated patients.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated patients.")] = 0,
    json: Json = False,
) -> None:
    """Hold simulated patients against real ECGs and published CMR values; needs matplotlib."""
    from .commands.realism import realism_command

    realism_command(ecgs, out, cine=cine, patients=patients, seed=seed, as_json=json)


@cohort_app.command(name="import")
def cohort_import(
    source: Annotated[str, typer.Argument(help="mimic or ukb.")],
    root: Annotated[Path, typer.Argument(help="Folder of MIMIC-IV-ECG, or of UK Biobank's bulk files.")],
    out: Annotated[Path, typer.Option(help="Folder to write; a cohort that is there already is replaced.")],
    table: Annotated[
        Path | None,
        typer.Option("--labels", "--table", help="records_w_diag_icd10.csv, or UK Biobank's main table."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a cohort of MIMIC-IV-ECG with its ICD-10 diagnoses, or of UK Biobank's imaging visits."""
    from .commands.cohort_import import import_command

    import_command(source, root, out=out, table=table, as_json=json)


@bundle_app.command(name="create")
def bundle_create(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    preset: PresetName = "reference",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights.")] = 0,
    crops: Annotated[int, typer.Option(min=1, max=16, help="Crops averaged at evaluation.")] = 3,
) -> None:
    r"""Write an untrained bundle of a preset; needs torch (pip install 'cardiacnets\[train]')."""
    from .commands.bundle_create import create_command

    create_command(out, preset=preset, seed=seed, n_crops=crops)


@bundle_app.command(name="import")
def bundle_import(
    checkpoints: Annotated[list[Path], typer.Argument(help="Released checkpoints, one a head, of one encoder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    disease: Annotated[
        list[str] | None, typer.Option(help="Which disease a disease head is for; one each, in order.")
    ] = None,
    phenotype_scaler: Annotated[
        Path | None, typer.Option(help='JSON {phenotype: {"mean": …, "sd": …}}; z-scores without it.')
    ] = None,
) -> None:
    """Write a bundle of released CardioNets weights; needs torch, the extra `train`."""
    from .commands.bundle_import import import_command

    import_command(checkpoints, out, diseases=disease or (), phenotype_scaler=phenotype_scaler)


def _settings(**overrides: object) -> Settings:
    """Return the settings, with the logs of a command that a person runs; the worker configures its own."""
    from .logs import configure_logs
    from .settings import load_settings

    configure_logs("warning", "console")
    return load_settings(os.environ, overrides)


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> None:
    """Run a command; exit 0, 1 when it failed, 2 when it was misused."""
    signal.signal(signal.SIGTERM, _end)  # so that `finally` blocks run and children are stopped
    try:
        app()
    except InvalidSettings as error:
        _fail(error, MISUSED)
    except CardiacNetsError as error:
        _fail(error, FAILED)
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def _fail(error: CardiacNetsError, code: int) -> NoReturn:
    print(f"cardiacnets: {error}", file=sys.stderr)
    raise SystemExit(code) from error


if __name__ == "__main__":
    main()
