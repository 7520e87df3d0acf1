"""Whatever a rebalance meets is told to whoever fetches; aiokafka swallows it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.source import GroupConfig, KafkaSource

if TYPE_CHECKING:
    from collections.abc import Collection


class Nobody:
    """Takes every assignment."""

    async def revoked(self, partitions: Collection[int], *, lost: bool) -> None:
        """Say nothing."""

    async def assigned(self, partitions: Collection[int]) -> None:
        """Say nothing."""


class OddAdmin:
    """Fails as no broker's answer does: aiokafka asserts that it knows a node, reads errors from wrong objects."""

    async def describe_topics(self, _topics: list[str]) -> list[dict[str, object]]:
        raise AttributeError("'tuple' object has no attribute 'error_code'")


async def test_a_fault_while_partitions_are_counted_does_not_leave_the_worker_without_an_assignment() -> None:
    """Swallowed, it would keep the partitions, heartbeat, and decide nothing for ever."""
    source = KafkaSource(Connection("127.0.0.1:1", "test"), GroupConfig("input", "group", None, "earliest", 10.0, 60.0))
    assigned: list[Collection[int]] = []

    class Told(Nobody):
        async def assigned(self, partitions: Collection[int]) -> None:
            assigned.append(partitions)

    source._consumer.subscribe(["input"])
    source._rebalanced = Told()
    source._admin = OddAdmin()
    with suppress(AttributeError):  # so does aiokafka
        await source.on_partitions_assigned([])
    source._consumer._closed = True
    assert assigned or isinstance(source._fault, AttributeError)
