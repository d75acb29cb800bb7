"""Rights on Apache Kafka, as `kafka-acls.sh` gives and takes them, without its two seconds of Java for each."""

import itertools
import shlex
from typing import NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

KINDS = {"topic": 2, "group": 3}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
LITERAL, ALLOW = 3, 3


class Rule(NamedTuple):
    principal: str
    kind: str
    name: str
    operation: str

    @property
    def fields(self):
        """The fields of the rule in Kafka's protocol."""
        kind, operation = KINDS[self.kind], OPERATIONS[self.operation]
        return kind, self.name, LITERAL, self.principal, "*", operation, ALLOW


FIELDS = (
    ("resource_type", Int8),
    ("resource_name", String()),
    ("pattern_type", Int8),
    ("principal", String()),
    ("host", String()),
    ("operation", Int8),
    ("permission", Int8),
)
ERROR = (("error_code", Int16), ("error_message", String()))


class CreateResponse(Response):
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(*ERROR)))


class CreateRequest(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 30, 1, CreateResponse
    SCHEMA = Schema(("rules", Array(*FIELDS)))


class DeleteResponse(Response):
    API_KEY, API_VERSION = 31, 1
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(*ERROR, ("rules", Array(*ERROR, *FIELDS)))))


class DeleteRequest(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 31, 1, DeleteResponse
    SCHEMA = Schema(("rules", Array(*FIELDS)))


class Create(Request[CreateRequest]):
    API_KEY = 30

    def __init__(self, rules):
        self._rules = rules

    def build(self, request_struct_class):
        return request_struct_class([rule.fields for rule in self._rules])


class Delete(Request[DeleteRequest]):
    API_KEY = 31

    def __init__(self, rules):
        self._rules = rules

    def build(self, request_struct_class):
        return request_struct_class([rule.fields for rule in self._rules])


async def give(admin, rules):
    """Add the rules, as somebody who may."""
    answer = (await admin._send_to_controller(Create(rules))).to_object()
    assert not any(result["error_code"] for result in answer["results"]), answer


async def take(admin, rules):
    """Take the rules away again."""
    answer = (await admin._send_to_controller(Delete(rules))).to_object()
    assert [len(result["rules"]) for result in answer["results"]] == [1] * len(rules), answer


def rules_of(command):
    """Return the rules that a command line of `kafka-acls.sh` adds."""
    words = shlex.split(command)
    assert words[0] == "kafka-acls.sh"
    values = {}
    for option, value in itertools.pairwise(words):
        values.setdefault(option, []).append(value)
    (principal,) = values["--allow-principal"]
    return [
        Rule(principal, kind, name, operation)
        for kind in KINDS
        for name in values.get(f"--{kind}", ())
        for operation in values["--operation"]
    ]
