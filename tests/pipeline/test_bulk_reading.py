"""Pages of many jobs at once: as many as there is room for what they bring, and no call of the quota for nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.fake_jobs import FakeJobs
from tests.pipeline.test_bulk import JOB, bought, bulk_scene
from tests.virtual_time import elapse, until, virtual
from worker.domain.jobs import MAX_PER_PAGE
from worker.flow.bulk_job import Job
from worker.flow.job_intent import Aim, Intent
from worker.pipeline.explanation import JobWaitsFor
from worker.pipeline.facts import JobEnded
from worker.pipeline.job_tracks import ROOM_OF_ALL, Reading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from worker.flow.job_replies import PageRecord

AT_ONCE = -(-ROOM_OF_ALL // MAX_PER_PAGE)
PARTITIONS = 12


class CountsReaders(FakeJobs):
    """Takes some time for each page, and notes how many are read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.readers = self.most_readers = 0

    async def results(self, job_id: str, *, page: int, per_page: int) -> AsyncGenerator[PageRecord]:
        self.readers += 1
        self.most_readers = max(self.most_readers, self.readers)
        try:
            await elapse(1.0)
            async for record in super().results(job_id, page=page, per_page=per_page):
                yield record
        finally:
            self.readers -= 1


def job(first: int) -> Job:
    return Job(Intent(first, first, Aim.FETCH, job_id=f"job-{first}"), JOB)


@pytest.mark.parametrize("unpublished", [0, 1, MAX_PER_PAGE, ROOM_OF_ALL - 1, ROOM_OF_ALL, 10 * ROOM_OF_ALL])
@pytest.mark.parametrize("readers", range(AT_ONCE + 1))
def test_a_page_has_room_while_what_it_may_bring_is_bounded_with_all_the_rest(unpublished: int, readers: int) -> None:
    freed: list[int] = []
    reading = Reading(lambda: unpublished, on_free=lambda: freed.append(1))
    jobs = [job(number) for number in range(readers)]
    under_way = [reading.page(each) for each in jobs]
    for page in under_way:
        page.__enter__()
    assert reading.has_room(job(99)) is (unpublished + readers * MAX_PER_PAGE < ROOM_OF_ALL)
    assert all(reading.has_room(each) for each in jobs)
    for page in under_way:
        page.__exit__(None, None, None)
    assert len(freed) == readers
    assert reading.has_room(job(99)) is (unpublished < ROOM_OF_ALL)


@virtual
async def test_few_jobs_read_at_once_and_all_are_read() -> None:
    """They end in the same second; whoever waits for room takes no turn of the quota meanwhile."""
    scene = bulk_scene(partitions=PARTITIONS, tracks=PARTITIONS * 100, per_minute=6000)
    scene.jobs = jobs = CountsReaders()
    worker = scene.worker()
    await until(lambda: jobs.readers == AT_ONCE)
    await elapse(0.5)  # the others have heard that their jobs are done
    shown = [worker.worker.explanation(number).partitions[0].jobs for number in range(PARTITIONS)]
    waits = Counter(each.waits_for for jobs_of_one in shown if jobs_of_one for each in jobs_of_one.jobs)
    assert waits == {JobWaitsFor.REPLY: AT_ONCE, JobWaitsFor.ROOM: PARTITIONS - AT_ONCE}
    await scene.decided()
    assert jobs.most_readers == AT_ONCE
    assert jobs.requests["read"] == PARTITIONS * 3
    assert bought(scene) == {1}
    assert [fact.outcome for fact in worker.seen(JobEnded)] == ["complete"] * PARTITIONS
    assert worker.calls.gate.status(0.0).used_per_minute <= jobs.requests.total()


@virtual
async def test_a_lane_that_leaves_in_the_middle_of_a_page_gives_its_room_back() -> None:
    scene = bulk_scene(partitions=PARTITIONS, tracks=PARTITIONS * 100)
    scene.jobs = jobs = CountsReaders()
    first = scene.worker()
    await until(lambda: jobs.readers == AT_ONCE)
    second = scene.worker()
    await scene.ready(first, second)
    await scene.decided()
    assert bought(scene) == {1}
    assert jobs.most_readers <= 2 * AT_ONCE
