"""`cardiacnets topics`: the Kafka topics, their settings, and the least rights of each kind of process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import InvalidSettings
from stream.plain_text import print_plain, shown_in_line

from .options import Broker, Json, settings_with
from .output import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.broker.needs import Needs
    from stream.broker.topic_findings import Findings
    from stream.settings import Settings

WIDTH = 1000
"""No name is cut off, also where the terminal is narrow or no terminal: lines are as long as they are."""

Process = Literal["worker", "cmr-worker", "alert-keeper", "dashboard", "collect", "device", "archive", "subscriber"]

ForOption = Annotated[
    Process | None,
    typer.Option("--for", help="One kind of process alone; device and archive publish, subscriber shows answers."),
]
AccountOption = Annotated[
    str | None,
    typer.Option(metavar="PRINCIPAL", help="Its account, such as User:ward-7; with --for. User:PROCESS by default."),
]
AclsOption = Annotated[bool, typer.Option("--acls", help="Print the rights as commands of kafka-acls.sh.")]
StrimziOption = Annotated[
    str | None,
    typer.Option(
        metavar="CLUSTER", help="Print Strimzi's KafkaTopic and KafkaUser resources of this cluster, as YAML."
    ),
]
CreateOption = Annotated[bool, typer.Option("--create", help="Create the topics that are missing on the broker.")]
CheckOption = Annotated[
    bool,
    typer.Option("--check", help="Check topics and settings on the broker; with --for, the rights of our account too."),
]


def topics_command(
    broker: Broker = None,
    process: ForOption = None,
    account: AccountOption = None,
    acls: AclsOption = False,
    strimzi: StrimziOption = None,
    create: CreateOption = False,
    check: CheckOption = False,
    as_json: Json = False,
) -> None:
    """Print the Kafka topics, their settings, and the least rights of each kind of process; create or check them.

    Topics and groups are named with CARDIACNETS_TOPIC_PREFIX, partitions and replicas are those of the settings. What
    is printed needs no broker. Exit code 1: --check has found something that does not fit.
    """
    from stream.broker.needs import NEEDS

    if sum((acls, strimzi is not None, create or check, as_json and not (create or check))) > 1:
        raise InvalidSettings("say one of --acls, --strimzi, --json, or --create and --check")
    if account and process is None:
        raise InvalidSettings("--account is the account of one process: say which by --for")
    settings, needs = settings_with(broker=broker), [NEEDS[process]] if process else [*NEEDS.values()]
    if create or check:
        _on_broker(settings, needs, creates=create, checks=check, as_json=as_json)
    else:
        _print(settings, needs, account, acls=acls, strimzi=strimzi, as_json=as_json)


def _print(
    settings: Settings, needs: Sequence[Needs], account: str | None, *, acls: bool, strimzi: str | None, as_json: bool
) -> None:
    from stream.plain_console import PlainConsole

    from . import topics_output as output

    accounts = [output.account_of(one, settings, account) for one in needs]
    topics = output.planned(settings.kafka, [name for one in needs for name in one.topics])
    if as_json:
        print_json({"topics": topics, "accounts": accounts})
    elif acls:
        for command in output.acl_commands(accounts, settings.kafka):
            print_plain(command)
    elif strimzi is not None:
        by_certificate = settings.kafka.security_protocol == "SSL"
        for resource in output.strimzi(topics, accounts, strimzi, by_certificate=by_certificate):
            print_plain("\n".join(["---", *output.as_yaml(resource)]))
    else:
        console = PlainConsole(width=WIDTH)
        console.print(output.topics_table(topics))
        console.print()
        console.print(output.rights_table(accounts))


def _on_broker(settings: Settings, needs: Sequence[Needs], *, creates: bool, checks: bool, as_json: bool) -> None:
    import asyncio

    from stream.broker.topic_setup import create_missing, inspect

    created = asyncio.run(create_missing(settings.kafka, needs)) if creates else []
    findings = asyncio.run(inspect(settings, needs)) if checks else None
    if as_json:
        print_json({"created": created, "findings": findings})
    else:
        if creates:
            print_plain(f"created {', '.join(created)}" if created else "every topic was there")
        if findings:
            _tell(findings, settings)
    if findings and not findings.fits:
        raise SystemExit(1)


def _tell(findings: Findings, settings: Settings) -> None:
    from stream.broker.topic_findings import in_words

    for topic in findings.missing_topics:
        print_plain(f"there is no topic {topic}: --create makes it")
    for right in findings.missing_rights:
        print_plain(f"{findings.principal} has no right {in_words([right])}")
    for wrong in findings.wrong_settings:
        print_plain(shown_in_line(str(wrong)))
    for reason in findings.unchecked:
        say(shown_in_line(f"not checked: {reason}"))
    if findings.fits:
        print_plain(f"all fits at {settings.kafka.broker}")
