"""What commands print: JSON for a program, sentences and tables for a person."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output, where the next program sees it at once."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Print a sentence for a person on standard error, which keeps standard output free for what is asked for."""
    from stream.plain_console import PlainConsole

    PlainConsole(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def new_table(first: str, *others: str) -> Table:
    """Return a table without lines. All columns but the first are aligned to the right."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
