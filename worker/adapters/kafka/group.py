"""What Kafka knows of the group while no worker can be asked: its commit points, and who owns which partition."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code

from worker.flow.publication import Committed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping
    from types import TracebackType

    from worker.adapters.kafka.connection import Connection

ASK_SECONDS = 15.0


class GroupUnknownError(Exception):
    """The brokers do not tell. The text says what, and why."""


class GroupView:
    """Looks at a group and never joins it: `async with GroupView(connection, group_id, topic) as group`."""

    def __init__(self, connection: Connection, group_id: str, topic: str) -> None:
        self._group_id, self._topic = group_id, topic
        self._admin = AIOKafkaAdminClient(**connection.arguments())

    async def __aenter__(self) -> Self:
        try:
            await _asked(self._admin.start(), "connect to KAFKA_BOOTSTRAP_SERVERS")
        except GroupUnknownError:
            await self._admin.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def committed(self, partitions: Iterable[int]) -> Mapping[int, Committed | None]:
        """The commit point of each of these partitions, None where the group never committed."""
        inputs = [TopicPartition(self._topic, partition) for partition in partitions]
        what = f"read the offsets of the group {self._group_id}: is READ and DESCRIBE on it granted?"
        found = await _asked(self._admin.list_consumer_group_offsets(self._group_id, partitions=inputs), what)
        if any(tp not in found for tp in inputs):  # aiokafka does not look at the reply's own error
            raise GroupUnknownError(f"cannot {what} Its coordinator may be starting.")
        return {tp.partition: _committed(found[tp]) for tp in inputs}

    async def owners(self) -> tuple[str, Mapping[int, str]]:
        """The group's state in Kafka's words, and who has each partition that somebody has."""
        what = f"describe the group {self._group_id}: is DESCRIBE on it granted?"
        [response] = await _asked(self._admin.describe_consumer_groups([self._group_id]), what)
        code, _, state, _, _, members, *_ = response.groups[0]
        if code:
            raise GroupUnknownError(f"cannot {what} {for_code(code).__name__}")
        owners = {}
        for member_id, client_id, host, _, assignment, *_ in members:
            for partition in partitions_of(assignment, self._topic):
                owners[partition] = f"{member_id} (client {client_id}) on {host.removeprefix('/')}"
        return state, owners


def partitions_of(assignment: bytes, topic: str) -> list[int]:
    """The partitions of this topic in a member's assignment; none during a rebalance."""
    if not assignment:
        return []
    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return [tp.partition for tp in decoded.partitions() if tp.topic == topic]


def _committed(found: Any) -> Committed | None:
    return Committed(found.offset, found.metadata or "") if found.offset >= 0 else None


async def _asked(question: Awaitable[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question
    # AttributeError: aiokafka 0.14 reads a partition's error from the wrong object
    except (KafkaError, TimeoutError, OSError, AttributeError) as exc:
        raise GroupUnknownError(f"cannot {what} {type(exc).__name__}") from exc
