"""What one submission costs the client: `python tests/bench_http.py [REQUESTS]` prints CPU µs a request, 256 in flight.

The simulated API runs as a process of its own; only this process's CPU time is counted. httpx's own pool does not
finish at 256 in flight in reasonable time, so it gets a few hundred requests only.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import orjson
import uvloop

from worker.adapters.humanstandard import AiohttpTransport, HumanStandard
from worker.domain.submission import TrackSubmitted
from worker.flow.replies import Finished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IN_FLIGHT = 256
SERVICE_SECONDS = 0.25
KEY = "sandbox-key"
ADDRESS = "https://cdn.example/track/1.mp3?sandbox=ai"
BODY = orjson.dumps({"url": ADDRESS})
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "User-Agent": "track-intake-bench/1"}


async def drive(call: Callable[[], Awaitable[Any]], requests: int) -> None:
    left = iter(range(requests))

    async def keep_calling() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(keep_calling() for _ in range(IN_FLIGHT)))


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(name: str, call: Callable[[], Awaitable[Any]], requests: int) -> None:
    await drive(call, min(requests, 2 * IN_FLIGHT))  # connections, caches
    cpu, began = cpu_seconds(), time.monotonic()
    await drive(call, requests)
    cpu, wall = cpu_seconds() - cpu, time.monotonic() - began
    sys.stdout.write(f"{name:44} {cpu / requests * 1e6:8.0f} {requests / wall:8.0f}\n")
    sys.stdout.flush()


async def bare_aiohttp(base: str, requests: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def call() -> None:
            async with session.post(f"{base}/analyze", data=BODY) as reply:
                orjson.loads(await reply.read())

        await measure("bare aiohttp, parsed by orjson", call, requests)


async def prepared(base: str, requests: int) -> None:
    transport, url = AiohttpTransport(), httpx.URL(f"{base}/analyze")
    headers = httpx.Headers(HEADERS | {"Host": url.netloc.decode(), "Content-Length": str(len(BODY))})

    async def call() -> None:
        request = httpx.Request("POST", url, headers=headers, stream=httpx.ByteStream(BODY))
        reply = await transport.handle_async_request(request)
        orjson.loads(await reply.aread())

    await measure("httpx.Request handed to AiohttpTransport", call, requests)
    await transport.aclose()


async def ours(base: str, requests: int) -> None:
    analyst = HumanStandard(
        base_url=base,
        api_key=KEY,
        generation=1,
        transport=AiohttpTransport(),
        timeout_seconds=80,
        user_agent=HEADERS["User-Agent"],
        wall_clock=time.time,
    )
    track = TrackSubmitted(item_id="1", url=ADDRESS)

    async def call() -> None:
        reply = await analyst.submit(track)
        assert isinstance(reply.result, Finished)

    await measure("HumanStandard.submit, to the Analysis", call, requests)
    await analyst.close()


async def whole_httpx(base: str, requests: int, transport: httpx.AsyncBaseTransport | None, name: str) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=HEADERS, transport=transport, limits=limits, timeout=60) as client:

        async def call() -> None:
            orjson.loads((await client.post(f"{base}/analyze", content=BODY)).content)

        await measure(name, call, requests)


async def table(base: str, requests: int) -> None:
    sys.stdout.write(f"{'POST, 256 in flight, 250 ms ± 30 %':44} {'CPU µs':>8} {'per s':>8}\n")
    for _ in range(2):
        await bare_aiohttp(base, requests)
        await prepared(base, requests)
        await ours(base, requests)
    await whole_httpx(base, requests // 2, AiohttpTransport(), "httpx.AsyncClient over AiohttpTransport")
    await whole_httpx(base, 2 * IN_FLIGHT, None, "httpx.AsyncClient, its own pool")


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
    command = [sys.executable, "-m", "worker.sandbox.api", "--rate-limit-per-minute", "0"]
    command += ["--service-seconds", str(SERVICE_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            base = orjson.loads(server.stdout.readline())["generation_1"] if server.stdout else ""
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(table(base, requests))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
