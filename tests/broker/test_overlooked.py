"""Partitions that are added to the topic while the group's leader does not know that it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.traffic import track, tracks

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.drive import WorkerProcess

pytestmark = pytest.mark.broker
SEED = 20261122
EVENTS = 40


@pytest.mark.parametrize("members", [1, 2])
async def test_partitions_added_after_a_static_leader_came_back_are_taken_up(stage: SetStage, members: int) -> None:
    """It got its seat back without a rebalance, and nobody but itself could have seen the partitions."""
    async with stage(partitions=2) as scene:

        def sit(seat: int) -> WorkerProcess:
            return scene.start_worker(
                KAFKA_GROUP_INSTANCE_ID=f"seat-{seat}",
                KAFKA_METADATA_MAX_AGE_SECONDS="1",
                KAFKA_SESSION_TIMEOUT_SECONDS="10",
            )

        workers = []
        for seat in range(members):  # the first to come leads
            workers.append(sit(seat))
            await scene.until_shared_by(seat + 1)
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=2, seed=SEED))
        await scene.until_done(EVENTS)
        for seat in range(members):
            workers[seat].process.kill()
            workers[seat] = sit(seat)
            await workers[seat].ready()
        await scene.cluster.add_partitions(scene.topics.submitted, 5)
        later = [
            track(EVENTS + number, run=scene.run, scenario="human", key=None, partitions=5) for number in range(EVENTS)
        ]
        await scene.submit(later)
        await scene.until_done(2 * EVENTS, seconds=30)
        assert set(await scene.commit_points()) == set(range(5))
        assert [await worker.stop() for worker in workers] == [0] * members
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0
