"""Workers with jobs of many tracks, and what they tell of the first partition's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fake_jobs import FakeJobs
from tests.pipeline.scene import Knobs, Scene
from worker.flow.bulk_job import JobPolicy
from worker.flow.job_book import BookPolicy

if TYPE_CHECKING:
    from tests.pipeline.scene import Running
    from worker.pipeline.explanation import Jobs, JobWaitsFor, OpenJob, Partition

JOB = JobPolicy(poll_seconds=2.0, poll_max_seconds=30.0, per_page=40)
BOOK = BookPolicy(max_items=100, max_wait_seconds=30.0, job=JOB)


def bulk_scene(tracks: int, *, api: FakeJobs | None = None, **changes: object) -> Scene:
    knobs = replace(Knobs(book=BOOK), **changes)  # type: ignore[arg-type] # the knobs' own types, checked by use
    scene = Scene(knobs=knobs, jobs=api or FakeJobs(seconds=60.0))
    for number in range(tracks):
        scene.submit(f"track-{number}")
    return scene


def one(worker: Running) -> Partition:
    found = worker.worker.explanation(0).partitions
    assert len(found) == 1
    return found[0]


def jobs(worker: Running) -> Jobs:
    found = one(worker).jobs
    assert found is not None
    return found


def job(worker: Running, number: int = 0) -> OpenJob:
    return jobs(worker).jobs[number]


def first(worker: Running) -> OpenJob | None:
    """The oldest job, if there is any yet."""
    found = worker.worker.explanation(0).partitions
    open_jobs = found[0].jobs.jobs if found and found[0].jobs is not None else ()
    return open_jobs[0] if open_jobs else None


def waits(worker: Running, what: JobWaitsFor) -> bool:
    found = first(worker)
    return found is not None and found.waits_for is what
