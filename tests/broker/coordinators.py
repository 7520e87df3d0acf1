"""Where the coordinators of groups and of transactions are, and how to move one while its broker lives on.

A coordinator is the leader of one partition of an internal topic. Leadership moves when the leader is taken out of the
partition's replicas for a moment; it then stays, because a former leader comes back as a follower.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.admin import AIOKafkaAdminClient

MOVE_SECONDS = 30
ASK_MILLISECONDS = 10_000


class Coordinated(Enum):
    """What is coordinated: the topic that keeps it, and Kafka's number for the question."""

    GROUP = ("__consumer_offsets", 0)
    TRANSACTION = ("__transaction_state", 1)

    @property
    def topic(self) -> str:
        return self.value[0]

    @property
    def number(self) -> int:
        return self.value[1]


async def find(admin: AIOKafkaAdminClient, name: str, kind: Coordinated) -> int:
    """The broker that coordinates this group or transactional id."""
    node: int = await admin.find_coordinator(name, kind.number)
    return node


async def move(admin: AIOKafkaAdminClient, name: str, kind: Coordinated) -> int:
    """Give it to another broker, which needs replicas in sync; returns that broker once clients see it."""
    before = await find(admin, name, kind)
    partition = await _partition(admin, name, kind)
    replicas = partition["replicas"]
    others = [node for node in replicas if node != before]
    assert others, f"{kind.topic}/{partition['partition']} has no replica but the one on broker {before}"
    await _reassign(admin, kind.topic, partition["partition"], others)

    async def moved() -> int | None:
        try:
            now = await find(admin, name, kind)
        except KafkaError:
            return None
        return now if now != before else None

    after = await wait_until(f"the coordinator of {name} leaves broker {before}", moved, MOVE_SECONDS)
    await _reassign(admin, kind.topic, partition["partition"], [*others, before])
    return after


async def _partition(admin: AIOKafkaAdminClient, name: str, kind: Coordinated) -> dict[str, Any]:
    """The partition that keeps this name, as its topic's metadata describe it."""
    [described] = await admin.describe_topics([kind.topic])
    partitions: list[dict[str, Any]] = described["partitions"]
    wanted = _java_hash(name) % len(partitions)
    return next(partition for partition in partitions if partition["partition"] == wanted)


def _java_hash(name: str) -> int:
    """The size of Java's String.hashCode, by which Kafka chooses the partition; for names in ASCII."""
    found = 0
    for letter in name.encode("ascii"):
        found = (31 * found + letter) % (1 << 32)
    return 0 if found == 1 << 31 else min(found, (1 << 32) - found)  # Kafka takes 0 for what has no absolute value


async def _reassign(admin: AIOKafkaAdminClient, topic: str, partition: int, replicas: Sequence[int]) -> None:
    request = AlterPartitionReassignmentsRequest(ASK_MILLISECONDS, [(topic, [(partition, list(replicas), {})], {})], {})
    response = await admin._send_to_controller(request)
    codes = [response.error_code, *(each[1] for answer in response.responses for each in answer[1])]
    for code in codes:
        if code:
            raise for_code(code)(f"{topic}/{partition} to {replicas}: {response}")
