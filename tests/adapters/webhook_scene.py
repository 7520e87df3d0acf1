"""A receiver on the loopback, what it has published and said, and requests as the API and strangers send them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from worker.adapters.webhook_receiver import PATH, SIGNATURE_HEADER, WebhookReceiver
from worker.domain.webhook import sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

SECRET = b"the webhook secret"
EVENT = orjson.dumps({"event": "job.complete", "job_id": "job-1", "summary": {"total": 1}})


class Receiving:
    """One receiver and the client's side of it; `publishing` is awaited before each event is taken."""

    def __init__(self, publishing: Callable[[], Awaitable[None]] | None = None, **options: Any) -> None:
        self.taken: list[tuple[int, bytes]] = []
        self.outcomes: list[str] = []
        self._told = asyncio.Queue[str]()
        self._publishing = publishing
        self.receiver = WebhookReceiver(
            "127.0.0.1",
            0,
            **{"secret": SECRET} | options,
            publish=self._publish,
            observe=lambda fact: self._observe(fact.outcome),
        )
        self.port = 0

    def _observe(self, outcome: str) -> None:
        self.outcomes.append(outcome)
        self._told.put_nowait(outcome)

    async def _publish(self, partition: int, body: bytes) -> None:
        if self._publishing is not None:
            await self._publishing()
        self.taken.append((partition, body))

    async def send(
        self, body: Any = EVENT, *, signature: str | None = "", query: str = "?partition=3", **headers: str
    ) -> tuple[int, Mapping[str, str]]:
        """POST it, signed properly unless said otherwise; the answer's status and headers."""
        signed = sign(SECRET, body) if signature == "" else signature
        own = {} if signed is None else {SIGNATURE_HEADER: signed}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://127.0.0.1:{self.port}{PATH}{query}", data=body, headers=own | headers) as reply,
        ):
            return reply.status, reply.headers

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A bare connection, for what no HTTP client sends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def until(self, outcome: str) -> None:
        """Wait until it has been counted."""
        async with asyncio.timeout(30):
            while await self._told.get() != outcome:
                pass


@asynccontextmanager
async def receiving(
    publishing: Callable[[], Awaitable[None]] | None = None, **options: Any
) -> AsyncIterator[Receiving]:
    scene = Receiving(publishing, **options)
    _, scene.port = await scene.receiver.start()
    try:
        yield scene
    finally:
        await scene.receiver.stop()


def head(length: int, body: bytes = EVENT) -> bytes:
    """A request's head that promises so many bytes, with the signature of `body`."""
    return (
        f"POST {PATH}?partition=3 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        f"{SIGNATURE_HEADER}: {sign(SECRET, body)}\r\n\r\n"
    ).encode()
