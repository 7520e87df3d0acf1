"""The simulated API as a server on loopback: both generations on one port, and `/_sandbox/` to steer and inspect it."""

from __future__ import annotations

import asyncio
import gzip
import math
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import orjson
from aiohttp import web
from multidict import CIMultiDict

from worker.sandbox.api import answers
from worker.sandbox.api.analyses import Analyses
from worker.sandbox.api.bulk import JOB_OPERATIONS, Bulk, job_operation
from worker.sandbox.api.config import SimulationConfig
from worker.sandbox.api.faults import FaultSwitches, Trouble, switch_all
from worker.sandbox.api.findings import wrong_types
from worker.sandbox.api.limiter import Admission, Limiter
from worker.sandbox.api.submissions import address_in, audio_of
from worker.sandbox.api.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.sandbox.api.answers import Answer
    from worker.sandbox.api.ledger import Ledger

_BASES: Final = {1: "/api/v1", 2: "/api"}
_JOBS: Final = "/api/jobs/"
_JOBS_1: Final = "/api/v1/jobs/"
_STATUS: Final = "/status"
_OVERSIZE_BYTES: Final = 9_000_000


class SimulatedApi:
    """Start it, point a client at `base_url(generation)`, read `ledger`, set `faults`."""

    def __init__(
        self,
        config: SimulationConfig | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or SimulationConfig()
        self._monotonic = monotonic
        self._wall = wall
        self._address = ""
        self._runner: web.ServerRunner | None = None
        self._waiting: list[tuple[Callable[[Ledger], bool], asyncio.Future[None]]] = []
        self._webhooks = Webhooks(self.config, monotonic=monotonic, told=self._notice)
        self._key = f"Bearer {self.config.api_key}"
        self.reset()

    def __repr__(self) -> str:
        return f"<SimulatedApi {self._address or 'not started'} {self.ledger!r} {self.faults!r}>"

    @property
    def ledger(self) -> Ledger:
        """What was asked for and charged since the last reset."""
        return self._analyses.ledger

    @property
    def faults(self) -> FaultSwitches:
        """The switches; all off at the start and after a reset."""
        return self._analyses.faults

    def base_url(self, generation: int) -> str:
        """Return the address that a client of this generation is configured with."""
        return self._address + _BASES[generation]

    def reset(self) -> None:
        """Forget every scan, count and switched fault, and open a new rate window."""
        config = self.config
        self._analyses = Analyses(config, monotonic=self._monotonic, wall=self._wall)
        self._webhooks.begin(self.ledger, self.faults)
        self._bulk = Bulk(
            config,
            ledger=self.ledger,
            faults=self.faults,
            webhooks=self._webhooks,
            monotonic=self._monotonic,
            wall=self._wall,
        )
        self._limiter = Limiter(limit=config.rate_limit_per_minute, time_scale=config.time_scale)

    async def start(self) -> str:
        """Listen; returns the root address, without a trailing slash."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=4096)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._address = f"http://{host}:{port}"
        return self._address

    async def stop(self) -> None:
        """Close the port and every connection; calls in progress are dropped."""
        await self._webhooks.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, reached: Callable[[Ledger], bool]) -> None:
        """Wait until the ledger shows something; looked at when a request arrives or ends or a body is spoilt."""
        if not reached(self.ledger):
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((reached, future))
            await future

    def _notice(self) -> None:
        if not self._waiting:
            return
        for waiting in [waiting for waiting in self._waiting if waiting[0](self.ledger)]:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        operation = job_operation(request.rel_url.raw_path) or _operation(path)
        if operation is None:
            return await self._steer(request, path)
        ledger, status = self.ledger, 0
        ledger.begin(operation)
        self._notice()
        try:
            admission = self._limiter.admit(self._monotonic())
            answer = await self._answer(request, operation, path, admission)
            response = await self._send(request, operation, answer, admission)
            status = 0 if answer.drop else answer.status
            return response
        finally:
            ledger.end(status)
            self._notice()

    async def _answer(self, request: web.BaseRequest, operation: str, path: str, admission: Admission) -> Answer:
        trouble = self.faults.strike(operation, answers.BEFORE_ACCEPTANCE)
        if trouble is not None:
            return replace(answers.BEFORE_ACCEPTANCE[trouble], trouble=trouble)
        if request.headers.get("Authorization") != self._key:
            return answers.UNAUTHORIZED
        if self._limiter.limit and not admission.allowed:
            return answers.THROTTLED
        if operation in JOB_OPERATIONS:
            return await self._bulk.answer(operation, request)
        if operation == "status":
            return self._status(request)
        return await self._analyze(request, path)

    def _status(self, request: web.BaseRequest) -> Answer:
        path = request.rel_url.raw_path
        if not path.endswith(_STATUS) or path.startswith(_JOBS_1):
            return answers.UNKNOWN_JOB  # generation 1 has jobs of many tracks only, and none was created here
        return self._analyses.status(unquote(path[len(_JOBS) : -len(_STATUS)]), request.query)

    async def _analyze(self, request: web.BaseRequest, path: str) -> Answer:
        if request.method != "POST":
            return answers.WRONG_METHOD
        if path == "/api/v1/analyze":
            address = address_in(await request.read(), ("url", "file_id"))
            return await self._analyses.synchronous(address, request.query)
        return await self._analyses.asynchronous(await audio_of(request), request.query)

    async def _send(
        self, request: web.BaseRequest, operation: str, answer: Answer, admission: Admission
    ) -> web.StreamResponse:
        if answer.trouble is not None:
            self.ledger.faults[answer.trouble] += 1
        if answer.drop:
            return _dropped(request)
        headers = self._headers(answer, admission)
        trouble = self.faults.strike(operation, answers.BODIES) if answer.status == HTTPStatus.OK else None
        if trouble is None:
            return web.Response(
                status=answer.status, body=answer.body, content_type=answer.content_type, headers=headers
            )
        self.ledger.faults[trouble] += 1
        self._notice()
        return await self._spoilt(request, answer, headers, trouble)

    def _headers(self, answer: Answer, admission: Admission) -> CIMultiDict[str]:
        headers = CIMultiDict(answer.headers)
        if self._limiter.limit:
            headers["X-RateLimit-Limit"] = str(self._limiter.limit)
            headers["X-RateLimit-Remaining"] = str(admission.remaining)
            headers["X-RateLimit-Reset"] = self._seconds(self._wall() + admission.reset_seconds)
        if answer.retry_later and self.config.retry_after:
            headers["Retry-After"] = self._seconds(admission.reset_seconds)
        return headers

    def _seconds(self, value: float) -> str:
        """Whole seconds as the real API writes them; a scaled clock needs parts of a second."""
        return str(math.ceil(value)) if self.config.time_scale == 1 else f"{value:.3f}"

    async def _spoilt(
        self, request: web.BaseRequest, answer: Answer, headers: CIMultiDict[str], trouble: Trouble
    ) -> web.StreamResponse:
        body = answer.body
        match trouble:
            case Trouble.SLOW_BODY | Trouble.CUT_BODY:
                return await self._piecemeal(request, body, headers, cut=trouble is Trouble.CUT_BODY)
            case Trouble.NOT_JSON:
                body = b"<html>it works!</html>"
            case Trouble.WRONG_TYPES:
                body = b"\n".join(map(wrong_types, body.splitlines()))
            case Trouble.UNKNOWN_SHAPE:
                body = b'{"data":{"ticket":"17"},"ok":true}'
            case Trouble.GZIP:
                headers["Content-Encoding"] = "gzip"
                body = gzip.compress(body)
            case _:
                body += b" " * _OVERSIZE_BYTES
        return web.Response(body=body, content_type=answer.content_type, headers=headers)

    async def _piecemeal(
        self, request: web.BaseRequest, body: bytes, headers: CIMultiDict[str], *, cut: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        response.content_type = "application/json"
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if cut:
            _drop(request)
            return response
        await asyncio.sleep(self.config.slow_body_seconds / self.config.time_scale)
        await response.write(body[len(body) // 2 :])
        await response.write_eof()
        return response

    async def _steer(self, request: web.BaseRequest, path: str) -> web.Response:
        match request.method, path:
            case "GET", "/_sandbox/ledger":
                return _json(self.ledger.snapshot())
            case "POST", "/_sandbox/reset":
                self.reset()
                return _json({})
            case "POST", "/_sandbox/faults":
                return self._switch(await request.read())
            case _:
                unknown = answers.UNKNOWN_PATH
                return web.Response(status=unknown.status, body=unknown.body, content_type=unknown.content_type)

    def _switch(self, body: bytes) -> web.Response:
        try:
            switch_all(self.faults, orjson.loads(body))
        except (ValueError, AttributeError):
            return web.Response(status=422, body=answers.UNKNOWN_FAULT.body, content_type="application/json")
        return _json({"faults": repr(self.faults)})


def _operation(path: str) -> str | None:
    if path in {"/api/v1/analyze", "/api/analyze"}:
        return "analyze"
    return "status" if path.startswith((_JOBS, _JOBS_1)) else None


def _drop(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _dropped(request: web.BaseRequest) -> web.Response:
    _drop(request)
    return web.Response()


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
