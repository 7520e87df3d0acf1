"""What an operator runs before and beside the worker: `check` and `topics`. Every finding says how to mend it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.kafka.inspection import Inspection, InspectionError
from worker.app import analyst_of, connection_of, decider_of, topics_of
from worker.flow.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from typing import TextIO

    from worker.adapters.kafka.inspection import TopicFacts
    from worker.domain.decider import Topics
    from worker.settings import Settings

OK, CHECK_FAILED = 0, 3
PARTITIONS = 16  # of the input: the most workers that can share the work
OUTPUT_PARTITIONS = 8
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
    facts = await inspection.topics(_names(wanted))
    for name in _names(wanted):
        yield _topic(name, facts.get(name), output=name != wanted.submitted)
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


def topics(settings: Settings, out: TextIO, *, create: bool) -> int:
    """Print the topics that are needed, or create those that are missing; returns the exit code."""
    if create:
        return asyncio.run(_create(settings, out))
    for name, partitions, size in _needed(topics_of(settings)):
        limit = f" --config max.message.bytes={size}" if size else ""
        print(f"kafka-topics.sh --create --if-not-exists --topic {name} --partitions {partitions}{limit}", file=out)
    return OK


async def _create(settings: Settings, out: TextIO) -> int:
    needed = _needed(topics_of(settings))
    try:
        async with Inspection(connection_of(settings)) as inspection:
            for name, partitions, size in needed:
                created = await inspection.create(name, partitions, size)
                print(f"{'created' if created else 'exists '}  {name}", file=out)
    except InspectionError as exc:
        print(f"FAIL  {exc}", file=out)
        return CHECK_FAILED
    return OK


def _names(topics: Topics) -> list[str]:
    return [topics.submitted, topics.approve, topics.review, topics.reject, topics.dead_letter]


def _needed(topics: Topics) -> list[tuple[str, int, int | None]]:
    """Name, partitions and max.message.bytes of each topic."""
    submitted, *outputs = _names(topics)
    return [(submitted, PARTITIONS, None), *((name, OUTPUT_PARTITIONS, OUTPUT_MESSAGE_BYTES) for name in outputs)]
