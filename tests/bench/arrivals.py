"""When each decision became readable at read_committed: a consumer that notes the time and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from tests.broker.topics import reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition


@dataclass(frozen=True, slots=True)
class Arrivals:
    """(Unix seconds, value) of every outcome in order of arrival; values are read only after the run."""

    seen: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.seen]

    def added_latencies(self, start: float, end: float) -> list[float]:
        """Seconds from the analysis' end, by the simulator's clock (`processed_at`), to the arrival, sorted."""
        return sorted(
            at - datetime.fromisoformat(processed_at).timestamp()
            for at, value in self.seen
            if start <= at <= end and (processed_at := (orjson.loads(value).get("analysis") or {}).get("processed_at"))
        )


@asynccontextmanager
async def watching(bootstrap_servers: str, partitions: Sequence[TopicPartition]) -> AsyncIterator[Arrivals]:
    """Watch these output partitions from their beginning for as long as the block runs."""
    arrivals = Arrivals()
    async with reader(bootstrap_servers) as consumer:
        consumer.assign(list(partitions))
        task = asyncio.create_task(_watch(consumer, arrivals))
        try:
            yield arrivals
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _watch(consumer: AIOKafkaConsumer, arrivals: Arrivals) -> None:
    while True:
        fetched = await consumer.getmany(timeout_ms=1000)
        now = time.time()
        arrivals.seen.extend((now, record.value or b"") for records in fetched.values() for record in records)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")
