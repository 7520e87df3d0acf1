"""Carries httpx requests over an aiohttp session: httpx's types, without what its client and pool cost a request.

What matters here is *when* something failed. A connection that could not be made (name, TCP, TLS, proxy, connect
time-out) becomes ConnectError, ConnectTimeout or ProxyError: no byte of the request was sent. Everything later becomes
ReadError, ReadTimeout or RemoteProtocolError, even where aiohttp calls it a connection error: the request may have
been accepted, and a submission may have been bought. (httpx-aiohttp reports a server that hangs up after the request
as ConnectTimeout; that is why it is not used.)
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

DEFAULT_MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_WRITTEN_AT_ONCE_BYTES: Final = 256 * 1024
# Below the five seconds after which common servers hang up: a request written to a connection that the server is just
# closing has an unknown outcome.
_KEEPALIVE_SECONDS: Final = 4.0
# aiohttp has decoded the body, so these would mislead whoever reads the response.
_CODING_HEADERS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

# First match wins, so subclasses stand before their bases.
_NOTHING_SENT: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
)
_PERHAPS_SENT: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientPayloadError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
)
_TABLE: Final = _NOTHING_SENT + _PERHAPS_SENT


def translated(error: Exception) -> httpx.TransportError:
    """Choose httpx's exception for aiohttp's. The message is the class's name: aiohttp's own carry addresses."""
    for foreign, ours in _TABLE:
        if isinstance(error, foreign):
            return ours(type(error).__name__)
    return httpx.RemoteProtocolError(type(error).__name__)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One session to one API, opened by the first request and bound to its event loop.

    Redirects are not followed, cookies not kept, a request is never repeated. The number of connections is the
    caller's concurrency. Of a request's time-outs `connect` counts, for name, TCP, TLS and proxy together; the rest
    is the caller's to bound. Bodies come decoded and end after `max_body_bytes` + 1 bytes, so that the caller sees
    that there was more; with the extension `streamed` the answer is handed over at its head, and its body is the
    caller's to read, to bound and to close. Proxies are those of the environment when the session is opened.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None)
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str] = {}
        self._in_flight = 0

    def __repr__(self) -> str:
        state = "not opened" if self._session is None else "closed" if self._session.closed else "open"
        return f"<AiohttpTransport {state} in_flight={self._in_flight}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the prepared request as it is and read the whole answer. Raises httpx.TransportError."""
        session = self._session or self._open()
        self._in_flight += 1
        try:
            return await self._exchange(session, request)
        except (aiohttp.ClientError, OSError) as exc:  # OSError: TimeoutError is one
            raise translated(exc) from exc
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """Close every connection; may be called again."""
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, session: aiohttp.ClientSession, request: httpx.Request) -> httpx.Response:
        response = await session.request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=CIMultiDict([(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw]),
            data=_payload(await _content(request)),
            allow_redirects=False,
            proxy=self._proxy(request.url) if self._proxies else None,
            timeout=self._timeout_of(request),
            middlewares=_ONCE if request.method == "GET" else (),  # what aiohttp would repeat
        )
        if "streamed" in request.extensions:
            return _carried(request, response, _Streamed(response))
        try:
            body = await self._read(response)
        finally:
            response.release()  # closes the connection where the body was not read to its end
        return _carried(request, response, httpx.ByteStream(body))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        content = response.content
        first = await content.readany()
        if content.at_eof():
            return first
        chunks, size = [first], len(first)
        while size <= self._max_body_bytes and (chunk := await content.readany()):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)[: self._max_body_bytes + 1]

    def _open(self) -> aiohttp.ClientSession:
        # Read once: aiohttp's own trust_env starts a thread for every request.
        self._proxies = getproxies()
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=True if self._tls is None else self._tls
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    def _timeout_of(self, request: httpx.Request) -> aiohttp.ClientTimeout:
        connect = request.extensions.get("timeout", {}).get("connect")
        if connect != self._timeout.connect:
            self._timeout = aiohttp.ClientTimeout(total=None, connect=connect)
        return self._timeout

    def _proxy(self, url: httpx.URL) -> str | None:
        address = None if proxy_bypass(url.host) else self._proxies.get(url.scheme)
        if address is None or "://" not in address:
            return f"http://{address}" if address else None
        if not address.startswith(("http://", "https://")):
            raise httpx.ProxyError("UnsupportedProxyScheme")  # going around it would be worse than not going
        return address


async def _content(request: httpx.Request) -> bytes:
    """Take the body of a request; the usual one is in memory and needs no iteration over an async stream."""
    if isinstance(request.stream, httpx.ByteStream):
        return b"".join(request.stream)
    return await request.aread()


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """Hand a large body over as a file, which aiohttp writes piece by piece, letting others go on in between."""
    return io.BytesIO(body) if len(body) > _WRITTEN_AT_ONCE_BYTES else body or None


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send once: aiohttp repeats a GET by itself unless the exception is one that it does not know."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as exc:
        raise translated(exc) from exc


_ONCE: Final = (_once,)


class _Streamed(httpx.AsyncByteStream):
    """A body as it comes, without a bound of its own; closing it early drops the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._response.content.readany():
                yield chunk
        except (aiohttp.ClientError, OSError) as exc:
            raise translated(exc) from exc

    async def aclose(self) -> None:
        self._response.release()


def _carried(request: httpx.Request, response: aiohttp.ClientResponse, stream: httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(
        response.status,
        headers=[pair for pair in response.raw_headers if pair[0].lower() not in _CODING_HEADERS],
        stream=stream,
        request=request,
    )
