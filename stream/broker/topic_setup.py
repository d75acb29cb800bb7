"""Topics are created and checked for several kinds of processes, as an administrator does before they start."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings, Settings

from .broker_facts import topic_facts
from .clients import administrator, create_topics
from .needs import Needs, Right
from .start_check import find
from .topic_findings import Findings


async def create_missing(kafka: KafkaSettings, needs: Sequence[Needs]) -> list[str]:
    """Create the topics that are missing, and return the broker's names of them.

    Raises:
        DeploymentError: the broker cannot be reached, or does not create them.
    """
    names = _topics(needs)
    async with administrator(kafka) as admin:
        facts = await topic_facts(admin, list(map(kafka.topic, names)))
        missing = [name for name in names if not facts[kafka.topic(name)].is_there]
        if refused := await create_topics(admin, kafka, missing):
            topics = ", ".join(map(kafka.topic, refused))
            raise DeploymentError(f"Kafka at {kafka.broker} gives this account no right to create {topics}")
    return list(map(kafka.topic, missing))


async def inspect(settings: Settings, needs: Sequence[Needs]) -> Findings:
    """Return what does not fit of the topics and, for a single kind of process, of the rights of our account.

    Raises:
        DeploymentError: the broker cannot be reached.
    """
    one = needs[0] if len(needs) == 1 else None
    whole = one or Needs("all", writes=_topics(needs))
    async with administrator(settings.kafka) as admin:
        findings = await find(admin, settings.kafka, whole, whole.group(settings))
    if one is None:  # whoever checks for all of them has to see the topics, and no more
        findings.missing_rights = [Right("topic", name, "Describe") for name in findings.unseen_topics]
    return findings


def _topics(needs: Sequence[Needs]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for one in needs for name in one.topics))
