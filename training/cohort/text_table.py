"""Reads a table as people save it: CSV of any spreadsheet, or Parquet; a row is text by column.

Where 61,5 is a number, a spreadsheet puts semicolons between the cells. Excel puts a byte order mark before UTF-8, and
ends lines as Windows does. All of these are read.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TypeAlias

from engines.regular_file import open_regular
from inference.reading.content import printable
from schemas.errors import InvalidSettings, UnreadableCohort

from .source_tables import read_rows, table_columns

PARQUET = ".parquet"
SEPARATORS = (",", ";", "\t")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How .xlsx and .xls begin."""
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
AS_CSV = "save it as CSV in UTF-8 (in Excel: CSV UTF-8)"
UNKNOWN = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What R, pandas and people write where a value is not known, in small letters."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"(\d+)\.0")

Cells: TypeAlias = dict[str, str]
"""A row: the text of each cell by column, without spaces around it; "" where it is empty."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table on disk.

    Attributes:
        columns: their names, in order.
        separator: between the cells; None in Parquet.
    """

    path: Path
    columns: tuple[str, ...]
    separator: str | None

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        """Yield each row that is not empty, and its number: a spreadsheet counts the header as row 1.

        Raises:
            UnreadableCohort: a row has more or fewer cells than the header, or cannot be read.
        """
        rows = self._of_parquet(wanted) if self.separator is None else self._of_csv(wanted)
        for number, cells in rows:
            if any(cells.values()):
                yield number, cells

    def number(self, text: str) -> float | None:
        """Return a number as this table writes it, or None if it is none."""
        if self.separator != "," and "." not in text:
            text = text.replace(",", ".")
        return float(text) if _NUMBER.fullmatch(text) else None

    def _of_parquet(self, wanted: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        for number, texts in enumerate(read_rows(self.path, wanted), start=1):
            yield number, {name: (text or "").strip() for name, text in texts.items()}

    def _of_csv(self, wanted: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        assert self.separator is not None  # noqa: S101 -- it is no Parquet
        places = [(name, self.columns.index(name)) for name in wanted]
        with _text_of(self.path) as file:
            lines = csv.reader(file, delimiter=self.separator, strict=True)
            next(lines, None)
            for number, line in _numbered(lines, self.path):
                if not any(line):
                    continue
                _check_length(line, len(self.columns), f"{self.path}, row {number}")
                yield number, {name: line[place].strip() for name, place in places}


def open_table(path: Path) -> TextTable:
    """Return a table after its header was read.

    Raises:
        InvalidSettings: there is no such file.
        UnreadableCohort: it is no table, or two of its columns have one name.
    """
    if not path.is_file():
        raise InvalidSettings(f"{printable(path)} is not there: name the table with --table")
    table = _open_parquet(path) if path.suffix == PARQUET else _open_csv(path)
    if not any(table.columns):
        raise UnreadableCohort(f"{path} is empty: its first row names the columns")
    if doubled := [name for name, count in Counter(table.columns).items() if name and count > 1]:
        raise UnreadableCohort(f"{path} has several columns {', '.join(doubled)}: keep one of each name")
    return table


def is_unknown(text: str) -> bool:
    """Return whether a cell says that its value is not known."""
    return text.lower() in UNKNOWN


def as_name(text: str) -> str:
    """Return an identifier; pandas writes 17 as 17.0 where a column has empty cells."""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _open_parquet(path: Path) -> TextTable:
    return TextTable(path, tuple(table_columns(path)), None)


def _open_csv(path: Path) -> TextTable:
    with open_regular(path) as file:
        head = file.read(4)
    if head.startswith(WORKBOOKS):
        raise UnreadableCohort(f"{path} is a workbook of a spreadsheet program: {AS_CSV}")
    if head.startswith(UTF_16):
        raise UnreadableCohort(f"{path} is in UTF-16: {AS_CSV}")
    headers = {separator: _header(path, separator) for separator in SEPARATORS}
    separator = max(headers, key=lambda each: len(headers[each]))
    columns = headers[separator]
    while columns and not columns[-1]:  # a spreadsheet leaves separators at the end of lines
        columns.pop()
    return TextTable(path, tuple(columns), separator)


def _header(path: Path, separator: str) -> list[str]:
    with _text_of(path) as file:
        lines = csv.reader(file, delimiter=separator, strict=True)
        header: list[str] = next((line for _, line in _numbered(lines, path, first=1)), [])
    return [name.strip() for name in header]


@contextmanager
def _text_of(path: Path) -> Iterator[TextIOWrapper]:
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise UnreadableCohort(f"{path} is not in UTF-8: {AS_CSV}") from error
    except OSError as error:
        raise UnreadableCohort(f"{path} cannot be read: {error.strerror or error}") from error


def _numbered(lines: Iterator[list[str]], path: Path, first: int = 2) -> Iterator[tuple[int, list[str]]]:
    number = first
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableCohort(
                f"{path}, row {number} cannot be read: a quotation mark has no partner, a cell is longer than "
                f"{csv.field_size_limit():,} characters, or the file is binary"
            ) from error
        yield number, line
        number += 1


def _check_length(line: list[str], columns: int, place: str) -> None:
    while len(line) > columns and not line[-1]:
        line.pop()
    if len(line) != columns:
        raise UnreadableCohort(
            f"{place} has {len(line)} cells, and the header has {columns}: is a cell with the separator in it not in "
            "quotation marks, or was the file cut off?"
        )
