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
AT_WORK = 60
OWN_PART_SECONDS = 15  # a loaded machine takes its time; a wait for a time-out of ours would take much longer


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


async def test_each_broker_dies_in_turn_and_the_worker_adds_little(tmp_path: Path) -> None:
    """Whatever it led and coordinated, the controller's quorum included; once Kafka takes events, they are decided.

    A submission returns when the partitions have new leaders: what comes after that is the worker's own part.
    """
    cluster = KafkaCluster(tmp_path, brokers=3, proxied=True)
    try:
        await cluster.start()
        async with cluster.proxy(seed=SEED), scene(cluster, tmp_path, "dying") as stage:
            worker = stage.start_worker(KAFKA_BOOTSTRAP_SERVERS=cluster.proxied_bootstrap_servers)
            for turn, node in enumerate((1, 2, 3)):
                await stage.submit(tracks(AT_WORK, run=stage.run, partitions=8, seed=SEED, first=2 * turn * AT_WORK))
                await stage.simulator.bought((2 * turn + 1) * AT_WORK - 8)
                cluster.kill(node)
                await stage.submit(
                    tracks(AT_WORK, run=stage.run, partitions=8, seed=SEED, first=(2 * turn + 1) * AT_WORK)
                )
                await stage.until_done(2 * (turn + 1) * AT_WORK, seconds=OWN_PART_SECONDS)
                await cluster.restart(node)
            assert await worker.stop() == 0
            verdict = await stage.examine(seed=SEED)
            verdict.require()
            assert (verdict.decisions, verdict.bought_again) == (6 * AT_WORK, 0)
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
