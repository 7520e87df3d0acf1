"""Processes that die, sleep or are fenced while they work: nothing is lost and nothing is repeated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from tests.broker.traffic import tracks

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.scene import Scene

pytestmark = pytest.mark.broker
SEED = 20261001
EVENTS = 240
ON_THEIR_WAY = 4


@pytest.mark.parametrize(("guarantee", "generation"), [("exactly_once", 1), ("exactly_once", 2), ("at_least_once", 1)])
async def test_kill_9_in_mid_flight(stage: SetStage, guarantee: str, generation: int) -> None:
    """Bought again is at most what was bought and not yet published; at least once may repeat just that, too."""
    async with stage() as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        doomed = scene.start_worker(generation=generation, GUARANTEE=guarantee)
        await scene.simulator.bought(EVENTS // 3)
        doomed.process.kill()
        undone = await scene.undone()
        heir = scene.start_worker(generation=generation, GUARANTEE=guarantee)
        await scene.until_done(EVENTS)
        assert await heir.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require(except_for=() if guarantee == "exactly_once" else ("repeated", "decided_out_of_order"))
        assert undone > 0
        assert verdict.bought_again <= undone + verdict.count("repeated")


@pytest.mark.parametrize("generation", [1, 2])
async def test_zombie_wakes_up_after_its_partitions_moved(stage: SetStage, generation: int) -> None:
    """A process that slept through its session publishes nothing of what it held, buys nothing more, joins again.

    All but a few requests that were on their way out: a loop's turn may be cut between the decision and the socket.
    """
    async with stage() as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        zombie, owner = (
            scene.start_worker(generation=generation, ADAPTIVE_CONCURRENCY="false", MAX_CONCURRENCY="16")
            for _ in range(2)
        )
        await scene.until_shared_by(2)
        # Both are at work, over connections that stand: one that is being made carries its request after the sleep.
        await scene.simulator.bought((await scene.simulator.ledger())["credits"] + 80)
        zombie.process.pause()
        undone = await scene.undone()
        await scene.until_shared_by(1)
        await scene.until_done(EVENTS)
        asleep = await scene.simulator.ledger()
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED, first=EVENTS))
        zombie.process.resume()
        await scene.until_shared_by(2)
        await scene.until_done(2 * EVENTS)
        assert [await worker.stop() for worker in (zombie, owner)] == [0, 0]
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert asleep["credits"] - asleep["tracks"] <= undone
        assert 0 <= verdict.bought_again - (asleep["credits"] - asleep["tracks"]) <= ON_THEIR_WAY


async def test_fenced_again_and_again_by_a_stranger(stage: SetStage) -> None:
    """Transactions fail at whatever step they are in; the same decisions are published, none is bought again."""
    async with stage(partitions=4) as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=4, seed=SEED))
        worker = scene.start_worker()
        for target in range(40, EVENTS, 40):
            await scene.simulator.bought(target)
            await asyncio.gather(*(_fence(scene, partition) for partition in range(4)))
        await scene.until_done(EVENTS)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0


async def _fence(scene: Scene, partition: int) -> None:
    """Take a lane's transactional id, as a new owner would, and leave it at that."""
    stranger = AIOKafkaProducer(
        bootstrap_servers=scene.servers, transactional_id=f"{scene.group}-{scene.topics.submitted}-{partition}"
    )
    await stranger.start()
    await stranger.stop()


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_sigterm_drains(stage: SetStage, guarantee: str) -> None:
    """A planned stop finishes what runs, publishes it and exits with 0: the next worker redoes nothing."""
    async with stage() as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        first = scene.start_worker(GUARANTEE=guarantee)
        await scene.simulator.bought(EVENTS // 3)
        assert await first.stop() == 0
        bought = (await scene.simulator.ledger())["credits"]
        assert bought < EVENTS
        assert await scene.visible() == bought == await scene.done()
        second = scene.start_worker(GUARANTEE=guarantee)
        await scene.until_done(EVENTS)
        assert await second.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0
