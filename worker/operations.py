"""What an operator runs before and beside the worker: `check` and `topics`. Every finding says how to mend it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from worker.adapters.kafka.inspection import CLEANUP_POLICY, COMPACT, MAX_MESSAGE_BYTES, Inspection, InspectionError
from worker.app import analyst_of, connection_of
from worker.app_policies import decider_of, topics_of
from worker.app_telemetry import require_tracing
from worker.flow.faults import FaultKind
from worker.flow.replay_ledger import ledger_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
    from typing import TextIO

    from worker.adapters.kafka.inspection import TopicFacts
    from worker.adapters.kafka.rights import Right
    from worker.domain.decider import Topics
    from worker.settings import Settings

OK, CHECK_FAILED = 0, 3
PARTITIONS = 16  # of the input: the most workers that can share the work
OUTPUT_PARTITIONS = 8
LEDGER_PARTITIONS = 1  # what replays remember: little, and written by one at a time
WEBHOOK_CONFIGS = {
    CLEANUP_POLICY: "delete",  # events have no key, which a compacted topic refuses
    "retention.ms": str(24 * 60 * 60 * 1000),  # ten minutes are read again at most; a day is for people who look
    "message.timestamp.type": "LogAppendTime",  # one clock for what replicas with clocks of their own write and read
}
OUTPUT_MESSAGE_BYTES = 2 << 20  # a decision echoes the event's metadata; a dead letter adds headers to its record


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `check`. `mend` is empty where all is well."""

    subject: str
    fact: str
    mend: str = ""


def check(settings: Settings, out: TextIO) -> int:
    """Try policies, brokers, topics, permissions and the API; returns the exit code. Raises SettingsError."""
    _quieten()
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
    require_tracing(settings)
    policy = decider.policies[decider.default]
    yield Finding("policy", f"{policy.name} {policy.digest}")
    try:
        async with Inspection(connection_of(settings)) as inspection:
            async for finding in _kafka(settings, inspection):
                yield finding
    except InspectionError as exc:
        mend = exc.mend or "Check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_SSL_* and KAFKA_SASL_* settings."
        yield Finding("kafka", str(exc), mend)
    yield await _api(settings)


async def _kafka(settings: Settings, inspection: Inspection) -> AsyncIterator[Finding]:
    wanted, group = topics_of(settings), settings.kafka_group_id
    submitted, *outputs = _names(wanted)
    internal = [settings.topic_webhook] if settings.webhook_url is not None else []
    lacking = await inspection.missing_rights(group, [submitted, *internal], [*outputs, *internal])
    for right in lacking:
        yield _not_granted(right, settings)
    refused = {right.name for right in lacking if right.resource == "topic"}
    facts = await inspection.topics([submitted, *outputs, *internal, *_ledgers(wanted)])
    for name in (submitted, *outputs):
        if name not in refused:
            yield _topic(name, facts.get(name), output=name != submitted)
    for name in internal:
        if name not in refused:
            needed = facts[submitted].partitions if submitted in facts else 0
            yield _internal(name, facts.get(name), needed)
    for name in _ledgers(wanted):
        yield _ledger(name, facts.get(name))
    if submitted not in refused and not any(right.resource == "group" for right in lacking):
        readable = inspection.group_readable(group, submitted)
        yield await _asked(f"group {group}", readable, "Is the group's coordinator up?")
    yield await _guarantee(settings, inspection)


async def _guarantee(settings: Settings, inspection: Inspection) -> Finding:
    """Try to write in the way that GUARANTEE asks for."""
    subject = "transactions" if settings.guarantee == "exactly_once" else "idempotent writes"
    try:
        if settings.guarantee == "exactly_once":
            group, topic = settings.kafka_group_id, settings.topic_submitted
            lacking = await inspection.transactions(group, topic, settings.kafka_transaction_timeout_seconds)
        else:
            lacking = next(iter(await inspection.missing_idempotence()), None)
    except InspectionError as exc:
        return Finding(subject, str(exc), "Set GUARANTEE=at_least_once for brokers without transactions.")
    return Finding(subject, "usable") if lacking is None else _not_granted(lacking, settings)


def _not_granted(right: Right, settings: Settings) -> Finding:
    """Name a right that is missing, and the administrator's command that grants it."""
    return Finding(str(right), f"{right.operation} is not granted", right.granted_by(settings.kafka_sasl_username))


def _topic(name: str, facts: TopicFacts | None, *, output: bool) -> Finding:
    subject = f"topic {name}"
    if facts is None:
        return Finding(subject, "not found", "Create it: track-intake topics create.")
    text = f"{facts.partitions} partitions, {facts.replicas} replicas"
    limit = facts.max_message_bytes
    if output and limit is not None and limit < OUTPUT_MESSAGE_BYTES:
        mend = (
            f"Set its max.message.bytes to {OUTPUT_MESSAGE_BYTES}: decisions echo metadata, dead letters grow headers."
        )
        return Finding(subject, f"{text}, max.message.bytes {limit}", mend)
    if output and limit is None:
        text += ", max.message.bytes is not told without DescribeConfigs"
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


def _internal(name: str, facts: TopicFacts | None, needed: int) -> Finding:
    """Judge the topic of webhooks: an event goes to the number of the input's partition that it is about."""
    found = _topic(name, facts, output=False)
    if facts is not None and facts.cleanup_policy == COMPACT:
        return Finding(
            found.subject, f"{found.fact}, compacted", f"Set its {CLEANUP_POLICY}=delete: events have no key."
        )
    if facts is None or facts.partitions >= needed:
        return found
    mend = f"Give it {needed} partitions, as many as the input has: events for the others are refused."
    return Finding(found.subject, found.fact, mend)


async def _asked(subject: str, question: Awaitable[None], mend: str) -> Finding:
    try:
        await question
    except InspectionError as exc:
        return Finding(subject, str(exc), mend)
    return Finding(subject, "usable")


_API_MEND = "The API answers, but not as it should: try again, and if it lasts, ask its operator."
_API_MENDS: Mapping[FaultKind, str] = {
    FaultKind.CONNECT_FAILED: "Check HS_BASE_URL, then the way: network policy, firewall, HTTPS_PROXY, HS_CA_FILE.",
    FaultKind.KEY_REFUSED: "Set a valid HS_API_KEY.",
    FaultKind.CREDITS_EXHAUSTED: "Buy credits; a worker that runs goes on by itself.",
    FaultKind.CDN_REFUSED: "The CDN before the API refuses this client: look at the egress address and proxies.",
    FaultKind.MISCONFIGURED: "HS_BASE_URL or HS_API_GENERATION does not fit the API.",
    FaultKind.THROTTLED: "The quota is used up for now: somebody uses the key. Try again in a minute.",
}


async def _api(settings: Settings) -> Finding:
    analyst = analyst_of(settings)
    try:
        fault = await analyst.probe()
    finally:
        await analyst.close()
    subject = f"API at {settings.hs_base_url}"
    if fault is None:
        return Finding(subject, "reached, the key is accepted")
    return Finding(subject, f"{fault.kind}: {fault.detail}", _API_MENDS.get(fault.kind, _API_MEND))


@dataclass(frozen=True, slots=True)
class _Needed:
    """A topic as it should be created."""

    name: str
    partitions: int
    configs: Mapping[str, str]


def topics(settings: Settings, out: TextIO, *, create: bool, replay: bool) -> int:
    """Print the topics that are needed (`replay`: those of replays, too), or create them; returns the exit code."""
    needed = _needed(topics_of(settings), replay=replay)
    if settings.webhook_url is not None:
        needed.append(_Needed(settings.topic_webhook, PARTITIONS, WEBHOOK_CONFIGS))
    if create:
        _quieten()
        return asyncio.run(_create(settings, needed, out))
    servers = quote(settings.kafka_bootstrap_servers)
    for topic in needed:
        configs = "".join(f" --config {name}={value}" for name, value in topic.configs.items())
        made = f"--topic {topic.name} --partitions {topic.partitions}{configs}"
        print(f"kafka-topics.sh --bootstrap-server {servers} --create --if-not-exists {made}", file=out)
    return OK


def _quieten() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what went wrong is said once, by us


async def _create(settings: Settings, needed: Sequence[_Needed], out: TextIO) -> int:
    try:
        async with Inspection(connection_of(settings)) as inspection:
            for topic in needed:
                partitions = topic.partitions
                if topic.name == settings.topic_webhook:
                    partitions = await _of_input(settings.topic_submitted, inspection)
                created = await inspection.create(topic.name, partitions, topic.configs)
                print(f"{'created' if created else 'exists '}  {topic.name}", file=out)
    except InspectionError as exc:
        print(f"FAIL  {exc}", file=out)
        return CHECK_FAILED
    return OK


async def _of_input(name: str, inspection: Inspection) -> int:
    """How many partitions the input has; one that was created a moment ago may not be described yet."""
    found = (await inspection.topics([name])).get(name)
    return PARTITIONS if found is None else found.partitions


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
