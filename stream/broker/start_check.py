"""What a process needs of Kafka is checked at its start, all at once: its topics, its rights, the topics' settings.

What the broker does not say, since it is another broker or an old one, or since we may not ask, is logged, and the
process goes on. A right that is withdrawn later ends the process then (`refusals.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from schemas.errors import DeploymentError
from stream.settings import KafkaSettings

from .broker_facts import TopicFacts, group_rights, topic_facts, topic_settings
from .clients import administrator, create_topics
from .needs import DESCRIBE_CONFIGS, Needs, Right
from .topic_findings import Findings, missing_rights, principal_of, refusal, wrong_settings

COORDINATOR_S = 5.0
"""How long the coordinator of a group may not be known yet: a new cluster has to make it first."""
SEEN_S = 5.0
"""How long a topic may not be seen yet by the node that we ask, though it was just made by another."""
AGAIN_S = 0.2

log = structlog.get_logger(__name__)


async def ready_topics(kafka: KafkaSettings, needs: Needs, group: str | None = None) -> None:
    """Create the topics of a process that are missing, and check that it can work with all of them.

    Args:
        kafka: settings of the broker.
        needs: of the process.
        group: the broker's name of its consumer group.

    Raises:
        DeploymentError: the broker cannot be reached, or the process lacks something; the message says all of it.
    """
    async with administrator(kafka) as admin:
        names = list(map(kafka.topic, needs.topics))
        absent = [name for name, fact in (await topic_facts(admin, names)).items() if fact.is_there is False]
        refused = await create_topics(admin, kafka, list(map(kafka.name_of, absent)))
        await _are_seen(admin, [name for name in absent if kafka.name_of(name) not in refused])
        findings = await find(admin, kafka, needs, group)
    findings.missing_rights += [Right("topic", kafka.topic(name), "Create") for name in refused]
    tell(kafka, needs, findings)


def tell(kafka: KafkaSettings, needs: Needs, findings: Findings) -> None:
    """Log what could not be checked, and what is no reason to end.

    Raises:
        DeploymentError: the process cannot work; the message says all that it lacks.
    """
    for reason in findings.unchecked:
        log.info("not_checked", reason=reason)
    for wrong in findings.wrong_settings:
        if not wrong.stops:
            log.warning("topic_setting", reason=str(wrong))
    if sentence := refusal(kafka, needs, findings):
        raise DeploymentError(sentence)


async def find(admin: AIOKafkaAdminClient, kafka: KafkaSettings, needs: Needs, group: str | None = None) -> Findings:
    """Return what a process lacks, and what could not be checked."""
    findings = Findings(principal=principal_of(kafka))
    facts = await topic_facts(admin, list(map(kafka.topic, needs.topics)))
    wanted = needs.rights(kafka, group)
    of_group = await _rights_on(admin, group, findings) if group else None
    findings.missing_rights = missing_rights(wanted, facts, of_group)
    findings.missing_topics = [name for name, fact in facts.items() if fact.is_there is False]
    findings.unseen_topics = [name for name, fact in facts.items() if fact.is_there is None]
    if any(fact.rights is None for fact in facts.values()):
        findings.unchecked.append("the rights on topics: the broker does not say them")
    seen = [name for name in needs.kept if facts[kafka.topic(name)].is_there]
    await _find_settings(admin, kafka, needs, {name: facts[kafka.topic(name)] for name in seen}, findings)
    return findings


async def _are_seen(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Return when the broker sees topics that were just made."""
    end = time.monotonic() + SEEN_S
    while names and time.monotonic() < end:
        if all(fact.replicas for fact in (await topic_facts(admin, names)).values()):
            return
        await asyncio.sleep(AGAIN_S)


async def _rights_on(admin: AIOKafkaAdminClient, group: str, findings: Findings) -> frozenset[str] | None:
    """Return what we may do with the group; None, with the reason among the findings, where the broker does not say."""
    end = time.monotonic() + COORDINATOR_S
    while True:
        try:
            return await group_rights(admin, group)
        except GroupAuthorizationFailedError:
            return frozenset()
        except (KafkaError, NotImplementedError) as error:
            if not getattr(error, "retriable", False) or time.monotonic() > end:
                findings.unchecked.append(f"the rights on the group {group}: {error!r}")
                return None
        await asyncio.sleep(AGAIN_S)


async def _find_settings(
    admin: AIOKafkaAdminClient,
    kafka: KafkaSettings,
    needs: Needs,
    facts: Mapping[str, TopicFacts],
    findings: Findings,
) -> None:
    try:
        told = await topic_settings(admin, list(map(kafka.topic, facts)))
    except (KafkaError, NotImplementedError) as error:  # it is too old, or too busy
        findings.unchecked.append(f"the settings of the topics: {error!r}")
        return
    unsaid = {}
    for name, fact in facts.items():
        found = told.get(kafka.topic(name), KafkaError("no answer"))
        if isinstance(found, KafkaError):
            unsaid[kafka.topic(name)] = found
        else:
            findings.wrong_settings += wrong_settings(name, kafka, found, fact, writes=name in needs.writes)
    if unsaid:
        refused = all(isinstance(error, TopicAuthorizationFailedError) for error in unsaid.values())
        reason = (
            f"{findings.principal} has no right {DESCRIBE_CONFIGS} on them" if refused else repr([*unsaid.values()])
        )
        findings.unchecked.append(f"the settings of {', '.join(unsaid)}: {reason}")
