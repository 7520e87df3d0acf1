"""What a demo plays on: the embedded broker, the simulated API, a producer of events and a reader of outcomes."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from worker.domain.record import Record
from worker.sandbox.api import SimulatedApi, SimulationConfig
from worker.sandbox.broker import EmbeddedBroker
from worker.sandbox.outcomes import Board, Submitted, outcome_of
from worker.sandbox.surroundings import TOPICS, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.sandbox.traffic import SampleEvent

_INPUT = TOPICS["TOPIC_SUBMITTED"]
_OUTPUTS = tuple(topic for topic in TOPICS.values() if topic != _INPUT)
_CAUGHT_UP_SECONDS = 0.02


@dataclass(frozen=True)
class Stage:
    """Everything but the worker, running. What the reader finds goes to the board at once."""

    broker: EmbeddedBroker
    api: SimulatedApi
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    session: aiohttp.ClientSession
    board: Board

    def sandbox(self, generation: int) -> Sandbox:
        """Tell what a worker must know."""
        config = self.api.config
        return Sandbox(
            api_address=self.api.base_url(1).removesuffix("/api/v1"),
            api_key=config.api_key,
            generation=generation,
            bootstrap_servers=self.broker.address,
            time_scale=config.time_scale,
            rate_limit_per_minute=config.rate_limit_per_minute,
        )

    async def submit(self, event: SampleEvent, generation: int, *, waited: bool = False) -> None:
        """Produce one event and remember what must become of it; `waited`: there is no worker for it yet."""
        at_ms = time.time_ns() // 1_000_000  # the mock broker's reply has no timestamp
        sent = await self.producer.send_and_wait(_INPUT, event.value, event.key, headers=list(event.headers))
        self.board.submit((sent.partition, sent.offset), Submitted(event, generation, at_ms, waited))

    async def read(self) -> None:
        """Read outcomes for ever."""
        async for message in self.consumer:
            key_and_value = (message.key, message.value, tuple(message.headers))
            place = (message.topic, message.partition, message.offset, message.timestamp)
            self.board.add(outcome_of(Record(*place, *key_and_value)))

    async def caught_up(self) -> None:
        """Wait until everything that is on the output topics now was read."""
        ends = await self.consumer.end_offsets(self.consumer.assignment())
        while any([await self.consumer.position(place) < end for place, end in ends.items()]):  # noqa: ASYNC110 - no event
            await asyncio.sleep(_CAUGHT_UP_SECONDS)


@asynccontextmanager
async def staged(simulation: SimulationConfig) -> AsyncIterator[Stage]:
    """Set everything up on free ports; take it down in the reverse order."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # its warnings would tear the display
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker(TOPICS.values()))
        api = SimulatedApi(simulation)
        await api.start()
        stack.push_async_callback(api.stop)
        producer = AIOKafkaProducer(bootstrap_servers=broker.address)
        await producer.start()
        stack.push_async_callback(producer.stop)
        consumer = AIOKafkaConsumer(
            *_OUTPUTS, bootstrap_servers=broker.address, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        yield Stage(broker, api, producer, consumer, session, Board())
