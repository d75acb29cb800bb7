"""The `cardiacnets` script: the command line, or one sentence on the extra that it needs.

The base install has none of the packages that the command line imports. So this file imports the standard library
alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata

FAILED = 1
EXTRAS = {"train": "train", "evaluate": "train", "bundle": "train", "demo": "demo"}
"""The extra of each command for which `serve` is not enough."""


def main() -> None:
    """Run a command; where a package is missing, name the extra that brings it, and exit 1."""
    try:
        from .cli import main as run_command

        run_command()
    except ModuleNotFoundError as error:
        extra = _missing_extra(sys.argv[1:2])
        if extra is None:
            raise
        print(f"cardiacnets: {error.name} is not installed: pip install 'cardiacnets[{extra}]'", file=sys.stderr)
        raise SystemExit(FAILED) from error


def _missing_extra(command: list[str]) -> str | None:
    """Return the first extra that would help; None where all of them are installed, or where we are not."""
    own = EXTRAS.get(command[0]) if command else None
    extras = (own,) if own else ("serve", "train")
    try:
        return next((extra for extra in extras if not all(map(_is_installed, _requirements(extra)))), None)
    except metadata.PackageNotFoundError:
        return None


def _requirements(extra: str) -> Iterator[str]:
    """Yield the names of the distributions that an extra of ours asks for."""
    for requirement in metadata.requires("cardiacnets") or ():
        found = re.match(r"([\w.-]+).*;.*\bextra == ['\"](\w+)['\"]", requirement)
        if found and found[2] == extra:
            yield found[1]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
