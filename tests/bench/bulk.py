"""What jobs of many tracks cost at both edges: `python -m tests.bench.bulk [--tracks 100000]`.

Reading results, in the worker: CPU microseconds a line, of a page of 1,000 with risk series. Holding tracks, in the
simulated API: bytes a track, those of the credit ledger apart.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
import tracemalloc
from typing import TYPE_CHECKING

import httpx

from worker.adapters.humanstandard import AiohttpTransport, HumanStandard, HumanStandardJobs
from worker.domain.jobs import MAX_ITEMS, MAX_PER_PAGE, JobItem, JobState, TrackResult, result_of_line
from worker.sandbox.api import SimulatedApi, SimulationConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY = "sandbox-key"
CHUNK_BYTES = 64 * 1024
ROUNDS = 20


class Page(httpx.AsyncByteStream):
    """A recorded page in chunks of a socket's size."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), CHUNK_BYTES):
            yield self.body[start : start + CHUNK_BYTES]


def items(first: int, count: int) -> list[JobItem]:
    return [
        JobItem(f"{n:08d}", f"https://cdn.example/catalogue/{n:08d}.flac?signature=0123456789", metadata={"i": str(n)})
        for n in range(first, first + count)
    ]


def jobs_over(base: str, transport: httpx.AsyncBaseTransport) -> tuple[HumanStandard, HumanStandardJobs]:
    analyst = HumanStandard(
        base_url=base,
        api_key=KEY,
        generation=1,
        transport=transport,
        timeout_seconds=60,
        user_agent="track-intake-bench/1",
        wall_clock=time.time,
    )
    assert analyst.jobs is not None
    return analyst, analyst.jobs


async def recorded() -> bytes:
    """One full page as the simulated API writes it."""
    api = SimulatedApi(SimulationConfig(service_seconds=0.0, rate_limit_per_minute=0))
    await api.start()
    analyst, jobs = jobs_over(api.base_url(1), AiohttpTransport())
    state = (await jobs.create_job("page", "bench", items(0, MAX_PER_PAGE), None)).result
    assert isinstance(state, JobState)
    where = f"{api.base_url(1)}/jobs/{state.job_id}/results?per_page={MAX_PER_PAGE}"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, trust_env=False) as browser:
        body = (await browser.get(where)).content
    await analyst.close()
    await api.stop()
    return body


def consume(lines: list[bytes]) -> None:
    for line in lines:
        result_of_line(line, job_id="job-1")


def best(work: Callable[[], None]) -> float:
    """CPU seconds of the quickest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


async def reading() -> None:
    body = await recorded()
    lines = body.splitlines()
    parsed = best(lambda: consume(lines))
    _, jobs = jobs_over("http://api.example", httpx.MockTransport(lambda _: httpx.Response(200, stream=Page(body))))
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = [record async for record in jobs.results("job-1", page=1, per_page=MAX_PER_PAGE)]
        times.append(time.process_time() - started)
        assert sum(isinstance(record, TrackResult) for record in found) == len(lines)
    print(f"a page of {len(lines)} results: {len(body) / len(lines):.0f} bytes a line")  # noqa: T201 - the bench's output
    print(f"decoded and normalised: {parsed / len(lines) * 1e6:.1f} us CPU a line")  # noqa: T201 - the same
    print(f"streamed through the client: {min(times) / len(lines) * 1e6:.1f} us CPU a line")  # noqa: T201 - the same


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def holding(tracks: int) -> None:
    api = SimulatedApi(SimulationConfig(rate_limit_per_minute=0))
    await api.start()
    analyst, jobs = jobs_over(api.base_url(1), AiohttpTransport())
    await jobs.job("warm")
    tracemalloc.start()
    before, started = held(), time.process_time()
    for first in range(0, tracks, MAX_ITEMS):
        reply = await jobs.create_job(f"key-{first}", "bench", items(first, min(MAX_ITEMS, tracks - first)), None)
        assert isinstance(reply.result, JobState)
    spent = time.process_time() - started
    whole = held() - before
    api.ledger.scans.clear()
    ledger = whole - (held() - before)
    tracemalloc.stop()
    await analyst.close()
    await api.stop()
    print(  # noqa: T201 - the same
        f"{tracks} tracks in the simulated API: {(whole - ledger) / tracks:.0f} bytes a track, "
        f"and {ledger / tracks:.0f} in the ledger; {spent:.1f} s CPU under tracemalloc"
    )


async def creating() -> None:
    api = SimulatedApi(SimulationConfig(rate_limit_per_minute=0))
    await api.start()
    analyst, jobs = jobs_over(api.base_url(1), AiohttpTransport())
    started, wall = time.process_time(), time.perf_counter()
    await jobs.create_job("key", "bench", items(0, MAX_ITEMS), None)
    cpu, wall = time.process_time() - started, time.perf_counter() - wall
    await analyst.close()
    await api.stop()
    print(f"creating a job of {MAX_ITEMS}: {wall * 1e3:.0f} ms, {cpu * 1e3:.0f} ms CPU of both sides")  # noqa: T201 - the same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=100_000)
    tracks = parser.parse_args().tracks
    asyncio.run(reading())
    asyncio.run(creating())
    asyncio.run(holding(tracks))
    print(f"peak of the whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")  # noqa: T201 - the same


if __name__ == "__main__":
    main()
