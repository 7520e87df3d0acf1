"""Workers join and leave, the broker restarts, the key is refused: the work goes on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.broker.kafka import administrator
from tests.broker.traffic import track, tracks
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.drive import WorkerProcess
    from tests.broker.scene import Scene

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


async def test_partitions_that_are_added_are_taken_up_while_work_runs(stage: SetStage) -> None:
    """Their events are decided, from their first offset on, and what runs meanwhile is not bought again."""
    async with stage(partitions=2) as scene:
        await scene.submit(tracks(EVENTS // 4, run=scene.run, partitions=2, seed=SEED))
        worker = scene.start_worker(KAFKA_METADATA_MAX_AGE_SECONDS="1")
        await scene.simulator.bought(EVENTS // 8)
        await scene.cluster.add_partitions(scene.topics.submitted, 5)
        later = [
            track(EVENTS + number, run=scene.run, scenario="human", key=None, partitions=5) for number in range(40)
        ]
        await scene.submit(later)
        await scene.until_done(EVENTS // 4 + len(later), seconds=30)
        assert set(await scene.commit_points()) == set(range(5))
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0


async def test_a_decision_that_is_too_large_waits_until_its_topic_takes_it(stage: SetStage) -> None:
    """It is named in the log, holds back its partition, and is published when the limit is raised: bought once."""
    async with stage(partitions=2) as scene:
        await limit_messages(scene, 8_000)
        large = track(0, run=scene.run, scenario="human", key=None, partitions=2)
        body = orjson.loads(large.value or b"") | {"metadata": {"note": "x" * 20_000}}
        events = [track(number, run=scene.run, scenario="human", key=None, partitions=2) for number in range(1, 9)]
        await scene.submit([replace(large, value=orjson.dumps(body)), *events])
        worker = scene.start_worker()
        await wait_until("the log names it", lambda: names(worker, "MessageSizeTooLargeError"), 30)
        await scene.until_done(len(events) // 2)  # at least the other partition's
        assert await scene.done() <= len(events)
        await limit_messages(scene, 2 << 20)
        await scene.until_done(len(events) + 1)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0


async def names(worker: WorkerProcess, text: str) -> bool:
    return text in worker.process.tail(20)


async def limit_messages(scene: Scene, size: int) -> None:
    """Set max.message.bytes of the topic of approvals."""
    limit = ConfigResource(ConfigResourceType.TOPIC, scene.topics.approve, {"max.message.bytes": str(size)})
    async with administrator(scene.servers) as admin:
        await admin.alter_configs([limit])
