"""What a test sees of its topics and its group: everything is read from the broker, nothing from the worker."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tests.broker.kafka import administrator
from tests.broker.waiting import wait_until
from worker.adapters.kafka import cancellation
from worker.domain.record import Record
from worker.flow import commit_point

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from worker.flow.commit_point import CommitPoint

SETTLE_SECONDS = 20  # above the worker's transaction time-out: an abandoned transaction is aborted by then


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of one test's topics."""

    submitted: str
    approve: str
    review: str
    reject: str
    dead_letter: str

    @classmethod
    def of(cls, run: str) -> Topics:
        return cls(*(f"{run}-{name}" for name in ("submitted", "approve", "review", "reject", "dead-letter")))

    @property
    def outputs(self) -> tuple[str, ...]:
        return astuple(self)[1:]

    @property
    def environment(self) -> dict[str, str]:
        """The worker's settings for them."""
        return {
            "TOPIC_SUBMITTED": self.submitted,
            "TOPIC_APPROVE": self.approve,
            "TOPIC_REVIEW": self.review,
            "TOPIC_REJECT": self.reject,
            "TOPIC_DEAD_LETTER": self.dead_letter,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group as its coordinator describes it: partitions by member."""

    state: str
    members: dict[str, frozenset[int]]

    def stable(self, members: int, partitions: int) -> bool:
        """Whether so many members share so many partitions, with nobody joining or leaving."""
        owned = [partition for assigned in self.members.values() for partition in assigned]
        return self.state == "Stable" and len(self.members) == members and sorted(owned) == list(range(partitions))


async def describe_group(bootstrap_servers: str, group: str) -> Group:
    """Ask the group's coordinator."""
    async with administrator(bootstrap_servers) as admin:
        [response] = await admin.describe_consumer_groups([group])
    _, _, state, _, _, members, *_ = response.groups[0]
    return Group(state, {member[0]: _partitions(member[4]) for member in members})


def _partitions(assignment: bytes) -> frozenset[int]:
    if not assignment:  # the group is between two assignments
        return frozenset()
    return frozenset(tp.partition for tp in ConsumerProtocolMemberAssignment.decode(assignment).partitions())


async def commit_points(bootstrap_servers: str, group: str, topic: str) -> dict[int, CommitPoint]:
    """What the group has committed on the topic, by partition: the watermark and what is done above it."""
    async with administrator(bootstrap_servers) as admin:
        try:
            committed = await admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # a new cluster creates the offsets topic when first asked
            return {}
    return {
        tp.partition: commit_point.decode(stored.offset, stored.metadata)
        for tp, stored in committed.items()
        if tp.topic == topic
    }


@asynccontextmanager
async def reader(bootstrap_servers: str, isolation_level: str = "read_committed") -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer outside any group."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        isolation_level=isolation_level,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        try:
            await consumer.stop()
        except asyncio.CancelledError:
            if cancellation.is_ours():
                raise  # else it is aiokafka's own fetch task, and would hide why the test failed


async def read_all(bootstrap_servers: str, topics: Sequence[str]) -> list[Record]:
    """Every committed record of the topics, in offset order by partition, once no transaction is open on them."""
    ends = await wait_until(
        f"no transaction is open on {topics}", lambda: _settled_ends(bootstrap_servers, topics), SETTLE_SECONDS
    )
    async with reader(bootstrap_servers) as consumer:
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        return [record async for record in _until(consumer, ends)]


async def count_visible(bootstrap_servers: str, topics: Sequence[str]) -> int:
    """Offsets in use at read_committed, markers included: a cheap sign of progress, never a count of decisions."""
    return sum((await _ends(bootstrap_servers, topics, "read_committed")).values())


async def ends(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """The next offset of each partition of a topic, as it is now."""
    found = await _ends(bootstrap_servers, [topic], "read_uncommitted")
    return {tp.partition: end for tp, end in found.items()}


async def _settled_ends(bootstrap_servers: str, topics: Sequence[str]) -> dict[TopicPartition, int] | None:
    stable = await _ends(bootstrap_servers, topics, "read_committed")
    return stable if stable == await _ends(bootstrap_servers, topics, "read_uncommitted") else None


async def _ends(bootstrap_servers: str, topics: Sequence[str], isolation_level: str) -> dict[TopicPartition, int]:
    async with administrator(bootstrap_servers) as admin:
        described = await admin.describe_topics(list(topics))
    partitions = [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]
    async with reader(bootstrap_servers, isolation_level) as consumer:
        return dict(await consumer.end_offsets(partitions))


async def _until(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> AsyncIterator[Record]:
    while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            for read in batch:
                yield Record(
                    read.topic, read.partition, read.offset, read.timestamp, read.key, read.value, tuple(read.headers)
                )
