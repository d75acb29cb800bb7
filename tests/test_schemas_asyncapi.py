"""asyncapi.yaml is valid AsyncAPI by the official definition, and says what topics.py and messages.py say."""

import copy
import hashlib
import json
import shutil
import subprocess
import tarfile

import jsonschema
import pytest
from contract import asyncapi, lookup

from schemas.codec import AVRO_SCHEMA
from schemas.ecg_record import EcgRecord
from schemas.json_schemas import json_schema, schema_file_name
from schemas.messages import MESSAGES
from schemas.record_limits import MAX_SAMPLE_BYTES
from schemas.topics import TOPICS

# The definition comes from the package in which the AsyncAPI Initiative publishes it; no Python package carries it.
DEFINITION = "@asyncapi/specs@6.11.1"
DEFINITION_SHA256 = "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928"


@pytest.fixture(scope="session")
def definition(tmp_path_factory, request):
    """Give the judge of AsyncAPI 3.0.0 documents, fetched once and kept in pytest's cache."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("asyncapi") if cache else tmp_path_factory.mktemp("asyncapi")
    archive = folder / "asyncapi-specs-6.11.1.tgz"
    if not archive.exists():
        fetch_definition(folder)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == DEFINITION_SHA256
    with tarfile.open(archive) as package:
        return jsonschema.Draft7Validator(json.load(package.extractfile("package/schemas/3.0.0.json")))


def fetch_definition(folder):
    if not (npm := shutil.which("npm")):
        pytest.skip("needs npm, which fetches the AsyncAPI definition: apt-get install npm")
    subprocess.run([npm, "pack", "--ignore-scripts", "--silent", DEFINITION], cwd=folder, check=True, timeout=100)


def resolved(node):
    """Return the document with every reference replaced by what it points at; inside a payload they stay."""
    if isinstance(node, list):
        return [resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        return lookup(reference) if reference.startswith("./") else resolved(lookup(reference))
    return {name: resolved(item) for name, item in node.items()}


def test_the_document_is_valid_asyncapi(definition):
    definition.validate(asyncapi())


def test_the_document_is_valid_asyncapi_with_every_reference_resolved(definition):
    whole = copy.deepcopy(asyncapi())
    whole["channels"] = resolved(whole["channels"])
    whole["components"] = resolved(whole["components"])
    definition.validate(whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole.update(asyncapi="2.6.0"),
        lambda whole: whole["operations"]["raise_alert"].pop("action"),
        lambda whole: whole["channels"]["ecg_risk"].update(adress="ecg.risk.v1"),
        lambda whole: whole["components"]["messages"]["EcgRecord"]["payload"]["schema"].update(type="recrod"),
    ],
    ids=["version", "operation", "channel", "avro"],
)
def test_the_definition_finds_what_is_wrong(definition, damage):
    whole = copy.deepcopy(asyncapi())
    whole["components"] = resolved(whole["components"])
    damage(whole)
    assert not definition.is_valid(whole)


def as_strings(configuration):
    """Return AsyncAPI's topic configuration as Kafka takes it."""
    return {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in configuration.items()}


def test_the_channels_are_the_topics_with_their_settings():
    described = {
        channel["address"]: (
            list(channel["messages"]),
            channel["bindings"]["kafka"]["partitions"],
            as_strings(channel["bindings"]["kafka"]["topicConfiguration"]),
        )
        for channel in asyncapi()["channels"].values()
    }
    assert described == {
        topic.name: ([topic.content.__name__], topic.partitions, topic.configuration) for topic in TOPICS
    }


def test_the_messages_are_ours_and_their_payloads_the_published_schemas():
    payloads = {
        name: message["payload"]["schema"]["$ref"] for name, message in asyncapi()["components"]["messages"].items()
    }
    ours = {kind.__name__: f"./json/{schema_file_name(kind)}" for kind in MESSAGES}
    assert payloads == {EcgRecord.__name__: "./ecg_record.avsc"} | ours
    assert lookup(payloads["EcgRecord"]) == AVRO_SCHEMA
    assert all(lookup(payloads[kind.__name__]) == json_schema(kind) for kind in MESSAGES)


def test_every_message_is_under_its_own_name_and_has_a_key_and_headers():
    for name, message in asyncapi()["components"]["messages"].items():
        assert lookup(message["headers"]["$ref"])["required"]
        assert lookup(message["bindings"]["$ref"])["kafka"]["key"]["type"] == "string"
        channels = [channel for channel in asyncapi()["channels"].values() if name in channel["messages"]]
        assert channels
        assert all(channel["messages"][name]["$ref"] == f"#/components/messages/{name}" for channel in channels)


def test_every_operation_and_every_server_is_complete():
    document = asyncapi()
    for operation in document["operations"].values():
        channel = lookup(operation["channel"]["$ref"])
        assert [lookup(message["$ref"]) for message in operation["messages"]] == list(channel["messages"].values())
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used == {f"#/channels/{name}" for name in document["channels"]}
    assert all(lookup(scheme["$ref"]) for scheme in document["servers"]["external"]["security"])


def test_the_sizes_in_the_texts_are_the_codecs_sizes():
    (n_samples,) = [field for field in AVRO_SCHEMA["fields"] if field["name"] == "n_samples"]
    assert f"{MAX_SAMPLE_BYTES:,} bytes" in n_samples["doc"]
    assert f"{MAX_SAMPLE_BYTES:,} bytes" in asyncapi()["info"]["description"]
