"""The topics and the least rights of each account, as they are written for a person, Kafka's tools and Strimzi."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import InvalidSettings
from schemas.topics import TOPICS
from stream.broker.needs import Needs, Right

from .output import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from stream.settings import KafkaSettings, Settings

STRIMZI = "kafka.strimzi.io/v1"
NO_NAME = re.compile(r"[^a-z0-9.-]+")
SCRAM = "scram-sha-512"


class Account(msgspec.Struct, frozen=True):
    """Whom the broker gives rights, and which."""

    process: str
    principal: str
    rights: list[Right]


class Planned(msgspec.Struct, frozen=True):
    """A topic as it is to be, by the broker's name."""

    name: str
    partitions: int
    replication_factor: int
    configuration: dict[str, str]


def account_of(needs: Needs, settings: Settings, principal: str | None) -> Account:
    """Return an account, which is called as its process where it has no principal of its own."""
    rights = needs.rights(settings.kafka, needs.group(settings))
    return Account(needs.process, principal or f"User:{needs.process}", rights)


def planned(kafka: KafkaSettings, names: Iterable[str]) -> list[Planned]:
    """Return the topics that the contract calls so, as a process would create them."""
    wanted = [topic for topic in TOPICS if topic.name in set(names)]
    return [
        Planned(kafka.topic(topic.name), kafka.partitions, kafka.replication_factor, topic.configuration)
        for topic in wanted
    ]


def topics_table(topics: Sequence[Planned]) -> Table:
    """Return a table of topics for a person."""
    table = new_table("topic", "partitions", "replicas", "settings")
    table.columns[-1].justify = "left"
    for topic in topics:
        settings = ", ".join(f"{name}={value}" for name, value in topic.configuration.items())
        table.add_row(topic.name, str(topic.partitions), str(topic.replication_factor), settings)
    return table


def rights_table(accounts: Sequence[Account]) -> Table:
    """Return a table of accounts and their rights for a person."""
    table = new_table("process", "account", "on", "name", "operations")
    for column in table.columns:
        column.justify = "left"
    for account in accounts:
        for (kind, name), operations in _by_resource(account.rights):
            table.add_row(account.process, account.principal, kind, name, ", ".join(operations))
    return table


def acl_commands(accounts: Sequence[Account], kafka: KafkaSettings) -> list[str]:
    """Return a command of Kafka's own tool for each account and each set of operations."""
    login = "" if kafka.security_protocol == "PLAINTEXT" else " --command-config admin.properties"
    begin = f"kafka-acls.sh --bootstrap-server {shlex.quote(kafka.broker)}{login} --add"
    return [
        " ".join(
            [
                begin,
                f"--allow-principal {shlex.quote(account.principal)}",
                *(f"--operation {operation}" for operation in operations),
                *(f"--{kind} {shlex.quote(name)}" for name in names),
            ]
        )
        for account in accounts
        for (kind, operations), names in _by_operations(account.rights)
    ]


def strimzi(topics: Sequence[Planned], accounts: Sequence[Account], cluster: str, *, by_certificate: bool) -> list[Any]:
    """Return the resources of Strimzi.

    Args:
        cluster: the name of the resource Kafka.
        by_certificate: whether the accounts come in by certificates; else by SCRAM-SHA-512.
    """
    labels = {"strimzi.io/cluster": cluster}
    return [_kafka_topic(topic, labels) for topic in topics] + [
        _kafka_user(account, labels, "tls" if by_certificate else SCRAM) for account in accounts
    ]


def _kafka_topic(topic: Planned, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": STRIMZI,
        "kind": "KafkaTopic",
        "metadata": {"name": NO_NAME.sub("-", topic.name.lower()).strip("-."), "labels": labels},
        "spec": {
            "topicName": topic.name,
            "partitions": topic.partitions,
            "replicas": topic.replication_factor,
            "config": topic.configuration,
        },
    }


def _kafka_user(account: Account, labels: dict[str, str], authentication: str) -> dict[str, Any]:
    name = account.principal.removeprefix("User:").removeprefix("CN=")
    if NO_NAME.search(name):
        raise InvalidSettings(f"--account {account.principal}: Strimzi takes lower letters, digits, dots and hyphens")
    rules = [
        {"resource": {"type": kind, "name": on, "patternType": "literal"}, "operations": operations}
        for (kind, on), operations in _by_resource(account.rights)
    ]
    return {
        "apiVersion": STRIMZI,
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": labels},
        "spec": {"authentication": {"type": authentication}, "authorization": {"type": "simple", "acls": rules}},
    }


def _by_resource(rights: Sequence[Right]) -> list[tuple[tuple[str, str], list[str]]]:
    """Return the operations on each topic and group."""
    found: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        found.setdefault((right.kind, right.name), []).append(right.operation)
    return list(found.items())


def _by_operations(rights: Sequence[Right]) -> list[tuple[tuple[str, tuple[str, ...]], list[str]]]:
    """Return the topics or groups that have the same operations."""

    def operations(item: tuple[tuple[str, str], list[str]]) -> tuple[str, tuple[str, ...]]:
        return item[0][0], tuple(item[1])

    resources = sorted(_by_resource(rights), key=operations, reverse=True)
    return [(key, [name for (_, name), _ in some]) for key, some in groupby(resources, operations)]


def as_yaml(value: Any, indent: int = 0) -> list[str]:
    """Return the lines of YAML that say a value made of dictionaries, lists, text and numbers."""
    space = " " * indent
    if isinstance(value, dict):
        lines = []
        for name, of in value.items():
            lines += (
                [f"{space}{name}:", *as_yaml(of, indent + 2)]
                if isinstance(of, dict | list)
                else [f"{space}{name}: {_scalar(of)}"]
            )
        return lines
    lines = []
    for of in value:
        first, *rest = as_yaml(of, indent + 2) if isinstance(of, dict) else [f"{space}  {_scalar(of)}"]
        lines += [f"{space}- {first.lstrip()}", *rest]
    return lines


def _scalar(value: str | int) -> str:
    """Return a number as it is, and text in quotes, which YAML reads as JSON does."""
    return msgspec.json.encode(value).decode()
