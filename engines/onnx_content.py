"""Looks into an ONNX graph without running it: whether all of its tensors lie in it, and in which precision.

A graph may name other files for its tensors, which no digest of the graph covers. The serving install has no library
that reads ONNX but those that would open these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MAX_DEPTH = 64
"""Graphs lie in attributes of nodes of graphs. No exporter nests them so deep."""
MAX_FIELDS = 5_000_000
"""The paper's network has 100,000. Walking through more would take minutes."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types of Protocol Buffers that ONNX uses."""
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10
DATA_TYPE, EXTERNAL_DATA, DATA_LOCATION = 2, 13, 14
"""Fields of a tensor: what its values are, where the other file is, and whether the values lie in this one."""
FLOAT16 = 10

MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""The fields of each message of onnx.proto3 that lead to a tensor."""


class NoOnnx(ValueError):  # noqa: N818 -- it names the condition, as the others do
    """The bytes are no ONNX graph."""


class _Field(NamedTuple):
    number: int
    value: int
    content: memoryview


def has_external_data(graph: bytes) -> bool:
    """Return whether a tensor of a graph names another file for its values.

    Raises:
        NoOnnx: the bytes are no message of Protocol Buffers, or nested beyond sense.
    """
    return any(_is_elsewhere(field) for field in _fields_of_tensors(graph))


def holds_float16(graph: bytes) -> bool:
    """Return whether a tensor of a graph is float16.

    Raises:
        NoOnnx: as above.
    """
    return any((field.number, field.value) == (DATA_TYPE, FLOAT16) for field in _fields_of_tensors(graph))


def _fields_of_tensors(graph: bytes) -> Iterator[_Field]:
    waiting, left = [("model", memoryview(graph), 0)], MAX_FIELDS
    while waiting:
        kind, content, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise NoOnnx("its parts lie too deep in each other")
        for field in _fields(content):
            left -= 1
            if not left:
                raise NoOnnx("it has more parts than a network has")
            if kind == "tensor":
                yield field
            if below := MESSAGES[kind].get(field.number):
                waiting.append((below, field.content, depth + 1))


def _is_elsewhere(field: _Field) -> bool:
    return field.number == EXTERNAL_DATA or (field.number == DATA_LOCATION and field.value != 0)


def _fields(content: memoryview) -> Iterator[_Field]:
    place, empty = 0, memoryview(b"")
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        value, held = 0, empty
        if wire == VARINT:
            value, place = _varint(content, place)
        elif wire == BYTES:
            length, place = _varint(content, place)
            held, place = content[place : place + length], place + length
        elif wire in FIXED_SIZES:
            place += FIXED_SIZES[wire]
        else:
            raise NoOnnx("it is no message of Protocol Buffers")
        if place > len(content) or not number:
            raise NoOnnx("it is cut short, or no message of Protocol Buffers")
        yield _Field(number, value, held)


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """Return a number of 64 bits as Protocol Buffers writes it, seven bits a byte, and where it ends."""
    value = 0
    for shift, byte in enumerate(content[place : place + LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value & (1 << 64) - 1, place + shift + 1
    raise NoOnnx("it is cut short, or no message of Protocol Buffers")
