"""Workers whose way to the brokers is cut, long or full of holes: nothing is lost, repeated or bought twice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.broker.line import Way
from tests.broker.scene import Scene, scene
from tests.broker.traffic import tracks
from tests.broker.waiting import wait_until
from tests.broker.wire import END_TXN, PRODUCE, TXN_OFFSET_COMMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.broker.drive import WorkerProcess
    from tests.broker.kafka import KafkaCluster
    from tests.broker.proxy import FaultProxy

pytestmark = pytest.mark.broker
SEED = 20261003
EVENTS = 300
TRANSACTION_SECONDS = 3


@asynccontextmanager
async def play(cluster: KafkaCluster, home: Path, run: str) -> AsyncIterator[tuple[Scene, FaultProxy]]:
    async with cluster.proxy(seed=SEED) as proxy, scene(cluster, home, run) as stage:
        await stage.submit(tracks(EVENTS, run=run, partitions=8, seed=SEED))
        yield stage, proxy


def start(stage: Scene, cluster: KafkaCluster) -> WorkerProcess:
    return stage.start_worker(
        KAFKA_BOOTSTRAP_SERVERS=cluster.proxied_bootstrap_servers,
        KAFKA_TRANSACTION_TIMEOUT_SECONDS=str(TRANSACTION_SECONDS),
    )


async def require_all(stage: Scene, worker: WorkerProcess) -> None:
    await stage.until_done(EVENTS, seconds=90)
    assert await worker.stop() == 0
    verdict = await stage.examine(seed=SEED)
    verdict.require()
    assert (verdict.decisions, verdict.bought_again) == (EVENTS, 0)


async def test_a_step_that_the_broker_took_without_its_reply_arriving(proxied: KafkaCluster, tmp_path: Path) -> None:
    """The transaction may be committed, and the worker cannot know: it finds out, and publishes nothing twice."""
    async with play(proxied, tmp_path, "reply-lost") as (stage, proxy):
        worker = start(stage, proxied)
        for step, api_key in enumerate((END_TXN, TXN_OFFSET_COMMIT, PRODUCE, END_TXN), 1):
            await stage.simulator.bought(EVENTS // 6 * step)
            proxy.cut_replies(api_key=api_key)

            async def is_lost(losses: int = step) -> bool:
                return proxy.lost_replies() == losses

            await wait_until("a reply is lost", is_lost, 20)
        await require_all(stage, worker)


@pytest.mark.parametrize("reset", [False, True])
async def test_brokers_out_of_reach_for_longer_than_a_transaction_may_last(
    proxied: KafkaCluster, tmp_path: Path, reset: bool
) -> None:
    """The broker aborts what was open; what was held in the network arrives late, or never."""
    async with play(proxied, tmp_path, f"out-of-reach-{reset}".lower()) as (stage, proxy):
        worker = start(stage, proxied)
        await stage.simulator.bought(EVENTS // 4)
        proxy.blackhole()
        await asyncio.sleep(2.5 * TRANSACTION_SECONDS)
        proxy.heal(reset=reset)
        await require_all(stage, worker)


async def test_replies_vanish_while_requests_arrive(proxied: KafkaCluster, tmp_path: Path) -> None:
    """The way back alone is broken for longer than a transaction may last."""
    async with play(proxied, tmp_path, "one-way") as (stage, proxy):
        worker = start(stage, proxied)
        await stage.simulator.bought(EVENTS // 4)
        proxy.blackhole(way=Way.FROM_BROKER)
        await asyncio.sleep(2.5 * TRANSACTION_SECONDS)
        proxy.heal(reset=True)
        await require_all(stage, worker)


async def test_connections_are_reset_again_and_again_on_a_slow_line(proxied: KafkaCluster, tmp_path: Path) -> None:
    """And for a while nobody listens."""
    async with play(proxied, tmp_path, "resets") as (stage, proxy):
        worker = start(stage, proxied)
        proxy.delay(seconds=0.02, jitter_seconds=0.03)
        for share in (6, 4, 3):
            await stage.simulator.bought(EVENTS // share)
            proxy.reset()
        proxy.refuse()
        proxy.reset()
        await asyncio.sleep(1)
        proxy.heal()
        await require_all(stage, worker)
