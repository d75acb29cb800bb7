"""The options of commands that read ECG files, and what such a command says of files that it did not take."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain, shown_in_line

if TYPE_CHECKING:
    from inference.file_account import FileAccount

Errors = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        help="File to write: one line of JSON for each file that was refused, passed over or taken with a doubt. "
        "It must not exist, unless --skip continues a run: then the lines are added.",
    ),
]
NewErrors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        dir_okay=False,
        help="File to write: one line of JSON for each file that was refused, passed over or taken with a doubt. "
        "It must not exist.",
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        help="Zone of the times in files that name none, such as Europe/Berlin. The zone of this computer by default."
    ),
]


def zone_named(name: str | None) -> tzinfo | None:
    """Return the time zone of a name of the IANA database, such as Europe/Berlin; None for the zone of this computer.

    Raises:
        InvalidSettings: no zone has that name.
    """
    from zoneinfo import ZoneInfo, available_timezones

    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # a name that is a folder, or no path, is no name of a zone
        known = available_timezones()
        if not known:
            raise InvalidSettings("--time-zone: this computer knows no time zones: pip install tzdata") from error
        meant = next((zone for zone in sorted(known) if zone.lower().endswith(f"/{name.lower()}")), None)
        advice = f"did you mean {meant}?" if meant else "names look like Europe/Berlin, America/New_York or UTC"
        raise InvalidSettings(f"--time-zone {name}: no time zone has this name; {advice}") from error


def print_totals(account: FileAccount) -> None:
    """Print to standard error how many files were not simply taken, by code."""
    for line in account.counts().in_words():
        print_plain(line, to_stderr=True)


def print_first_notes(account: FileAccount, errors: Path | None) -> None:
    """Print to standard error the first files that were refused or doubted, and where the others are."""
    counts = account.counts()
    for note in account.first_notes:
        is_named = note.detail.startswith(note.path)
        print_plain(shown_in_line(note.detail if is_named else f"{note.path}: {note.detail}"), to_stderr=True)
    others = sum((*counts.refused.values(), *counts.taken_with_a_note.values())) - len(account.first_notes)
    if others:
        where = f"all of them are in {errors}" if errors else "name a file with --errors to see all of them"
        print_plain(f"and {others} more: {where}", to_stderr=True)
