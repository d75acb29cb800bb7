"""The options that several commands share, and the settings that options change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from stream.settings import Settings

MAX_SEED = 2**32 - 1
MAX_PORT = 65_535

REDIS_HELP = (
    "redis://host:port/db. Others on this machine can read the command line: give a password by CARDIACNETS_REDIS, or "
    "by a file that CARDIACNETS_REDIS_FILE names."
)

Broker = Annotated[str | None, typer.Option(help="Kafka bootstrap servers: host:port[,host:port].")]
BundleFolder = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of a model bundle. The shipped bundle by default."),
]
EngineName = Annotated[
    str | None, typer.Option(help="Name of an engine. The fastest engine that passes its check by default.")
]
GeneratorFolder = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of a cine generator. The shipped generator by default."),
]
HttpPort = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_PORT, help="Port of /metrics, /healthz and /readyz. 0 takes any free port."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
LaneName = Annotated[Literal["realtime", "backfill"], typer.Option(help="Lane that the records go to.")]
PresetName = Annotated[Literal["reference", "paper"], typer.Option(help="Sizes of the networks.")]
RedisUrl = Annotated[str | None, typer.Option(help=REDIS_HELP)]


def settings_with(**options: object) -> Settings:
    """Return the settings of the environment, changed by the options that are not None; log for a person to read.

    Raises:
        InvalidSettings: a setting has an impossible name or value.
    """
    from stream.logs import configure_logs
    from stream.settings import load_settings

    configure_logs("warning", "console")
    return load_settings(os.environ, options)
