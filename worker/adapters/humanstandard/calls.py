"""How every request to the API is made: its headers, its bounds, its answer or the fault in place of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from worker.adapters.humanstandard import outcomes
from worker.adapters.humanstandard.limits import retry_after_of
from worker.adapters.humanstandard.outcomes import Answer
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BODY_BYTES: Final = 8 * 1024 * 1024


class Calls:
    """Requests to one base address with one key; at most `timeout_seconds` are spent on waiting for one of them.

    A connection is waited for `connect_seconds` and at most half of that, so that the bound never runs out before the
    request was sent. Raises ValueError for a base address or key that cannot be used, without repeating either.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        transport: httpx.AsyncBaseTransport,
        timeout_seconds: float,
        connect_seconds: float,
        user_agent: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self.base = _base(base_url)
        self.wall_clock = wall_clock
        self.in_flight = 0
        self._headers = _headers(httpx.URL(self.base), api_key, user_agent)
        self._api_key = api_key
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        connect = min(connect_seconds, timeout_seconds / 2)
        limits = {"connect": connect, "pool": connect, "read": timeout_seconds, "write": timeout_seconds}
        self._extensions = {"timeout": limits}

    def __repr__(self) -> str:
        return f"<Calls in_flight={self.in_flight} {self._transport!r}>"

    def request(self, method: str, url: httpx.URL, body: bytes) -> httpx.Request:
        """Prepare a request; with an empty body none is sent."""
        # With a stream httpx leaves the headers as they are; finding defaults for them cost 12 µs a request.
        request = httpx.Request(
            method, url, headers=self._headers, stream=httpx.ByteStream(body), extensions=self._extensions
        )
        if body:
            request.headers["Content-Length"] = str(len(body))
        return request

    async def answer(self, request: httpx.Request) -> Answer | Fault:
        """Send a request and read its answer whole, or say why there is none."""
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._transport.handle_async_request(request)
                return Answer(response.status_code, response.headers, await _body(response))
        except TimeoutError:
            return outcomes.expired(self._timeout_seconds)
        except httpx.RequestError as exc:
            return outcomes.failed(exc)
        finally:
            self.in_flight -= 1

    async def open(self, request: httpx.Request) -> Opened | Fault:
        """Send a request and read its answer's head alone. What comes of it must be closed."""
        request.extensions = {**self._extensions, "streamed": True}
        started = asyncio.get_running_loop().time()
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._transport.handle_async_request(request)
        except TimeoutError:
            return outcomes.expired(self._timeout_seconds)
        except httpx.RequestError as exc:
            return outcomes.failed(exc)
        finally:
            self.in_flight -= 1
        waited = asyncio.get_running_loop().time() - started
        return Opened(response, seconds=self._timeout_seconds - waited)

    def presentable(self, fault: Fault, headers: httpx.Headers, wall: float) -> Fault:
        """Add when to come back, and take out a key that the API echoed as if it were a code."""
        detail = fault.detail.replace(self._api_key, "[key]")
        return Fault(fault.kind, detail, retry_after_of(headers, wall=wall))

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


class Opened:
    """An answer whose body comes chunk by chunk. Only the waiting for it is bounded, by `seconds` in all."""

    def __init__(self, response: httpx.Response, *, seconds: float) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._chunks = response.aiter_bytes()
        self._seconds = self._left = seconds

    def __repr__(self) -> str:
        return f"<Opened {self.status}>"

    async def chunk(self) -> bytes | Fault:
        """Wait for the next chunk; empty at the end."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(self._left):
                return await anext(self._chunks, b"")
        except TimeoutError:
            return outcomes.expired(self._seconds)
        except httpx.RequestError as exc:
            return outcomes.failed(exc)
        finally:
            self._left -= clock() - started

    async def beginning(self, size: int) -> bytes | Fault:
        """Read the body to its end, or to a little more than `size` bytes."""
        body = b""
        while len(body) <= size:
            chunk = await self.chunk()
            if isinstance(chunk, Fault):
                return chunk
            if not chunk:
                break
            body += chunk
        return body

    async def close(self) -> None:
        """Give the connection back, or drop it where the body was not read to its end."""
        await self._response.aclose()


async def _body(response: httpx.Response) -> bytes | None:
    """Read a response to its end; None where it is longer than the limit, which ends its connection."""
    stream = response.stream
    if isinstance(stream, httpx.ByteStream) and "content-encoding" not in response.headers:
        body = b"".join(stream)  # in memory already: httpx's iterators would cost 15 µs
        return body if len(body) <= MAX_BODY_BYTES else None
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                return None
    finally:
        await response.aclose()
    return b"".join(chunks)


def _base(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
        port = urlsplit(base_url).port  # stricter than httpx: an open bracket, a port that is none
    except (httpx.InvalidURL, ValueError):
        raise ValueError("base_url is no address") from None
    if url.scheme not in {"http", "https"} or not url.host or port == 0:
        raise ValueError("base_url must be http or https with a host")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("base_url must be without credentials, query and fragment")
    return str(url).rstrip("/")


def _headers(url: httpx.URL, api_key: str, user_agent: str) -> httpx.Headers:
    if not (api_key.isascii() and api_key.isprintable() and api_key and " " not in api_key):
        raise ValueError("api_key must be printable ASCII without spaces")
    if not (user_agent.isascii() and user_agent.isprintable() and user_agent.strip()):
        raise ValueError("user_agent must be printable ASCII: the CDN refuses clients without one")
    return httpx.Headers(
        {
            "Host": url.netloc.decode("ascii"),
            "Authorization": f"Bearer {api_key}",
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
        }
    )
