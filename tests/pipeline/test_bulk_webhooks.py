"""What the API tells of a job unasked, through the whole pipeline: believed as far as it goes, and never twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from tests.fake_webhooks import SIGNALS, TIERS, FakeWebhooks, Manners
from tests.pipeline.test_bulk import BOOK, bought, bulk_scene
from tests.virtual_time import elapse, until, virtual
from worker.pipeline.facts import JobEnded, JobResult, TrackDecided

if TYPE_CHECKING:
    from tests.fake_jobs import FakeJobs
    from tests.pipeline.scene import Running, Scene

ADDRESS = "http://us.example/webhooks/humanstandard"


def told_scene(manners: Manners, tracks: int = 60, partitions: int = 1) -> tuple[Scene, FakeJobs]:
    """Every worker is told of everything, as if each had all partitions of the internal topic."""
    scene = bulk_scene(partitions=partitions, tracks=tracks, webhook_url=ADDRESS)
    assert scene.jobs is not None
    webhooks = scene.jobs.webhooks = FakeWebhooks(manners)

    def tell(partition: int, body: bytes) -> None:
        for running in scene.workers:
            if running.bulk is not None and not running.task.done():
                running.bulk.notice(partition, body)

    webhooks.tell = tell
    return scene, scene.jobs


def results(running: Running, source: str) -> Counter[str]:
    """Results by what became of them."""
    return Counter(fact.outcome for fact in running.seen(JobResult) if fact.source == source)


def event(item: str, job_id: str = "job-1") -> bytes:
    """A track.complete of a human track, with all signals."""
    body = {"event": "track.complete", "job_id": job_id, "item_id": item, "status": "success", "verdict": "human"}
    signals = {"scores": dict.fromkeys(SIGNALS), "origin": None, "risk_series": None}
    return orjson.dumps(body | {"tier_verdicts": dict.fromkeys(TIERS, "human")} | signals)


@virtual
async def test_a_track_is_decided_when_its_webhook_comes() -> None:
    scene, jobs = told_scene(Manners(delay_seconds=0.0))
    jobs.seconds = 100.0
    worker = scene.worker()
    await until(lambda: jobs.jobs)
    await elapse(51)
    assert len(scene.broker.visible) in {29, 30, 31}
    await scene.decided()
    assert results(worker, "webhook") == {"decided": 60}
    assert jobs.requests["read"] == 0
    assert jobs.addresses == [f"{ADDRESS}?partition=0"]


@virtual
async def test_a_webhook_that_lacks_what_the_decision_shows_waits_for_the_page() -> None:
    scene, jobs = told_scene(Manners(sparse=1.0, delay_seconds=0.0))
    worker = scene.worker()
    await scene.decided()
    assert results(worker, "webhook") == {"incomplete": 60}
    assert results(worker, "page") == {"decided": 60}
    assert jobs.requests["ask"] == 0  # the end of the job was told


@virtual
async def test_webhooks_that_come_twice_and_all_pages_decide_once() -> None:
    scene, _ = told_scene(Manners(twice=1.0, delay_seconds=5.0))
    worker = scene.worker()
    await scene.decided()
    await elapse(60)
    both = results(worker, "webhook") + results(worker, "page")
    assert both["decided"] == 60
    assert results(worker, "webhook").keys() <= {"decided", "late", "unknown_job"}
    assert bought(scene) == {1}


@virtual
async def test_what_strangers_are_told_of_is_nobodys() -> None:
    """Another partition's job, another partition's track, an id that nobody gave, and no event at all."""
    scene, jobs = told_scene(Manners(lost=1.0), tracks=40, partitions=2)
    worker = scene.worker()
    assert worker.bulk is not None
    worker.bulk.notice(0, event("0-1"))  # before anything is known of the job
    await until(lambda: len(jobs.jobs) == 2)
    await elapse(1)
    of = {int(next(iter(job.names)).split("-")[0]): job.job_id for job in jobs.jobs.values()}
    for partition, body in (
        (1, event("0-1", of[0])),
        (7, event("0-1", of[0])),
        (0, event("0-1", "job-9")),
        (0, event("1-1", of[0])),
        (0, event("0-20", of[0])),
        (0, event("0-01", of[0])),
        (0, b"{"),
        (0, orjson.dumps({"event": "job.paused", "job_id": of[0]})),
    ):
        worker.bulk.notice(partition, body)
    assert results(worker, "webhook") == {"unknown_job": 4, "foreign": 3}
    assert worker.seen(JobEnded) == []
    await scene.decided()
    assert bought(scene) == {1}


@virtual
async def test_a_webhook_for_a_job_that_was_given_up_changes_nothing() -> None:
    scene, jobs = told_scene(Manners(lost=1.0), tracks=40)
    worker = scene.worker()
    assert worker.bulk is not None
    jobs.dying = 1
    await until(lambda: worker.seen(JobEnded))
    for item in list(jobs.jobs["job-1"].names):
        worker.bulk.notice(0, event(item))
    worker.bulk.notice(0, orjson.dumps({"event": "job.complete", "job_id": "job-1"}))
    await scene.decided()
    assert results(worker, "webhook") == {"unknown_job": 41}


@virtual
async def test_nothing_is_decided_for_a_partition_that_is_somebody_else_s() -> None:
    """Results held back by one key are decided in steps; the partition may go between two of them."""
    scene, jobs = told_scene(Manners(lost=1.0), tracks=0)
    for number in range(300):
        scene.submit(f"track-{number}", key=b"one")
    jobs.seconds = 1000.0
    worker = scene.worker(book=replace(BOOK, max_items=300))
    await until(lambda: jobs.jobs)
    await elapse(1)
    assert worker.bulk is not None
    for number in reversed(range(300)):
        worker.bulk.notice(0, event(f"0-{number}"))
    decided = len(worker.seen(TrackDecided))
    assert decided < 300
    worker.source.dead = True
    worker.worker._lanes[0].seal("moved")
    await elapse(5)
    assert len(worker.seen(TrackDecided)) == decided
