"""Columns of text, as `read_batches` yields them, as arrays of numbers: a column at a time, never a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import UnreadableCohort

UNKNOWN = -1
"""Stands for what is not known in columns of whole numbers."""
NEVER = np.iinfo(np.int64).max
"""Stands for a time that is not known: it comes after all others."""
_WHOLE = r"^[0-9]{1,18}$"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?$"


def whole_numbers(column: Any) -> NDArray[np.int64]:
    """Return ids (n,) as they are written, with the `.0` that pandas adds or without; `UNKNOWN` where there is none."""
    text = pc.replace_substring_regex(_trimmed(column), r"\.0$", "")
    return np.asarray(pc.fill_null(_cast(text, _WHOLE, pa.int64()), UNKNOWN), np.int64)


def required_numbers(column: Any, name: str, first_row: int) -> NDArray[np.int64]:
    """Return ids (n,) of a column that has one in each row.

    Args:
        column: of text.
        name: of the column and its table, for the error.
        first_row: number of the column's first row in the table, for the error.

    Raises:
        UnreadableCohort: a row has none.
    """
    numbers = whole_numbers(column)
    if (empty := np.flatnonzero(numbers == UNKNOWN)).size:
        raise UnreadableCohort(f"{name}, row {first_row + empty[0] + 1}: it has no whole number there")
    return numbers


def numbers(column: Any) -> NDArray[np.float32]:
    """Return numbers (n,), NaN where there is none."""
    return np.asarray(pc.fill_null(_cast(_trimmed(column), _NUMBER, pa.float64()), np.nan), np.float32)


def seconds(column: Any) -> NDArray[np.int64]:
    """Return times (n,) such as `2180-07-23 08:44:00` as seconds; `NEVER` where there is none."""
    text = pc.replace_substring(pc.utf8_slice_codeunits(_trimmed(column), 0, 19), "T", " ")
    times = pc.strptime(text, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True)
    return np.asarray(pc.fill_null(times.cast(pa.int64()), NEVER), np.int64)


def coded(column: Any, codes: Mapping[str, bool]) -> NDArray[np.int8]:
    """Return 1 and 0 (n,) for words, in small letters, that mean true and false; `UNKNOWN` for all others."""
    places = pc.index_in(pc.utf8_lower(_trimmed(column)), value_set=pa.array(list(codes), pa.string()))
    meanings = np.array([*codes.values(), UNKNOWN], np.int8)
    return np.asarray(meanings[np.asarray(pc.fill_null(places, len(codes)))])


def _trimmed(column: Any) -> Any:
    return pc.utf8_trim_whitespace(column)


def _cast(text: Any, pattern: str, kind: Any) -> Any:
    fits = pc.fill_null(pc.match_substring_regex(text, pattern), False)  # noqa: FBT003 - Arrow's own name for it
    return pc.if_else(fits, text, pa.scalar(None, pa.string())).cast(kind)
