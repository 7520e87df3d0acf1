"""Producing what aiokafka's producer does not: records whose header names are no text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from tests.raw_batches import NONE, builder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.broker.traffic import Event


async def submit_raw(bootstrap_servers: str, topic: str, events: Sequence[Event], codec: int = NONE) -> None:
    """Produce them all, one batch for each partition; a header's name may be a RawName."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        sent = [
            await producer.send_batch(_batch(producer, events, partition, codec), topic, partition=partition)
            for partition in {event.partition for event in events}
        ]
        await asyncio.gather(*sent)


def _batch(producer: AIOKafkaProducer, events: Sequence[Event], partition: int, codec: int) -> object:
    batch = producer.create_batch()
    batch._builder = builder(codec)  # the one it has takes no name but a plain str
    for event in events:
        if event.partition == partition:
            added = batch.append(timestamp=None, key=event.key, value=event.value, headers=list(event.headers))
            assert added is not None
    batch.close()
    return batch
