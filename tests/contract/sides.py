"""The two sides that the contract suite runs on: the fakes, and Kafka through our adapters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiokafka import AIOKafkaProducer

from tests import virtual_time
from tests.broker.topics import read_all
from tests.fake_broker import FakeBroker
from tests.fakes import FakePublisher, FakeSource
from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.publisher import TransactionalPublisher
from worker.adapters.kafka.source import GroupConfig, KafkaSource

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence
    from typing import Any

    from tests.broker.kafka import KafkaCluster
    from worker.domain.record import Record
    from worker.pipeline.ports import Publisher, Source

T = TypeVar("T")
PARTITIONS = 4
OUTPUT = "output"


class Side(Protocol):
    """An input topic with PARTITIONS partitions, an output topic, and whoever wants to be a member."""

    output: str

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T: ...

    async def open(self) -> None: ...

    def source(self) -> Source: ...

    def publisher(self, partition: int) -> Publisher: ...

    async def produce(self, partition: int, values: Sequence[bytes]) -> None: ...

    async def visible(self) -> list[bytes | None]: ...


class FakeSide:
    """In memory and in virtual time."""

    output = OUTPUT
    broker: FakeBroker
    _home: FakeSource

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return virtual_time.run(coroutine)

    async def open(self) -> None:
        self.broker = FakeBroker(PARTITIONS)
        self._home = FakeSource(self.broker)

    def source(self) -> Source:
        return FakeSource(self.broker)

    def publisher(self, partition: int) -> Publisher:
        return FakePublisher(self.broker, self._home, partition)

    async def produce(self, partition: int, values: Sequence[bytes]) -> None:
        for value in values:
            self.broker.append(partition, None, value)

    async def visible(self) -> list[bytes | None]:
        return [message.value for message in self.broker.visible]


class KafkaSide:
    """A real broker; every test has topics and a group of its own."""

    def __init__(self, cluster: KafkaCluster, name: str) -> None:
        self.output = f"{name}-output"
        self._cluster = cluster
        self._input = f"{name}-input"
        self._group = f"{name}-group"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)

    async def open(self) -> None:
        await self._cluster.create_topics({self._input: PARTITIONS, self.output: 1})

    def _connection(self) -> Connection:
        return Connection(self._cluster.bootstrap_servers, "contract")

    def source(self) -> Source:
        group = GroupConfig(self._input, self._group, None, "earliest", 6.0, 10.0)
        return KafkaSource(self._connection(), group)

    def publisher(self, partition: int) -> Publisher:
        return TransactionalPublisher(
            self._connection(),
            group_id=self._group,
            topic=self._input,
            partition=partition,
            transaction_timeout_seconds=10.0,
        )

    async def produce(self, partition: int, values: Sequence[bytes]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._cluster.bootstrap_servers) as producer:
            for value in values:
                await producer.send_and_wait(self._input, value, partition=partition)

    async def visible(self) -> list[bytes | None]:
        return [record.value for record in await read_all(self._cluster.bootstrap_servers, [self.output])]


class Owner:
    """What a rebalance tells: kept, in order, with what was fetched by then."""

    def __init__(self) -> None:
        self.told: list[tuple[str, frozenset[int]]] = []

    @property
    def owned(self) -> frozenset[int]:
        """Nothing between a revocation and the next assignment."""
        kind, partitions = self.told[-1] if self.told else ("revoked", frozenset[int]())
        return partitions if kind == "assigned" else frozenset()

    async def revoked(self, partitions: Collection[int], *, lost: bool) -> None:
        self.told.append(("lost" if lost else "revoked", frozenset(partitions)))

    async def assigned(self, partitions: Collection[int]) -> None:
        self.told.append(("assigned", frozenset(partitions)))


async def fetched(source: Source, count: int, fetches: int = 40) -> list[Record]:
    """Fetch until so many records have come, or so often."""
    records: list[Record] = []
    for _ in range(fetches):
        if len(records) >= count:
            break
        for _, batch in await source.fetch():
            records.extend(batch)
    return records
