"""A stranger's Avro schema, read within bounds: what a record of it may cost is known before any record comes.

A schema is data from elsewhere. Three things in it could make a short record expensive, and are refused: a type that
contains itself (a record could nest without end), a type that takes no bytes (an array could have 2^62 of them), and a
schema that is huge, or becomes huge once its named types are written out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from .errors import UnusableSchema

AvroType: TypeAlias = str | list[Any] | dict[str, Any]
"""A type without references: each named type is written out where it is used."""

MAX_SCHEMA_BYTES = 256 * 2**10
MAX_TYPES = 1000
"""Of a schema, once its named types are written out where they are used."""
MAX_DEPTH = 16
MAX_FIXED_BYTES = 4 * 2**20
MAX_SHOWN_CHARACTERS = 100
"""Of a name, in the sentence of an error."""

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""What a reader may take for what a writer wrote (Avro 1.12, Schema Resolution)."""
TIMES = frozenset({"timestamp-millis", "timestamp-micros"})
"""The logical types of a time that we take: they say its unit."""
OTHER_TIMES = frozenset(
    {"timestamp-nanos", "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos"}
)
"""Those of a time that we do not take: their numbers are no microseconds since 1970 in UTC."""


class Field(NamedTuple):
    """One field of a writer's record."""

    name: str
    type: AvroType


class WrittenRecord(NamedTuple):
    """A writer's record: its unqualified name, and its fields in the order in which it writes them."""

    name: str
    fields: tuple[Field, ...]


def read_record_schema(text: str | bytes) -> WrittenRecord:
    """Return the record that a schema in JSON describes.

    Raises:
        UnusableSchema: it describes none, or one that could be expensive to read.
    """
    if len(text) > MAX_SCHEMA_BYTES:
        raise UnusableSchema(f"the schema is longer than {MAX_SCHEMA_BYTES} bytes")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(f"the schema is not JSON: {error}") from error
    whole = _Expansion().expand(schema)
    if not (isinstance(whole, dict) and whole["type"] == "record"):
        raise UnusableSchema("the schema does not describe a record")
    return WrittenRecord(whole["name"], tuple(Field(field["name"], field["type"]) for field in whole["fields"]))


def resolves(writer: AvroType, reader: AvroType) -> bool:
    """Return whether a value of the writer's type can be one of the reader's, as Avro resolves schemas.

    Of a union one branch is enough: which branch a value takes is known only when it is read.
    """
    if isinstance(writer, list):
        return any(resolves(branch, reader) for branch in writer)
    if isinstance(reader, list):
        return any(resolves(writer, branch) for branch in reader)
    written, read = kind_of(writer), kind_of(reader)
    if written == read == "array" and isinstance(writer, dict) and isinstance(reader, dict):
        return resolves(writer["items"], reader["items"])
    if written == read == "enum" and isinstance(writer, dict) and isinstance(reader, dict):
        return bool(writer["name"] == reader["name"] and set(writer["symbols"]) & set(reader["symbols"]))
    if written == read == "record" and isinstance(writer, dict) and isinstance(reader, dict):
        return bool(writer["name"] == reader["name"] and _fields_resolve(writer, reader))
    return (written == read and written in PRIMITIVES) or read in PROMOTIONS.get(written, ())


def _fields_resolve(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    """Return whether the writer's record has every field of the reader's, of a type that resolves."""
    types = {field["name"]: field["type"] for field in writer["fields"]}
    return all(field["name"] in types and resolves(types[field["name"]], field["type"]) for field in reader["fields"])


def kind_of(avro_type: AvroType) -> str:
    """Return the name of a type's kind: 'string', 'array', 'union'."""
    if isinstance(avro_type, dict):
        return str(avro_type["type"])
    return avro_type if isinstance(avro_type, str) else "union"


def with_new_names(avro_type: AvroType, numbers: Iterator[int]) -> AvroType:
    """Return a type of the same bytes with names of our own: one schema must not have a name twice."""
    if isinstance(avro_type, list):
        return [with_new_names(branch, numbers) for branch in avro_type]
    if isinstance(avro_type, str):
        return avro_type
    renamed = dict(avro_type)
    if "name" in renamed:
        renamed["name"] = f"Type{next(numbers)}"
    for part in ("items", "values"):
        if part in renamed:
            renamed[part] = with_new_names(renamed[part], numbers)
    if "fields" in renamed:
        renamed["fields"] = [
            {"name": f"field{next(numbers)}", "type": with_new_names(field["type"], numbers)}
            for field in renamed["fields"]
        ]
    return renamed


class _Expansion:
    """One schema's named types, each written out wherever it is used."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, Any], str]] = {}
        self._open: list[str] = []
        self._types = 0

    def expand(self, node: Any, namespace: str = "", depth: int = 0) -> AvroType:
        """Return the type without references.

        Raises:
            UnusableSchema: it is no Avro type, or one that could be expensive to read.
        """
        self._types += 1
        if self._types > MAX_TYPES or depth > MAX_DEPTH:
            raise UnusableSchema(
                f"the schema has more than {MAX_TYPES} types, or more than {MAX_DEPTH} inside each other"
            )
        if isinstance(node, list):
            return self._union(node, namespace, depth)
        if isinstance(node, dict):
            return self._complex(node, namespace, depth)
        if isinstance(node, str):
            return node if node in PRIMITIVES else self._named(node, namespace, depth)
        raise UnusableSchema(f"not an Avro type: {_shown(node)}")

    def sized(self, node: Any, namespace: str, depth: int) -> AvroType:
        """Return the type of what must take a byte at least, as every type does but null."""
        expanded = self.expand(node, namespace, depth)
        if expanded == "null":
            raise UnusableSchema("the schema has a null that is no branch of a union: it takes no bytes")
        return expanded

    def _union(self, branches: list[Any], namespace: str, depth: int) -> AvroType:
        expanded = [self.expand(branch, namespace, depth + 1) for branch in branches]
        if not expanded or any(isinstance(branch, list) for branch in expanded):
            raise UnusableSchema("a union of the schema has no branch, or a union for a branch")
        return expanded

    def _complex(self, node: dict[str, Any], namespace: str, depth: int) -> AvroType:
        kind = node.get("type")
        match kind:
            case "record" | "enum" | "fixed":
                return self._define(node, namespace, depth)
            case "array":
                return {"type": "array", "items": self.sized(node.get("items"), namespace, depth + 1)}
            case "map":
                return {"type": "map", "values": self.sized(node.get("values"), namespace, depth + 1)}
            case "long" if isinstance(time := node.get("logicalType"), str) and time in TIMES | OTHER_TIMES:
                return {"type": "long", "logicalType": time}
            case _:
                return self.expand(kind, namespace, depth + 1)

    def _define(self, node: dict[str, Any], namespace: str, depth: int) -> AvroType:
        name = node.get("name")
        if not isinstance(name, str) or not name:
            raise UnusableSchema("a named type of the schema has no name")
        inside, _, own = name.rpartition(".")
        inside = inside or str(node.get("namespace") or namespace)
        full = f"{inside}.{own}"
        if self._known.setdefault(full, (node, namespace))[0] is not node:
            raise UnusableSchema(f"the schema defines {_shown(full)} twice")
        if full in self._open:
            raise UnusableSchema(f"{_shown(full)} contains itself")
        self._open.append(full)
        written = self._body(node, own, inside, depth)
        self._open.pop()
        return written

    def _body(self, node: dict[str, Any], name: str, namespace: str, depth: int) -> AvroType:
        match node["type"]:
            case "enum":
                return {"type": "enum", "name": name, "symbols": _texts(node.get("symbols"))}
            case "fixed":
                return {"type": "fixed", "name": name, "size": _fixed_size(node.get("size"))}
        fields = node.get("fields")
        if not isinstance(fields, list) or not fields or not all(isinstance(field, dict) for field in fields):
            raise UnusableSchema(f"the record {_shown(name)} has no fields")
        names = _texts([field.get("name") for field in fields])
        types = [self.sized(field.get("type"), namespace, depth + 1) for field in fields]
        return {
            "type": "record",
            "name": name,
            "fields": [{"name": field, "type": kind} for field, kind in zip(names, types, strict=True)],
        }

    def _named(self, name: str, namespace: str, depth: int) -> AvroType:
        for full in (name if "." in name else f"{namespace}.{name}", f".{name}"):
            if full in self._known:
                node, defined_in = self._known[full]
                return self._define(node, defined_in, depth)
        raise UnusableSchema(f"the schema refers to {_shown(name)}, which it does not define")


def _texts(names: Any) -> list[str]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UnusableSchema("the schema has a field or a symbol without a name")
    if len(set(names)) < len(names):
        raise UnusableSchema("the schema has two fields, or two symbols of an enum, of one name")
    return names


def _fixed_size(size: Any) -> int:
    if not isinstance(size, int) or not 1 <= size <= MAX_FIXED_BYTES:
        raise UnusableSchema(f"the schema has a fixed whose size is not within 1 to {MAX_FIXED_BYTES} bytes")
    return size


def _shown(thing: object) -> str:
    return repr(thing)[:MAX_SHOWN_CHARACTERS]
