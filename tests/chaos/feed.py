"""Events without a pause, at a steady rate: readable ones, with keys and without, and among them some that are none."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.broker.traffic import SCENARIOS, track

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.broker.scene import Scene
    from tests.broker.traffic import Event

BATCH_SECONDS = 0.25
LABELS = 400  # keys: now and then a track waits for its predecessor, and a stuck one holds back few
KEYLESS = 0.1


class Feed:
    """Sends until its time is over, to every partition that its producer knows; `bad` are spread over the time."""

    def __init__(self, scene: Scene, *, seed: int, per_second: float, bad: Sequence[Event]) -> None:
        self.sent = 0
        self.refused = 0
        self._scene = scene
        self._per_second = per_second
        self._bad = bad
        self._draw = random.Random(f"{seed}-feed")  # noqa: S311 - a reproducible run, no secret

    async def run(self, seconds: float) -> None:
        """Send for so long. What a broker's fault keeps from being sent was never submitted: it is only counted."""
        loop = asyncio.get_running_loop()
        async with _producer(self._scene.servers) as producer:
            began, sent_bad = loop.time(), 0
            while (passed := loop.time() - began) < seconds:
                await asyncio.sleep(BATCH_SECONDS)
                share = min(1.0, (passed + BATCH_SECONDS) / seconds)
                due_bad = round(len(self._bad) * share)
                partitions = len(await producer.partitions_for(self._scene.topics.submitted))
                due = round(seconds * self._per_second * share)
                await self._send(producer, [*self._tracks(due - self.sent, partitions), *self._bad[sent_bad:due_bad]])
                sent_bad = due_bad

    def _tracks(self, count: int, partitions: int) -> Iterator[Event]:
        for number in range(self.sent, self.sent + count):
            keyless = self._draw.random() < KEYLESS
            yield track(
                number,
                run=self._scene.run,
                scenario=self._draw.choice(SCENARIOS),
                key=None if keyless else f"label-{self._draw.randrange(LABELS)}",
                partitions=partitions,
            )
        self.sent += count

    async def _send(self, producer: AIOKafkaProducer, events: Sequence[Event]) -> None:
        topic = self._scene.topics.submitted
        try:
            deliveries = [
                await producer.send(topic, event.value, event.key, event.partition, headers=list(event.headers))
                for event in events
            ]
        except KafkaError:
            self.refused += 1
            return
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        self.refused += sum(isinstance(outcome, BaseException) for outcome in outcomes)


@asynccontextmanager
async def _producer(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        enable_idempotence=True,
        linger_ms=5,
        request_timeout_ms=20_000,
        metadata_max_age_ms=1_000,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
