"""The HumanStandard API as the pipeline's Analyst: one request a call, and a value for whatever comes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote, urlsplit

import httpx
import orjson

from worker.adapters.humanstandard import outcomes
from worker.adapters.humanstandard.limits import quota_of, retry_after_of
from worker.adapters.humanstandard.outcomes import Answer, Operation, Result, is_job_id
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.domain.submission import TrackSubmitted

Generation = Literal[1, 2]

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_NO_JOB: Final = "track-intake-check"
# What a key that was accepted may be told of a job that does not exist.
_PROBE_PASSED: Final = frozenset({FaultKind.JOB_UNKNOWN, FaultKind.INVALID_REQUEST})


class HumanStandard:
    """Both generations of the API behind `submit` and `poll`; generation 1 never needs the latter by itself.

    `timeout_seconds` bounds a whole call, connection included; generation 1's submission takes 45-80 s, so leave it
    room. A connection is waited for `connect_seconds` and at most half of that, so that the bound never runs out before
    the request was sent. Raises ValueError for a base address or key that cannot be used, without repeating either.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        generation: Generation,
        transport: httpx.AsyncBaseTransport,
        timeout_seconds: float,
        connect_seconds: float = 10.0,
        user_agent: str,
        wall_clock: Callable[[], float],
    ) -> None:
        base = _base(base_url)
        detail = "?detail=full" if generation == 2 else ""  # noqa: PLR2004 - the generation's name
        self._generation = generation
        self._analyze = httpx.URL(f"{base}/analyze{detail}")
        self._jobs = f"{base}/jobs/"
        self._headers = _headers(self._analyze, api_key, user_agent)
        self._api_key = api_key
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        connect = min(connect_seconds, timeout_seconds / 2)
        limits = {"connect": connect, "pool": connect, "read": timeout_seconds, "write": timeout_seconds}
        self._extensions = {"timeout": limits}
        self._wall_clock = wall_clock
        self._in_flight = 0

    def __repr__(self) -> str:
        return f"<HumanStandard generation={self._generation} in_flight={self._in_flight} {self._transport!r}>"

    async def submit(self, track: TrackSubmitted) -> Reply:
        """Buy one analysis: Finished, Accepted, or the Fault that came of it."""
        body = self._order(track)
        if isinstance(body, Fault):
            return Reply(body)
        request = self._request("POST", self._analyze, body)
        return await self._call("submit", request, None)

    async def poll(self, job_id: str) -> Reply:
        """Ask for an accepted job: Finished, Running, or the Fault that came of it."""
        if not is_job_id(job_id):
            return Reply(Fault(FaultKind.PROTOCOL_ERROR, "job_id is no usable string"))
        return await self._call("poll", self._request("GET", self._job(job_id), b""), job_id)

    async def probe(self) -> Fault | None:
        """Ask for a job that does not exist, which costs nothing: None if the API answers and accepts the key."""
        # Generation 1 documents the job itself only, its status is not a page of its own.
        where = httpx.URL(self._jobs + _NO_JOB) if self._generation == 1 else self._job(_NO_JOB)
        reply = await self._call("poll", self._request("GET", where, b""), _NO_JOB)
        fault = reply.result
        return fault if isinstance(fault, Fault) and fault.kind not in _PROBE_PASSED else None

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.aclose()

    def _order(self, track: TrackSubmitted) -> bytes | Fault:
        if track.url is None and track.file_id is not None and self._generation != 1:
            return Fault(FaultKind.INVALID_REQUEST, "generation 2 takes addresses only, the event has a file_id")
        wanted = {"url": track.url} if track.url is not None else {"file_id": track.file_id}
        try:
            return orjson.dumps(wanted)
        except TypeError:  # a lone surrogate cannot be sent
            return Fault(FaultKind.INVALID_REQUEST, "the address is no valid Unicode")

    def _job(self, job_id: str) -> httpx.URL:
        return httpx.URL(f"{self._jobs}{quote(job_id, safe='', errors='replace')}/status?detail=full")

    def _request(self, method: str, url: httpx.URL, body: bytes) -> httpx.Request:
        # With a stream httpx leaves the headers as they are; finding defaults for them cost 12 µs a request.
        request = httpx.Request(
            method, url, headers=self._headers, stream=httpx.ByteStream(body), extensions=self._extensions
        )
        if body:
            request.headers["Content-Length"] = str(len(body))
        return request

    async def _call(self, operation: Operation, request: httpx.Request, job_id: str | None) -> Reply:
        self._in_flight += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._exchange(request)
        except TimeoutError:
            return Reply(outcomes.expired(self._timeout_seconds))
        except httpx.RequestError as exc:
            return Reply(outcomes.failed(exc))
        finally:
            self._in_flight -= 1
        wall = self._wall_clock()
        result = outcomes.result_of(operation, answer, job_id=job_id)
        return Reply(self._presentable(result, answer, wall), quota_of(answer.headers, wall=wall))

    async def _exchange(self, request: httpx.Request) -> Answer:
        response = await self._transport.handle_async_request(request)
        return Answer(response.status_code, response.headers, await _body(response))

    def _presentable(self, result: Result, answer: Answer, wall: float) -> Result:
        """Add when to come back, and take out a key that the API echoed as if it were a code."""
        if not isinstance(result, Fault):
            return result
        detail = result.detail.replace(self._api_key, "[key]")
        return Fault(result.kind, detail, retry_after_of(answer.headers, wall=wall))


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
