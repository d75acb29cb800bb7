"""The JSON Schemas of the messages, generated; `python -m schemas.json_schemas` rewrites the committed ones."""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from . import messages
from .messages import LATER_FIELDS, MESSAGES, Message

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_file_name(kind: type[Message]) -> str:
    """Return the file name of a message's schema: `risk_report.schema.json`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() + ".schema.json"


def json_schema(kind: type[Message]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a message as we write it."""
    definitions: dict[str, Any] = msgspec.json.schema(kind)["$defs"]
    for name, definition in definitions.items():
        _complete(definition, getattr(messages, name))
    top: dict[str, Any] = definitions.pop(kind.__name__)
    identity = {"$schema": DIALECT, "$id": f"urn:cardiacnets:schema:v1:{schema_file_name(kind)}"}
    whole = identity | top | ({"$defs": definitions} if definitions else {})
    return msgspec.json.decode(msgspec.json.encode(whole), type=dict[str, Any])  # a tuple by default is a list in JSON


def schema_texts() -> dict[str, str]:
    """Return what the committed files must say, by file name."""
    return {schema_file_name(kind): _text(json_schema(kind)) for kind in MESSAGES}


def write_schemas(folder: Path = FOLDER) -> None:
    """Write every schema into `folder`, and remove those of messages that are no more."""
    folder.mkdir(exist_ok=True)
    texts = schema_texts()
    for path in folder.glob("*.schema.json"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _complete(definition: dict[str, Any], kind: type[Message]) -> None:
    """Add what msgspec does not know: the attributes' docstrings, and that every message has had its first fields."""
    definition["required"] = [name for name in definition["properties"] if name not in LATER_FIELDS]
    for name, text in _attribute_docstrings(kind).items():
        definition["properties"][name]["description"] = text
    for value in definition["properties"].values():
        _allow_other_keys(value)


def _allow_other_keys(schema: dict[str, Any]) -> None:
    """Remove the lists of keys that some versions of msgspec write for an object, and others do not."""
    schema.pop("propertyNames", None)
    for choice in schema.get("anyOf", ()):
        _allow_other_keys(choice)


def _attribute_docstrings(kind: type[Message]) -> dict[str, str]:
    """Return the text below each attribute, which Python itself throws away."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    texts = {}
    for pair in pairwise(ast.iter_child_nodes(definition)):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_schemas()
