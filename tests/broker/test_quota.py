"""Replicas divide the quota by the partitions that the group really gives them, of as many as the topic really has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.broker.conftest import SetStage
    from tests.broker.drive import WorkerProcess

pytestmark = pytest.mark.broker
PER_MINUTE = 6000


async def parts(workers: Sequence[WorkerProcess], expected: Sequence[int]) -> None:
    """Wait until the workers may send so many requests a minute, in any order."""

    async def told() -> bool:
        found = [(await worker.metrics())["track_intake_quota_requests_per_minute"] for worker in workers]
        return sorted(found) == sorted(expected)

    await wait_until(f"the parts are {expected}", told, 60)


async def test_the_parts_follow_every_change_of_the_group_and_of_the_topic(stage: SetStage) -> None:
    """One worker, two, three of which one has no partition, partitions added, and one worker again."""
    async with stage(partitions=2) as scene:
        workers = [scene.start_worker(RATE_LIMIT_PER_MINUTE=str(PER_MINUTE), KAFKA_METADATA_MAX_AGE_SECONDS="1")]
        await workers[0].ready()
        await parts(workers, [6000])
        for expected in ([3000, 3000], [3000, 3000, 0]):
            workers.append(scene.start_worker(RATE_LIMIT_PER_MINUTE=str(PER_MINUTE)))
            await workers[-1].ready()
            await parts(workers, expected)
        await scene.cluster.add_partitions(scene.topics.submitted, 5)
        assert await workers.pop().stop() == 0
        await parts(workers, [3600, 2400])
        assert await workers.pop().stop() == 0
        await parts(workers, [6000])
        assert await workers[0].stop() == 0
