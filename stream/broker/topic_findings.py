"""What does not fit between a process and a broker's topics: rights that it lacks, settings that cannot work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec

from schemas.ecg_record import EcgRecord
from schemas.topics import LARGEST, TOPICS
from stream.settings import KafkaSettings

from .broker_facts import TopicFacts
from .needs import DESCRIBE_CONFIGS, Needs, Right


class WrongSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of a topic that does not fit.

    Attributes:
        topic: by the broker's name.
        stops: whether nothing could be done with the topic. Else it is some messages, or a while.
        advice: what follows from it, and what to set.
    """

    topic: str
    setting: str
    found: str
    stops: bool
    advice: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.setting} of {self.topic} is {self.found}: {self.advice}"


class Findings(msgspec.Struct, kw_only=True):
    """What was found wrong, and what could not be checked.

    Attributes:
        principal: who was checked, as Kafka says it.
        missing_rights: those that it lacks.
        missing_topics: topics that are not there, by the broker's names.
        unseen_topics: topics that are not there, or that it may not see.
        wrong_settings: of topics that it reads or writes.
        unchecked: what could not be checked and why, in words.
    """

    principal: str
    missing_rights: list[Right] = []
    missing_topics: list[str] = []
    unseen_topics: list[str] = []
    wrong_settings: list[WrongSetting] = []
    unchecked: list[str] = []

    @property
    def fits(self) -> bool:
        """Whether nothing was found wrong."""
        return not (self.missing_rights or self.missing_topics or self.wrong_settings)


def principal_of(kafka: KafkaSettings) -> str:
    """Return who the broker takes us for, as far as we know."""
    if kafka.security_protocol.startswith("SASL"):
        return f"User:{kafka.sasl_username}" if kafka.sasl_username else "this account"
    return f"the owner of {kafka.tls_certificate_file}" if kafka.tls_certificate_file else "User:ANONYMOUS"


def missing_rights(
    wanted: Iterable[Right], topics: Mapping[str, TopicFacts], of_group: frozenset[str] | None
) -> list[Right]:
    """Return the rights that are lacking, as far as the broker says; that to see settings is not among them.

    Args:
        wanted: those that the process needs.
        topics: what the broker says of each.
        of_group: the operations that we may do with the group; None if that is not known.
    """

    def lacks(right: Right) -> bool:
        known = of_group if right.kind == "group" else topics[right.name].rights
        return known is not None and right.operation not in known

    return [right for right in wanted if right.operation != DESCRIBE_CONFIGS and lacks(right)]


def wrong_settings(
    name: str, kafka: KafkaSettings, found: Mapping[str, str], facts: TopicFacts, *, writes: bool
) -> list[WrongSetting]:
    """Return what does not fit of a topic's settings.

    Args:
        name: of the topic, by the contract.
        kafka: settings of the broker.
        found: the topic's settings, as far as the broker says.
        facts: how many replicas it has.
        writes: whether we write to it.
    """
    topic = kafka.topic(name)
    wrong = _of_policy(topic, found.get("cleanup.policy", "delete"))
    if writes:
        wrong += _of_size(topic, name, int(found.get("max.message.bytes") or 2**31))
        wrong += _of_replicas(topic, int(found.get("min.insync.replicas") or 1), facts)
    return wrong


def _of_policy(topic: str, policy: str) -> list[WrongSetting]:
    if "compact" not in policy:
        return []
    advice = "Kafka takes away all messages of a patient but the newest: set delete"
    return [WrongSetting(topic=topic, setting="cleanup.policy", found=policy, stops=True, advice=advice)]


def _of_size(topic: str, name: str, size: int) -> list[WrongSetting]:
    described = {one.name: one for one in TOPICS}.get(name)
    largest = LARGEST.get(name, 0)
    if size >= largest or described is None:
        return []
    is_ecg = described.content is EcgRecord
    advice = f"{'an ECG' if is_ecg else 'what we write'} may have {largest} bytes, and a larger one is refused: set "
    advice += str(described.max_message_bytes or largest)
    return [WrongSetting(topic=topic, setting="max.message.bytes", found=str(size), stops=not is_ecg, advice=advice)]


def _of_replicas(topic: str, asked: int, facts: TopicFacts) -> list[WrongSetting]:
    if facts.in_sync >= asked or not facts.replicas:
        return []
    stops = facts.replicas < asked
    count = facts.replicas if stops else facts.in_sync
    counted = f"a partition has {count} replica{'' if count == 1 else 's'}{'' if stops else ' in sync'}"
    way = (
        f"set {facts.replicas} at most, or give it more replicas" if stops else "start the brokers that hold the others"
    )
    advice = f"{counted}, so it takes no message: {way}"
    return [WrongSetting(topic=topic, setting="min.insync.replicas", found=str(asked), stops=stops, advice=advice)]


def refusal(kafka: KafkaSettings, needs: Needs, findings: Findings) -> str | None:
    """Return why a process cannot work, with all that is wrong, in one sentence; None if it can."""
    parts = [_of_rights(needs, findings)] if findings.missing_rights else []
    if stopping := [str(wrong) for wrong in findings.wrong_settings if wrong.stops]:
        parts.append(f"has topics that cannot work: {'; '.join(stopping)}")
    return f"Kafka at {kafka.broker} {'; '.join(parts)}" if parts else None


def _of_rights(needs: Needs, findings: Findings) -> str:
    of_whom = "" if findings.principal == f"User:{needs.process}" else f" --account {findings.principal}"
    advice = []
    if any(right.operation != "Create" for right in findings.missing_rights):
        unseen = (
            " (without a right on a topic Kafka does not say whether it is there)" if findings.unseen_topics else ""
        )
        advice.append(f"`cardiacnets topics --for {needs.process}{of_whom} --acls` prints what gives it{unseen}")
    if absent := ", ".join(findings.missing_topics):
        advice.append(f"there is no topic {absent}, and an account that may makes it by `cardiacnets topics --create`")
    return f"refuses {findings.principal} {in_words(findings.missing_rights)}: {', and '.join(advice)}"


def in_words(rights: Sequence[Right]) -> str:
    """Return rights in words, those of one operation together."""

    def operation(right: Right) -> tuple[str, str]:
        return right.operation, right.kind

    grouped = [(key, [right.name for right in some]) for key, some in groupby(rights, operation)]
    return ", and ".join(
        f"{operation} on the {kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"
        for (operation, kind), names in grouped
    )
