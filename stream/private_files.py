"""What holds what was recorded of patients is its user's alone: cohorts, cines, reports, lists of files, logs."""

from __future__ import annotations

import os

import typer

OTHERS = 0o077
"""What the group and everybody else might do with a new file."""


def keep_private(context: typer.Context, *, but: frozenset[str]) -> None:
    """Let nobody else read what a command writes. Its child processes do the same.

    Args:
        context: of the command.
        but: the commands that write models. These hold no patient, and another user serves them.
    """
    if context.invoked_subcommand in but:
        return
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
    context.call_on_close(lambda: os.umask(before))
