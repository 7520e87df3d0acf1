"""What an operator runs before and beside the worker: `check` and `topics`. Every finding says how to mend it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.kafka.inspection import CLEANUP_POLICY, COMPACT, MAX_MESSAGE_BYTES, Inspection, InspectionError
from worker.app import analyst_of, connection_of, decider_of, topics_of
from worker.flow.faults import FAULTS
from worker.flow.replay_ledger import ledger_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
    from typing import TextIO

    from worker.adapters.kafka.inspection import TopicFacts
    from worker.domain.decider import Topics
    from worker.settings import Settings

OK, CHECK_FAILED = 0, 3
PARTITIONS = 16  # of the input: the most workers that can share the work
OUTPUT_PARTITIONS = 8
LEDGER_PARTITIONS = 1  # what replays remember: little, and written by one at a time
OUTPUT_MESSAGE_BYTES = 2 << 20  # a decision echoes the event's metadata; a dead letter adds headers to its record


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `check`. `mend` is empty where all is well."""

    subject: str
    fact: str
    mend: str = ""


def check(settings: Settings, out: TextIO) -> int:
    """Try policies, brokers, topics, permissions and the API; returns the exit code."""
    return asyncio.run(_check(settings, out))


async def _check(settings: Settings, out: TextIO) -> int:
    failed = 0
    async for finding in _findings(settings):
        print(f"{'FAIL' if finding.mend else 'ok  '}  {finding.subject}: {finding.fact}", file=out)
        if finding.mend:
            failed += 1
            print(f"      {finding.mend}", file=out)
    print(f"{failed} to mend" if failed else "ready to run", file=out)
    return CHECK_FAILED if failed else OK


async def _findings(settings: Settings) -> AsyncIterator[Finding]:
    decider = decider_of(settings)
    policy = decider.policies[decider.default]
    yield Finding("policy", f"{policy.name} {policy.digest}")
    try:
        async with Inspection(connection_of(settings)) as inspection:
            async for finding in _kafka(settings, inspection):
                yield finding
    except InspectionError as exc:
        yield Finding("kafka", str(exc), "Check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_SSL_* and KAFKA_SASL_* settings.")
    yield await _api(settings)


async def _kafka(settings: Settings, inspection: Inspection) -> AsyncIterator[Finding]:
    wanted = topics_of(settings)
    facts = await inspection.topics([*_names(wanted), *_ledgers(wanted)])
    for name in _names(wanted):
        yield _topic(name, facts.get(name), output=name != wanted.submitted)
    for name in _ledgers(wanted):
        yield _ledger(name, facts.get(name))
    yield await _asked(
        f"group {settings.kafka_group_id}",
        inspection.group_readable(settings.kafka_group_id, wanted.submitted),
        "Grant READ and DESCRIBE on the group.",
    )
    if settings.guarantee == "exactly_once":
        seconds = settings.kafka_transaction_timeout_seconds
        yield await _asked(
            "transactions",
            inspection.transactions(settings.kafka_group_id, wanted.submitted, seconds),
            f"Grant WRITE and DESCRIBE on transactional ids that begin with {settings.kafka_group_id}-, "
            "or set GUARANTEE=at_least_once for brokers without transactions.",
        )


def _topic(name: str, facts: TopicFacts | None, *, output: bool) -> Finding:
    subject = f"topic {name}"
    if facts is None:
        return Finding(subject, "not found", "Create it (track-intake topics create), or grant DESCRIBE on it.")
    text = f"{facts.partitions} partitions, {facts.replicas} replicas"
    limit = facts.max_message_bytes
    if output and limit is not None and limit < OUTPUT_MESSAGE_BYTES:
        mend = (
            f"Set its max.message.bytes to {OUTPUT_MESSAGE_BYTES}: decisions echo metadata, dead letters grow headers."
        )
        return Finding(subject, f"{text}, max.message.bytes {limit}", mend)
    return Finding(subject, text)


def _ledger(name: str, facts: TopicFacts | None) -> Finding:
    """Judge a topic that only replays need, and that the first of them creates."""
    subject = f"topic {name}"
    if facts is None:
        return Finding(subject, "not there, or not visible; not needed before the first replay")
    text = f"{facts.partitions} partitions, {facts.replicas} replicas, cleanup.policy {facts.cleanup_policy or '?'}"
    if facts.cleanup_policy not in {None, COMPACT}:
        mend = f"Set its {CLEANUP_POLICY}={COMPACT}: it would forget what was replayed, and replays refuse it."
        return Finding(subject, text, mend)
    return Finding(subject, text)


async def _asked(subject: str, question: Awaitable[None], mend: str) -> Finding:
    try:
        await question
    except InspectionError as exc:
        return Finding(subject, str(exc), mend)
    return Finding(subject, "usable")


async def _api(settings: Settings) -> Finding:
    analyst = analyst_of(settings)
    try:
        fault = await analyst.probe()
    finally:
        await analyst.close()
    subject = f"API at {settings.hs_base_url}"
    if fault is None:
        return Finding(subject, "reached, the key is accepted")
    return Finding(subject, f"{fault.kind}: {fault.detail}", f"Why this matters: {FAULTS[fault.kind].reason}.")


@dataclass(frozen=True, slots=True)
class _Needed:
    """A topic as it should be created."""

    name: str
    partitions: int
    configs: Mapping[str, str]


def topics(settings: Settings, out: TextIO, *, create: bool, replay: bool) -> int:
    """Print the topics that are needed (`replay`: those of replays, too), or create them; returns the exit code."""
    needed = _needed(topics_of(settings), replay=replay)
    if create:
        return asyncio.run(_create(settings, needed, out))
    for topic in needed:
        configs = "".join(f" --config {name}={value}" for name, value in topic.configs.items())
        made = f"--topic {topic.name} --partitions {topic.partitions}{configs}"
        print(f"kafka-topics.sh --create --if-not-exists {made}", file=out)
    return OK


async def _create(settings: Settings, needed: Sequence[_Needed], out: TextIO) -> int:
    try:
        async with Inspection(connection_of(settings)) as inspection:
            for topic in needed:
                created = await inspection.create(topic.name, topic.partitions, topic.configs)
                print(f"{'created' if created else 'exists '}  {topic.name}", file=out)
    except InspectionError as exc:
        print(f"FAIL  {exc}", file=out)
        return CHECK_FAILED
    return OK


def _names(topics: Topics) -> list[str]:
    return [topics.submitted, topics.approve, topics.review, topics.reject, topics.dead_letter]


def _ledgers(topics: Topics) -> list[str]:
    return [ledger_topic(topics.dead_letter), ledger_topic(topics.review)]


def _needed(topics: Topics, *, replay: bool) -> list[_Needed]:
    submitted, *outputs = _names(topics)
    large, kept = {MAX_MESSAGE_BYTES: str(OUTPUT_MESSAGE_BYTES)}, {CLEANUP_POLICY: COMPACT}
    return [
        _Needed(submitted, PARTITIONS, {}),
        *(_Needed(name, OUTPUT_PARTITIONS, large) for name in outputs),
        *(_Needed(name, LEDGER_PARTITIONS, kept) for name in _ledgers(topics) if replay),
    ]
