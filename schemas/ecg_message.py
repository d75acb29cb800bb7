"""A message of an ECG topic, as it came: the value, and what says how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

DATA_SCHEMA = "ce_dataschema"
"""The header in which CloudEvents' binary mode names the schema of a value."""


class EcgMessage(NamedTuple):
    """The value of a message, and its header `ce_dataschema` where it has one."""

    value: bytes
    data_schema: bytes | None = None

    @property
    def names_schema(self) -> bool:
        """Whether it says which schema wrote it: by its header, or by a Confluent frame, which begins with a zero."""
        return self.data_schema is not None or self.value.startswith(b"\x00")


def ecg_message(value: bytes | None, headers: Mapping[str, bytes | None]) -> EcgMessage:
    """Return the message of this value and these headers."""
    return EcgMessage(value or b"", headers.get(DATA_SCHEMA))
