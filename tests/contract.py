"""The published contract as a judge: is this value what asyncapi.yaml says the topic carries?"""

import io
import json
from datetime import datetime
from functools import cache
from importlib.resources import files

import jsonschema
import yaml
from fastavro import parse_schema, schemaless_reader

from schemas.codec import decode_ecg

SCHEMAS = files("schemas")
FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_instant(text):
    return not isinstance(text, str) or datetime.fromisoformat(text).utcoffset() is not None


@cache
def asyncapi():
    """Return the AsyncAPI document."""
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))


def lookup(reference):
    """Return what a `$ref` of the document points at, in the document or in a file beside it."""
    if reference.startswith("./"):
        return json.loads((SCHEMAS / reference).read_text(encoding="utf-8"))
    node = asyncapi()
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    return node


@cache
def payload(topic):
    """Return the content type and the payload's schema of the one message that a topic carries."""
    (channel,) = [channel for channel in asyncapi()["channels"].values() if channel["address"] == topic]
    (message,) = [lookup(message["$ref"]) for message in channel["messages"].values()]
    return message["contentType"], lookup(message["payload"]["schema"]["$ref"])


@cache
def json_validator(topic):
    """Return the judge of a JSON topic."""
    return jsonschema.Draft202012Validator(payload(topic)[1], format_checker=FORMATS)


def validate_message(topic, value):
    """Raise unless `value` is a valid message of `topic`."""
    content_type, schema = payload(topic)
    if content_type == "application/json":
        json_validator(topic).validate(json.loads(value, parse_constant=refuse_constant))
        return
    assert any(fills(version, value) for version in versions(schema)), "not a record of any published version"
    decode_ecg(value)


def versions(schema):
    """Return the versions of the Avro schema, the newest first: each one adds fields at the end of the one before."""
    names = [field["name"] for field in schema["fields"]]
    return [schema | {"fields": schema["fields"][:end]} for end in range(len(names), names.index("samples"), -1)]


def fills(version, value):
    """Return whether the value is one record of this version, and nothing more."""
    stream = io.BytesIO(value)
    try:
        schemaless_reader(stream, parse_schema(version), None)
    except (EOFError, LookupError, ValueError):
        return False
    return not stream.read()


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")
