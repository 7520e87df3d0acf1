"""What a line does to time: latency, jitter, bandwidth."""

from __future__ import annotations

import asyncio
import time

from tests.broker.echo import net
from tests.broker.line import Way


async def test_latency_is_added_for_each_direction_and_ends_at_once() -> None:
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.delay(1, 0.1)
        assert await client.round_trip() >= 0.2
        scene.proxy.delay(1, 0.0, Way.TO_BROKER)
        assert await client.round_trip() >= 0.1
        scene.proxy.delay(seconds=3_600)
        await client.says(b"wait")
        await client.hears_nothing()
        scene.proxy.heal()
        assert await client.hears(4) == b"wait"


async def test_latency_does_not_add_up_over_many_messages() -> None:
    """A line that is long is not narrow: ten messages take one latency, not ten."""
    async with net() as scene:
        client = await scene.connect()
        scene.proxy.delay(1, 0.5, Way.TO_BROKER)
        began = time.monotonic()
        for number in range(10):
            await client.says(b"%d" % number)
            await asyncio.sleep(0.01)
        assert await client.hears(10) == b"0123456789"
        assert 0.5 <= time.monotonic() - began < 3


async def test_jitter_comes_from_the_seed_and_keeps_the_order() -> None:
    draws = []
    for seed in (1, 1, 2):
        async with net(seed=seed) as scene:
            line = next(iter(scene.proxy._doors[1].lines.values()))
            draws.append([line.chunk(b"x").jitter for _ in range(5)])
            client = await scene.connect()
            scene.proxy.delay(1, 0.0, jitter_seconds=0.3)
            times = [await client.round_trip() for _ in range(5)]
            assert max(times) > 0.1
            scene.proxy.delay(1, 0.0, jitter_seconds=0.05)
            for number in range(20):
                await client.says(b"%02d" % number)
                await asyncio.sleep(0.001)
            assert await client.hears(40) == b"".join(b"%02d" % number for number in range(20))
    assert draws[0] == draws[1] != draws[2]


async def test_bandwidth_is_bounded_over_all_connections_and_the_bound_ends_at_once() -> None:
    async with net() as scene:
        clients = [await scene.connect() for _ in range(2)]
        for client in clients:
            await client.round_trip()
        scene.proxy.limit(1, 100_000, Way.TO_BROKER)
        began = time.monotonic()
        await asyncio.gather(*(client.round_trip(bytes(25_000)) for client in clients))
        assert time.monotonic() - began > 0.35
        scene.proxy.limit(1, 10)
        await clients[0].says(bytes(1_000))
        scene.proxy.heal()
        await clients[0].hears(1_000)
