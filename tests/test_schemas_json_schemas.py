"""The committed JSON Schemas are those of the structs, so a change of contract shows in review."""

import json

import jsonschema
import pytest

from schemas.json_schemas import FOLDER, json_schema, schema_texts, write_schemas
from schemas.messages import MESSAGES

REVIEW = "run `make contracts` and review the contract change"


def test_the_committed_schemas_are_those_of_the_structs():
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert committed == schema_texts(), REVIEW


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_schema_is_one_by_the_dialect_that_it_names(kind):
    schema = json_schema(kind)
    jsonschema.validators.validator_for(schema).check_schema(schema)
    assert schema["title"] == kind.__name__
    assert schema["description"] == kind.__doc__


def test_no_two_schemas_share_an_id():
    assert len({json_schema(kind)["$id"] for kind in MESSAGES}) == len(MESSAGES)


def test_what_the_source_says_below_a_field_is_its_description():
    properties = json.loads(schema_texts()["rejection.schema.json"])["properties"]
    assert properties["record_id"]["description"] == "None where the bytes could not even be read that far."
    assert "description" not in properties["created_at"]


def test_writing_removes_the_schema_of_a_message_that_is_no_more(tmp_path):
    (tmp_path / "gone.schema.json").write_text("{}")
    write_schemas(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(schema_texts())
