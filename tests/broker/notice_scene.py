"""What each replica has of webhooks, joined as in a worker, and a client that tells them events."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import orjson

from tests.adapters.webhook_scene import SECRET
from tests.broker.waiting import wait_until
from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.notices import NoticeConsumer, NoticeProducer
from worker.adapters.webhook_receiver import PATH, SIGNATURE_HEADER, WebhookReceiver
from worker.domain.webhook import sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Replica:
    """What one worker has of webhooks: a receiver, a producer behind it, a consumer beside it; and a client."""

    def __init__(self, servers: str, topic: str, *, reach_back_seconds: float = 600.0) -> None:
        connection = Connection(servers, "test", metadata_max_age_seconds=2.0)
        self.producer = NoticeProducer(connection, topic=topic, timeout_seconds=2.0)
        self.consumer = NoticeConsumer(connection, topic=topic, wall=time.time, reach_back_seconds=reach_back_seconds)
        self.outcomes: list[str] = []
        self.seen: list[tuple[int, bytes]] = []
        self._receiver = WebhookReceiver(
            "127.0.0.1",
            0,
            secret=SECRET,
            publish=self.producer.send,
            observe=lambda fact: self.outcomes.append(fact.outcome),
        )
        self._url = ""

    async def start(self) -> None:
        _, port = await self._receiver.start()
        self._url = f"http://127.0.0.1:{port}{PATH}"

    async def stop(self) -> None:
        await self._receiver.stop()
        await self.producer.close()
        await self.consumer.close()

    async def post(self, partition: int, body: bytes) -> int:
        """Tell it an event; the status of its answer."""
        headers = {SIGNATURE_HEADER: sign(SECRET, body)}
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return (await client.post(f"{self._url}?partition={partition}", content=body, headers=headers)).status_code

    async def sees(self, count: int, seconds: float = 30) -> list[tuple[int, bytes]]:
        """Fetch until it has seen so many events in all; returns them."""

        async def enough() -> bool:
            self.seen += await self.consumer.fetch()
            return len(self.seen) >= count

        await wait_until(f"{count} events are seen", enough, seconds, 0)
        return self.seen


@asynccontextmanager
async def replicas(count: int, servers: str, topic: str) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        made = [Replica(servers, topic) for _ in range(count)]
        for each in made:
            await each.start()
            stack.push_async_callback(each.stop)
        yield made


def event(number: int) -> bytes:
    return orjson.dumps({"event": "job.failed", "job_id": f"job-{number}"})
