"""A message of an ECG topic, as it came: the value, and what says how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

CONFLUENT_MAGIC = b"\x00"
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
FRAMES = (CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC)
"""What a value begins with that names its schema: no bare record begins so."""
DATA_SCHEMA = "ce_dataschema"
"""The header in which CloudEvents' binary mode names the schema of a value."""


class EcgMessage(NamedTuple):
    """The value of a message, None where it has none, and its header `ce_dataschema` where it has one."""

    value: bytes | None
    data_schema: bytes | None = None

    @property
    def names_schema(self) -> bool:
        """Whether it says which schema wrote it: by its header, or by a frame before the record."""
        return self.data_schema is not None or bool(self.value and self.value.startswith(FRAMES))


def ecg_message(value: bytes | None, headers: Mapping[str, bytes | None]) -> EcgMessage:
    """Return the message of this value and these headers."""
    return EcgMessage(value, headers.get(DATA_SCHEMA))
