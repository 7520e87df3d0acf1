"""Workers join and leave, the broker restarts, the key is refused: the work goes on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.broker.traffic import track, tracks

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage

pytestmark = pytest.mark.broker
SEED = 20261002
EVENTS = 400


@pytest.mark.parametrize("generation", [1, 2])
async def test_workers_join_and_leave_while_work_runs(stage: SetStage, generation: int) -> None:
    """One, two, three and two workers again: planned changes buy nothing twice."""
    async with stage(partitions=12) as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=12, seed=SEED))
        start = partial(scene.start_worker, generation=generation, MAX_CONCURRENCY="8")
        workers = [start()]
        for members in (2, 3):
            await scene.simulator.bought(EVENTS // 8 * members)
            workers.append(start())
            await scene.until_shared_by(members)
        await scene.simulator.bought(EVENTS // 2)
        assert await workers[0].stop() == 0
        await scene.until_shared_by(2)
        await scene.until_done(EVENTS)
        assert [await worker.stop() for worker in workers[1:]] == [0, 0]
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_broker_is_killed_and_comes_back(stage: SetStage, guarantee: str) -> None:
    """The worker outlives it; decisions whose transaction failed are published again, not bought again."""
    async with stage() as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        worker = scene.start_worker(GUARANTEE=guarantee)
        await scene.simulator.bought(EVENTS // 3)
        scene.cluster.kill(1)
        await scene.cluster.restart(1)
        await scene.until_done(EVENTS, seconds=90)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require(except_for=() if guarantee == "exactly_once" else ("repeated", "decided_out_of_order"))
        assert verdict.bought_again == 0


async def test_slow_head_holds_back_nobody(stage: SetStage) -> None:
    """Neighbours of a slow track are published at once, and a crash does not undo them."""
    async with stage(partitions=1, service_seconds=0.5) as scene:  # "slow" takes ten times as long
        head = track(0, run=scene.run, scenario="slow", key="head", partitions=1)
        await scene.submit([head, *tracks(60, run=scene.run, partitions=1, seed=SEED, first=1)])
        doomed = scene.start_worker()
        await scene.until_done(60)
        [point] = (await scene.commit_points()).values()
        assert (point.watermark, len(point.done)) == (0, 60)
        doomed.process.kill()
        heir = scene.start_worker()
        await scene.until_done(61)
        assert await heir.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 1


async def test_refused_key_stops_admission_until_it_is_healed(stage: SetStage) -> None:
    """A 401 is the operator's problem: not ready, no track goes to review for it, and work resumes by itself."""
    async with stage() as scene:
        await scene.submit(tracks(EVENTS // 2, run=scene.run, partitions=8, seed=SEED, scenarios=("human",)))
        worker = scene.start_worker()
        await scene.simulator.bought(EVENTS // 8)
        await scene.simulator.switch(key_revoked=1)
        await worker.answers(httpx.codes.SERVICE_UNAVAILABLE, seconds=10)
        assert "key_refused" in (await worker.readiness())[1]
        await scene.simulator.switch(key_revoked=0)
        await worker.answers(httpx.codes.OK, seconds=10)
        await scene.until_done(EVENTS // 2)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0
        assert await scene.visible_on(scene.topics.review) == 0
