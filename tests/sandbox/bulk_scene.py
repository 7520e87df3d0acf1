"""What the tests of simulated jobs share: a server, a clock that is moved by hand, a job, and who hears of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from worker.sandbox.api import SimulatedApi, SimulationConfig

AUTH = {"Authorization": "Bearer sandbox-key"}


class Clock:
    """Monotonic time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Jobs:
    """A caller of generation 1's jobs."""

    def __init__(self, api: SimulatedApi, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.api = api
        self.session = session
        self.clock = clock

    async def post(self, body: Any, key: str | None = None) -> tuple[int, bytes]:
        headers = {} if key is None else {"Idempotency-Key": key}
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.post(f"{self.api.base_url(1)}/jobs", data=data, headers=headers) as reply:
            return reply.status, await reply.read()

    async def create(self, items: list[dict[str, Any]], **more: Any) -> str:
        status, body = await self.post({"name": "Intake", "items": items} | more)
        assert status == 200, body
        return str(orjson.loads(body)["id"])

    async def get(self, path: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self.api.base_url(1)}/jobs/{path}") as reply:
            return reply.status, await reply.read()

    async def state(self, job_id: str) -> Any:
        return orjson.loads((await self.get(job_id))[1])

    async def results(self, job_id: str, query: str = "") -> list[Any]:
        status, body = await self.get(f"{job_id}/results{query}")
        assert status == 200, body
        return [orjson.loads(line) for line in body.splitlines()]


@asynccontextmanager
async def serving(*, by_hand: bool = True, **settings: Any) -> Any:
    clock = Clock()
    wanted = {"rate_limit_per_minute": 0, "jitter": 0.0, "service_seconds": 10.0} | settings
    clocks = {"monotonic": clock} if by_hand else {}
    api = SimulatedApi(SimulationConfig(**wanted), **clocks)
    await api.start()
    try:
        async with aiohttp.ClientSession(headers=AUTH) as session:
            yield Jobs(api, session, clock)
    finally:
        await api.stop()


def items(*names: str) -> list[dict[str, Any]]:
    """One item a name: its number as id, and an address that names its scenario."""
    return [{"item_id": str(n), "url": f"https://cdn.example/{n}?sandbox={name}"} for n, name in enumerate(names)]


class Receiver:
    """Whoever is told: keeps every request, and answers with the next status that it was given, else with 200."""

    def __init__(self) -> None:
        self.url = ""
        self.heard: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []
        self.body = b""
        self.at_once = self.at_once_max = 0

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(body) for body, _ in self.heard]

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        self.heard.append((await request.read(), request.headers.get("X-HS-Signature", "")))
        await asyncio.sleep(0)
        self.at_once -= 1
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, body=self.body)


@asynccontextmanager
async def receiving() -> Any:
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.answer, access_log=None), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        async with asyncio.timeout(30):
            yield receiver
    finally:
        await runner.cleanup()
