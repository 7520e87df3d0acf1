"""A call that is cancelled, wherever it waits, gives its connection back and leaves the client usable."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest

from worker.adapters.humanstandard import AiohttpTransport, HumanStandard
from worker.domain.submission import TrackSubmitted
from worker.flow.replies import Finished
from worker.sandbox.api import SimulatedApi, SimulationConfig, Trouble

TRACK = TrackSubmitted(item_id="17", url="https://cdn.example/17?sandbox=human")


@asynccontextmanager
async def simulated(**settings: Any) -> Any:
    api = SimulatedApi(SimulationConfig(rate_limit_per_minute=0, **settings))
    await api.start()
    transport = AiohttpTransport()
    analyst = HumanStandard(
        base_url=api.base_url(1),
        api_key="sandbox-key",
        generation=1,
        transport=transport,
        timeout_seconds=10,
        user_agent="track-intake-tests/1",
        wall_clock=time.time,
    )
    try:
        yield api, analyst, transport
    finally:
        await analyst.close()
        await api.stop()


def connections(transport: AiohttpTransport) -> int:
    session = transport._session
    return 0 if session is None or session.connector is None else len(session.connector._acquired)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_call_cancelled_after_any_turn_of_the_loop_holds_no_connection(warm: bool) -> None:
    for count in range(1, 60):
        async with simulated(service_seconds=3600.0) as (api, analyst, transport):
            if warm:
                await analyst.probe()
            task = asyncio.create_task(analyst.submit(TRACK))
            await turns(count)
            await cancelled(task)
            assert connections(transport) == 0
            assert "in_flight=0" in repr(analyst)
            await api.until(lambda ledger: ledger.requests_in_flight == 0)


async def test_a_call_cancelled_while_the_api_works_ends_at_the_api_too() -> None:
    async with simulated(service_seconds=3600.0) as (api, analyst, transport):
        tasks = [asyncio.create_task(analyst.submit(TRACK)) for _ in range(20)]
        await api.until(lambda ledger: ledger.requests_in_flight == 20)
        assert connections(transport) == 20
        for task in tasks:
            await cancelled(task)
        assert connections(transport) == 0
        await api.until(lambda ledger: ledger.requests_in_flight == 0)
        assert api.ledger.statuses[0] == 20


async def test_a_call_cancelled_in_the_middle_of_a_body_drops_that_connection() -> None:
    async with simulated(service_seconds=0.0, slow_body_seconds=3600.0) as (api, analyst, transport):
        api.faults.set(Trouble.SLOW_BODY, count=1)
        task = asyncio.create_task(analyst.submit(TRACK))
        await api.until(lambda ledger: ledger.faults[Trouble.SLOW_BODY] == 1)
        await turns(100)
        assert connections(transport) == 1
        await cancelled(task)
        assert connections(transport) == 0
        assert isinstance((await analyst.submit(TRACK)).result, Finished)


async def test_closing_ends_idle_connections_and_may_be_repeated() -> None:
    async with simulated(service_seconds=0.0) as (_, analyst, transport):
        await analyst.submit(TRACK)
        await analyst.close()
        await analyst.close()
        assert "closed" in repr(transport)
