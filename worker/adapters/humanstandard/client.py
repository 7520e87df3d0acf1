"""The HumanStandard API as the pipeline's Analyst: one request a call, and a value for whatever comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

import httpx
import orjson

from worker.adapters.humanstandard import outcomes
from worker.adapters.humanstandard.calls import Calls
from worker.adapters.humanstandard.jobs import HumanStandardJobs
from worker.adapters.humanstandard.limits import quota_of
from worker.domain.jobs import is_job_id
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.adapters.humanstandard.outcomes import Operation
    from worker.domain.submission import TrackSubmitted

Generation = Literal[1, 2]

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
        self._calls = Calls(
            base_url=base_url,
            api_key=api_key,
            transport=transport,
            timeout_seconds=timeout_seconds,
            connect_seconds=connect_seconds,
            user_agent=user_agent,
            wall_clock=wall_clock,
        )
        detail = "?detail=full" if generation == 2 else ""  # noqa: PLR2004 - the generation's name
        self._generation = generation
        self._analyze = httpx.URL(f"{self._calls.base}/analyze{detail}")
        self._jobs = f"{self._calls.base}/jobs/"
        self._transport = transport

    def __repr__(self) -> str:
        return f"<HumanStandard generation={self._generation} in_flight={self._calls.in_flight} {self._transport!r}>"

    @property
    def jobs(self) -> HumanStandardJobs | None:
        """Jobs of many tracks, over the same connections; None in generation 2, whose contract for them is unknown."""
        return HumanStandardJobs(self._calls) if self._generation == 1 else None

    async def submit(self, track: TrackSubmitted) -> Reply:
        """Buy one analysis: Finished, Accepted, or the Fault that came of it."""
        body = self._order(track)
        if isinstance(body, Fault):
            return Reply(body)
        request = self._calls.request("POST", self._analyze, body)
        return await self._call("submit", request, None)

    async def poll(self, job_id: str) -> Reply:
        """Ask for an accepted job: Finished, Running, or the Fault that came of it."""
        if not is_job_id(job_id):
            return Reply(Fault(FaultKind.PROTOCOL_ERROR, "job_id is no usable string"))
        return await self._call("poll", self._calls.request("GET", self._job(job_id), b""), job_id)

    async def probe(self) -> Fault | None:
        """Ask for a job that does not exist, which costs nothing: None if the API answers and accepts the key."""
        # Generation 1 documents the job itself only, its status is not a page of its own.
        where = httpx.URL(self._jobs + _NO_JOB) if self._generation == 1 else self._job(_NO_JOB)
        reply = await self._call("poll", self._calls.request("GET", where, b""), _NO_JOB)
        fault = reply.result
        return fault if isinstance(fault, Fault) and fault.kind not in _PROBE_PASSED else None

    async def close(self) -> None:
        """Close the transport."""
        await self._calls.close()

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

    async def _call(self, operation: Operation, request: httpx.Request, job_id: str | None) -> Reply:
        answer = await self._calls.answer(request)
        if isinstance(answer, Fault):
            return Reply(answer)
        wall = self._calls.wall_clock()
        result = outcomes.result_of(operation, answer, job_id=job_id)
        if isinstance(result, Fault):
            result = self._calls.presentable(result, answer.headers, wall)
        return Reply(result, quota_of(answer.headers, wall=wall))
