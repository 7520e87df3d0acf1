"""POST /webhooks/humanstandard?partition=N: takes what the API tells of a job, on a port of its own.

- The port is open to strangers. A request is bounded in size, in time and in number before it is believed, and nothing
  of it is parsed before its signature is verified over the raw bytes. Who is refused does not learn why.
- 204 means durable: `publish` has returned. Everything else is told again by the API, or found by reconciliation.
- An event that we do not know, or cannot read, is acknowledged and dropped: told again, it would be the same.
- No body and no signature is ever logged; malformed HTTP, which would quote what strangers send, is not logged at all.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from worker.domain.webhook import MAX_EVENT_BYTES, EventFlaw, Unreadable, parse, verify
from worker.flow.publication import NoSuchPartitionError, PublishFailedError
from worker.pipeline.facts import WebhookReceived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from worker.pipeline.facts import WebhookOutcome

PATH: Final = "/webhooks/humanstandard"
SIGNATURE_HEADER: Final = "X-HS-Signature"
READ_SECONDS: Final = 5.0  # for the whole body
PUBLISH_SECONDS: Final = 8.0  # whoever sends gives up after some ten
KEEPALIVE_SECONDS: Final = 75.0  # also for a request's head; an ingress keeps connections for a minute
LINGER_SECONDS: Final = 1.0  # so that who is refused before the end of the body reads the answer
MAX_OPEN: Final = 128  # requests, of MAX_EVENT_BYTES each: 32 MiB
MAX_CONNECTIONS: Final = 512
RETRY_AFTER: Final = {"Retry-After": "5"}
_PARTITION: Final = re.compile("[0-9]{1,10}")
_MAX_PARTITION: Final = (1 << 31) - 1  # Kafka's are 32 bits

# One answer for each outcome but `cut_off`: nobody is there to read it.
ANSWERS: Mapping[WebhookOutcome, tuple[int, str]] = {
    "published": (204, ""),
    "unknown_event": (204, ""),
    "unreadable": (204, ""),
    "refused": (401, "not signed by the API"),
    "bad_partition": (400, "partition is the number of a partition, given once"),
    "too_large": (413, "the event is too large"),
    "too_slow": (408, "the event came too slowly"),
    "busy": (503, "too many requests at once"),
    "not_published": (503, "the event could not be stored"),
}


class WebhookReceiver:
    """Hands each verified event to `publish` with its partition; raw, as it came.

    `secret`: one, or during a rotation several. `publish` returns when the event is durable; it raises
    PublishFailedError or TimeoutError where it is not, NoSuchPartitionError where it cannot be.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        secret: bytes | tuple[bytes, ...],
        publish: Callable[[int, bytes], Awaitable[None]],
        observe: Callable[[WebhookReceived], None],
        read_seconds: float = READ_SECONDS,
        publish_seconds: float = PUBLISH_SECONDS,
        idle_seconds: float = KEEPALIVE_SECONDS,
        max_open: int = MAX_OPEN,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._address = (host, port)
        self._secrets = (secret,) if isinstance(secret, bytes) else secret
        self._publish = publish
        self._observe = observe
        self._read_seconds = read_seconds
        self._publish_seconds = publish_seconds
        self._idle_seconds = idle_seconds
        self._max_open = max_open
        self._max_connections = max_connections
        self._open = 0
        self._runner: web.ServerRunner | None = None

    def __repr__(self) -> str:
        return f"<WebhookReceiver open={self._open}>"

    async def start(self) -> tuple[str, int]:
        """Listen; returns the bound host and port. Raises OSError where the address is taken."""
        server = _BoundedServer(self._answer, self._max_connections, self._idle_seconds)
        self._runner = web.ServerRunner(server, shutdown_timeout=self._publish_seconds)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        host, port = self._runner.addresses[0][:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Listen no more, and let open requests end, within `publish_seconds`. Harmless before start and after stop."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != PATH:
            return web.Response(status=404)
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        outcome = await self._bounded(request)
        self._observe(WebhookReceived(outcome))
        return _response(outcome)

    async def _bounded(self, request: web.BaseRequest) -> WebhookOutcome:
        if self._open >= self._max_open:
            return "busy"
        self._open += 1
        try:
            return await self._received(request)
        finally:
            self._open -= 1

    async def _received(self, request: web.BaseRequest) -> WebhookOutcome:
        signature = request.headers.get(SIGNATURE_HEADER)
        if signature is None:  # what a stranger sends is not even read
            return "refused"
        body = await self._body(request)
        if not isinstance(body, bytes):
            return body
        if not any([verify(secret, body, signature) for secret in self._secrets]):  # noqa: C419 - each, always
            return "refused"
        partition = partition_of(request.query.getall("partition", []))
        if partition is None:
            return "bad_partition"
        event = parse(body)
        if isinstance(event, Unreadable):
            return "unknown_event" if event.flaw is EventFlaw.UNKNOWN_EVENT else "unreadable"
        return await self._published(partition, body)

    async def _body(self, request: web.BaseRequest) -> bytes | WebhookOutcome:
        """The raw bytes, or why there are none; never holds more than an event may have and one chunk."""
        if (request.content_length or 0) > MAX_EVENT_BYTES:
            return "too_large"
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > MAX_EVENT_BYTES:
                        return "too_large"
        except TimeoutError:
            return "too_slow"
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
            return "cut_off"
        return bytes(body)

    async def _published(self, partition: int, body: bytes) -> WebhookOutcome:
        try:
            async with asyncio.timeout(self._publish_seconds):
                await self._publish(partition, body)
        except NoSuchPartitionError:
            return "bad_partition"
        except (PublishFailedError, TimeoutError):
            return "not_published"
        return "published"


def partition_of(given: list[str]) -> int | None:
    """The partition that the address names; None unless it is named once, by a number that Kafka may use."""
    if len(given) != 1 or not _PARTITION.fullmatch(given[0]):
        return None
    partition = int(given[0])
    return partition if partition <= _MAX_PARTITION else None


def _response(outcome: WebhookOutcome) -> web.Response:
    status, text = ANSWERS.get(outcome, (400, ""))
    response = web.Response(status=status, text=text or None, headers=RETRY_AFTER if status == 503 else None)  # noqa: PLR2004 - as the table says
    if outcome in {"too_large", "too_slow", "cut_off"}:
        response.force_close()  # the rest of the body would be taken for a request
    return response


class _BoundedServer(web.Server):
    """Takes no more connections than it may have, and logs no malformed HTTP."""

    def __init__(
        self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int, idle_seconds: float
    ) -> None:
        super().__init__(
            answer,
            access_log=None,
            logger=_logger(),
            keepalive_timeout=idle_seconds,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,  # the signature is of the bytes as they were sent
        )
        self._most = most

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Register a connection, or end it at once."""
        if len(self._connections) >= self._most:
            transport.abort()
            return
        super().connection_made(handler, transport)


def _logger() -> logging.Logger:
    logger = logging.Logger("track-intake.webhooks", logging.WARNING)  # noqa: LOG001 - one of its own, with its filter
    logger.parent = logging.getLogger()
    logger.addFilter(_not_malformed)
    return logger


def _not_malformed(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
