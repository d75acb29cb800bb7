"""The command line, `cardiacnets`: the list of its commands, and how each of them ends.

Starting the command line stays light. A module of `commands/` imports a heavy library inside the function that needs
it, so that `cardiacnets --help` imports none of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import NoReturn

import typer

from engines.no_telemetry import forbid_telemetry
from schemas.errors import CardiacNetsError, InvalidSettings
from stream.blas_kernels import choose_blas_kernels
from stream.plain_text import print_plain, shown_in_line
from stream.private_files import keep_private

from .commands import (
    alert_keeper,
    backfill,
    bundle_create,
    bundle_import,
    cine,
    cmr_worker,
    cohort_import,
    collect,
    compile,  # noqa: A004
    dashboard,
    demo,
    evaluate,
    fhir,
    publish,
    realism,
    screen,
    simulate,
    topics,
    train,
    worker,
)

FAILED, MISUSED = 1, 2
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
WRITE_MODELS = frozenset({"bundle", "compile", "train"})
"""Some commands of `train` write none. They say so themselves."""
OF_THE_PATH = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
}  # fmt: skip
"""What is wrong with a path that a person has named. Any other error of the system is a bug, and has a traceback."""

app = typer.Typer(
    name="cardiacnets",
    help="Screens 12-lead ECGs as they arrive. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def begin(context: typer.Context) -> None:
    """Begin a command."""
    keep_private(context, but=WRITE_MODELS)


app.command("screen")(screen.screen_command)
app.command("worker")(worker.worker_command)
app.command("cmr-worker")(cmr_worker.cmr_worker_command)
app.command("alert-keeper")(alert_keeper.alert_keeper_command)
app.command("dashboard")(dashboard.dashboard_command)
app.command("cine")(cine.cine_command)
app.command("fhir")(fhir.fhir_command)
app.command("publish")(publish.publish_command)
app.command("topics")(topics.topics_command)
app.command("backfill")(backfill.backfill_command)
app.command("collect")(collect.collect_command)
app.command("demo")(demo.demo_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("compile")(compile.compile_command)
app.command("simulate")(simulate.simulate_command)
app.command("realism")(realism.realism_command)

bundle_app = typer.Typer(help="Make model bundles.", no_args_is_help=True)
bundle_app.command("create")(bundle_create.create_bundle_command)
bundle_app.command("import")(bundle_import.import_bundle_command)
app.add_typer(bundle_app, name="bundle")

cohort_app = typer.Typer(help="Make cohorts of real patients.", no_args_is_help=True)
cohort_app.command("import")(cohort_import.import_cohort_command)
app.add_typer(cohort_app, name="cohort")

app.add_typer(train.train_app, name="train")


def main() -> None:
    """Run a command. Exit with 0, with 1 when it failed, with 2 when it was misused, with 130 or 143 after a signal."""
    forbid_telemetry()
    choose_blas_kernels(os.environ)
    signal.signal(signal.SIGTERM, _end)  # so that `finally` blocks run and children are stopped
    try:
        _run()
    except SystemExit as ended:
        if ended.code in INTERRUPTED:
            _leave(int(ended.code))
        raise


def _run() -> None:
    try:
        app()
    except InvalidSettings as error:
        _fail(str(error), MISUSED)
    except CardiacNetsError as error:
        _fail(str(error), FAILED)
    except OSError as error:
        if error.errno not in OF_THE_PATH or error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; name another path, or change its permissions", FAILED)
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def _leave(code: int) -> NoReturn:
    """End the process without tearing it down.

    A signal may have come while an engine's own threads computed, and they still do. An interpreter that is torn down
    takes their memory away, and the process would die of SIGSEGV.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _fail(sentence: str, code: int) -> NoReturn:
    print_plain(shown_in_line(f"cardiacnets: {sentence}"), to_stderr=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
