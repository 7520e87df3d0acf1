"""Brokers that move, fill up and come back under a worker that is at work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.broker.coordinators import Coordinated
from tests.broker.disk import NoDiskError
from tests.broker.kafka import KafkaCluster
from tests.broker.scene import scene
from tests.broker.traffic import tracks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker
SEED = 20261004
EVENTS = 400


async def test_coordinators_move_while_a_worker_works(tmp_path: Path) -> None:
    """Of the group and of a lane's transactions. Nothing is lost, repeated or bought twice."""
    cluster = KafkaCluster(tmp_path, brokers=3, proxied=True)
    try:
        await cluster.start()
        async with cluster.proxy(seed=SEED) as proxy, scene(cluster, tmp_path, "moving") as stage:
            await stage.submit(tracks(EVENTS, run=stage.run, partitions=8, seed=SEED))
            worker = stage.start_worker(KAFKA_BOOTSTRAP_SERVERS=cluster.proxied_bootstrap_servers)
            lane = f"{stage.group}-{stage.topics.submitted}-0"
            for name, kind in ((stage.group, Coordinated.GROUP), (lane, Coordinated.TRANSACTION)):
                await stage.simulator.bought((await stage.simulator.ledger())["credits"] + 40)
                before = await cluster.coordinator(name, kind)
                moved = await cluster.move_coordinator(name, kind)
                assert before != moved == await cluster.coordinator(name, kind)
            assert all(proxy.connections(node) for node in (1, 2, 3))
            await stage.until_done(EVENTS, seconds=90)
            assert await worker.stop() == 0
            verdict = await stage.examine(seed=SEED)
            verdict.require()
            assert (verdict.decisions, verdict.bought_again) == (EVENTS, 0)
    finally:
        cluster.stop()


async def test_the_brokers_disk_is_full_for_a_while(tmp_path: Path) -> None:
    """Kafka ends when its only disk fails; the worker outlives that, and goes on once there is room again."""
    cluster = KafkaCluster(tmp_path, disk_bytes=40_000_000)
    try:
        try:
            await cluster.start()
        except NoDiskError as missing:
            pytest.skip(str(missing))  # a right that machines may keep to themselves, no tool to install
        async with scene(cluster, tmp_path, "full-disk") as stage:
            await stage.submit(tracks(EVENTS, run=stage.run, partitions=8, seed=SEED))
            worker = stage.start_worker()
            await stage.simulator.bought(EVENTS // 3)
            await cluster.fill_disk(1)
            await asyncio.sleep(2)
            await cluster.free_disk(1)
            await stage.until_done(EVENTS, seconds=90)
            assert await worker.stop() == 0
            verdict = await stage.examine(seed=SEED)
            verdict.require()
            assert (verdict.decisions, verdict.bought_again) == (EVENTS, 0)
    finally:
        cluster.stop()
