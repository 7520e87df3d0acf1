"""What a job of many tracks waits for, and what waits for one: each is brought about for real, and told as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fake_broker import Step, Way
from tests.fake_jobs import FakeJobs
from tests.pipeline.scene import Knobs, Running, Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.bulk_job import JobPolicy
from worker.flow.entry import Limits
from worker.flow.faults import FaultKind
from worker.flow.job_book import BookPolicy
from worker.flow.mode import ModePolicy, ModeSetting
from worker.flow.replies import Fault
from worker.pipeline.explanation import Jobs, JobWaitsFor, OpenJob, Partition, WaitsFor
from worker.pipeline.facts import JobAccepted, JobEnded, JobGathered
from worker.pipeline.job_driver import ROOM

JOB = JobPolicy(poll_seconds=2.0, poll_max_seconds=30.0, per_page=40)
BOOK = BookPolicy(max_items=100, max_wait_seconds=30.0, job=JOB)
DOWN = Fault(FaultKind.UNAVAILABLE, "HTTP 503")


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


@virtual
async def test_records_wait_until_a_job_is_gathered_and_then_for_its_result() -> None:
    scene = bulk_scene(10)
    worker = scene.worker()
    await until(lambda: worker.worker.explanation(0).partitions and one(worker).holder is not None)
    await elapse(10)
    held = one(worker).holder
    assert held is not None
    assert (held.state, held.waits_for, held.job_id, held.attempts) == ("queued", WaitsFor.GATHERING, None, 0)
    assert held.due_seconds == pytest.approx(20, abs=0.5)
    assert jobs(worker).next_seconds == held.due_seconds
    assert (jobs(worker).mode, jobs(worker).open, jobs(worker).tracks, jobs(worker).jobs) == ("bulk", 0, 0, ())
    await elapse(held.due_seconds or 0)
    await until(lambda: worker.seen(JobAccepted), seconds=3)
    held = one(worker).holder
    assert held is not None
    assert (held.state, held.waits_for, held.job_id, held.attempts) == ("in_job", WaitsFor.JOB, "job-1", 1)
    assert held.due_seconds == job(worker).due_seconds
    assert held.deadline_seconds == job(worker).deadline_seconds == pytest.approx(6 * 3600, abs=1)
    assert (jobs(worker).open, jobs(worker).tracks, jobs(worker).next_seconds) == (1, 10, None)
    behind = one(worker).behind
    assert (behind.in_jobs, behind.queued) == (9, 0)
    await scene.decided()


@virtual
async def test_with_as_many_jobs_open_as_may_be_the_rest_waits_for_room() -> None:
    scene = bulk_scene(250)
    worker = scene.worker()
    await until(lambda: len(worker.seen(JobAccepted)) == 2)
    await elapse(5)
    assert [(each.job_id, each.first_offset, each.last_offset, each.tracks) for each in jobs(worker).jobs] == [
        ("job-1", 0, 99, 100),
        ("job-2", 100, 199, 100),
    ]
    assert (jobs(worker).open, jobs(worker).tracks, jobs(worker).next_size) == (2, 200, 100)
    assert jobs(worker).oldest_seconds == pytest.approx(job(worker).age_seconds)
    assert job(worker).age_seconds == pytest.approx(5, abs=0.5)
    assert one(worker).behind.queued == 50
    lane = worker.calls._lanes[0]
    assert lane.ledger is not None
    for entry in list(lane.ledger.entries())[:195]:  # so that the first ten are not all in jobs
        lane.ledger.states.entries.pop(entry.record.offset)
    shown = {each.offset: each.waits_for for each in one(worker).records}
    assert {shown[199], shown[200]} == {WaitsFor.JOB, WaitsFor.JOB_ROOM}


@virtual
async def test_a_creation_waits_for_the_commit_of_its_intent_and_then_for_a_partition_that_cannot_commit() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 6)
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.INTENT))
    new = job(worker)
    assert (new.job_id, new.call, new.page, new.due_seconds, new.deadline_seconds) == (None, "create", None, None, None)
    await until(lambda: waits(worker, JobWaitsFor.PARTITION))
    assert WaitsFor.COMMITS in {paused.why for paused in one(worker).paused}
    held = one(worker).holder
    assert held is not None
    assert (held.waits_for, held.job_id, held.attempts, held.due_seconds) == (WaitsFor.JOB, None, 0, None)
    assert scene.jobs.requests["create"] == 0
    await until(lambda: waits(worker, JobWaitsFor.REPLY))
    assert (job(worker).call, scene.jobs.requests["create"]) == ("create", 1)
    await scene.decided()


@virtual
async def test_a_question_is_due_when_it_says() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    asked = job(worker)
    assert (asked.call, asked.page, asked.waits_for, asked.detail) == ("ask", None, "time", "")
    due = asked.due_seconds
    assert due is not None
    assert due > 1
    await elapse(due - 0.05)
    assert scene.jobs.requests["ask"] == 0
    await until(lambda: waits(worker, JobWaitsFor.REPLY), seconds=0.1)
    assert (scene.jobs.requests["ask"], job(worker).call) == (1, "ask")
    await scene.decided()


@virtual
async def test_a_page_names_its_number_and_what_went_wrong_stays_told() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    scene.jobs.faults.append(DOWN)
    await until(lambda: first(worker) is not None and job(worker).detail)
    assert job(worker).detail == "HTTP 503"
    pages = set[int | None]()
    while (shown := first(worker)) is not None:
        if shown.call == "read":
            pages.add(shown.page)
        await elapse(0.02)
    assert pages == {1, 2, 3}
    await scene.decided()


@virtual
async def test_the_next_owner_waits_for_the_records_of_the_set() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    worker = scene.worker()
    await until(lambda: worker.seen(JobGathered) and scene.broker.committed and scene.point().intents)
    await scene.crash(worker)
    log = scene.broker.input[0]
    delivered_late = log[:]
    log.clear()
    second = scene.worker()
    await until(lambda: waits(second, JobWaitsFor.RECORDS))
    await elapse(7)
    found = job(second)
    assert (found.job_id, found.call, found.tracks, found.due_seconds) == (None, "create", 0, None)
    assert found.age_seconds == pytest.approx(7, abs=0.2)
    assert (one(second).holder, jobs(second).open, jobs(second).tracks) == (None, 1, 0)
    log.extend(delivered_late)
    scene.broker.arrived.set()
    await until(lambda: second.seen(JobAccepted))
    found_record = one(second).holder
    assert found_record is not None
    assert (found_record.state, found_record.waits_for, found_record.job_id) == ("in_job", WaitsFor.JOB, "job-1")
    await scene.decided()


@virtual
async def test_a_page_waits_for_room_among_the_decisions() -> None:
    book = replace(BOOK, max_items=1300, job=replace(JOB, per_page=550))
    limits = Limits(job_reserve_bytes=20, batch_records=1024)
    scene = bulk_scene(1300, book=book, buffered_records=2000, limits=limits)
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 20)
    await until(lambda: worker.worker.status().lanes[0].unpublished >= ROOM)
    await until(lambda: waits(worker, JobWaitsFor.ROOM), seconds=1)
    full = job(worker)
    assert (full.call, full.page, full.due_seconds) == ("read", 3, None)
    await scene.decided()


@virtual
async def test_in_an_outage_jobs_wait_for_the_api() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    scene.jobs.faults.append(Fault(FaultKind.KEY_REFUSED, "HTTP 401"))
    await until(lambda: waits(worker, JobWaitsFor.SERVICE), seconds=200)
    closed, process = job(worker), worker.worker.explanation().process
    assert (closed.call, closed.detail) == ("ask", "HTTP 401")
    assert process.held is not None
    assert closed.due_seconds == process.held.next_probe_seconds
    scene.submit("probe")
    await scene.decided()


@virtual
async def test_calls_about_jobs_wait_for_quota() -> None:
    scene = bulk_scene(200, per_minute=7)
    assert scene.jobs is not None
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.REPLY))
    await until(lambda: job(worker, 1).waits_for is JobWaitsFor.QUOTA)
    short = job(worker, 1)
    assert short.due_seconds is not None
    assert short.due_seconds > 5
    await elapse(short.due_seconds - 0.05)
    assert scene.jobs.requests["create"] == 1
    await until(lambda: scene.jobs is not None and scene.jobs.requests["create"] == 2, seconds=0.1)
    await scene.decided()


@virtual
async def test_a_job_without_tracks_is_open_until_its_last_decisions_are_committed() -> None:
    scene = bulk_scene(100)
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 9)
    await until(lambda: worker.seen(JobEnded))
    last = job(worker)
    assert (last.waits_for, last.tracks, last.call, last.page, last.due_seconds) == ("commit", 0, None, None, None)
    assert (jobs(worker).open, jobs(worker).tracks, one(worker).behind.in_jobs) == (1, 0, 0)
    await scene.decided()
    await until(lambda: first(worker) is None)


@virtual
async def test_a_result_behind_its_key_names_the_record_that_it_waits_for() -> None:
    scene = bulk_scene(0)
    assert scene.jobs is not None
    for number in range(20):
        scene.submit(f"track-{number}", key=b"song")
    scene.jobs.missing = {"track-3"}
    worker = scene.worker()
    await until(lambda: scene.broker.committed and scene.point().watermark == 3)
    found = one(worker)
    assert found.holder is not None
    assert (found.holder.offset, found.holder.waits_for) == (3, WaitsFor.JOB)
    assert {(each.state, each.waits_for, each.predecessor) for each in found.records[1:]} == {
        ("behind_key", WaitsFor.KEY, 3)
    }
    assert (found.behind.behind_key, found.behind.in_jobs) == (16, 0)
    assert job(worker).tracks == 1
    await scene.decided()


@virtual
async def test_what_goes_alone_in_bulk_mode_waits_as_ever() -> None:
    """Those of a small job that was refused: they wait for no job any more."""
    scene = bulk_scene(4, book=replace(BOOK, max_wait_seconds=1.0), slots=1)
    assert scene.jobs is not None
    scene.jobs.bad = {"track-2"}
    scene.analyst.seconds = 60
    worker = scene.worker()
    await until(lambda: scene.analyst.calls)
    shown = {each.offset: each.waits_for for each in one(worker).records}
    assert shown == {0: WaitsFor.CALL, **dict.fromkeys((1, 2, 3), WaitsFor.SLOT)}
    assert [each.outcome for each in worker.seen(JobEnded)] == ["refused"]
    since = {each.offset: each.since_seconds for each in one(worker).records}
    assert max(since.values()) < 1, "they wait for a slot since the job was refused, not since they were gathered"
    await scene.decided()


@virtual
async def test_a_job_that_is_refused_shows_in_the_size_of_the_next() -> None:
    scene = bulk_scene(100)
    assert scene.jobs is not None
    scene.jobs.bad = {"track-37"}
    worker = scene.worker()
    await until(lambda: worker.seen(JobEnded))
    assert jobs(worker).next_size == 50
    await scene.decided()


@virtual
async def test_the_mode_and_its_estimate_are_told_in_either_mode() -> None:
    mode = ModePolicy(ModeSetting.AUTO, bulk_above_seconds=60.0, min_dwell_seconds=10.0)
    scene = bulk_scene(10, mode=mode, per_minute=60)
    worker = scene.worker()
    await until(lambda: scene.analyst.calls)
    found = jobs(worker)
    assert (found.mode, found.above_seconds, found.next_seconds) == ("direct", 60, None)
    assert {each.waits_for for each in one(worker).records} <= {WaitsFor.CALL, WaitsFor.QUOTA, WaitsFor.TURN}
    await scene.decided()
    for number in range(400):
        scene.submit(f"more-{number}")
    await until(lambda: jobs(worker).mode == "bulk")
    found = jobs(worker)
    [lane] = worker.worker.status().lanes
    assert found.estimate_seconds == lane.direct_estimate_seconds
    assert found.estimate_seconds > found.above_seconds == lane.bulk_above_seconds
    assert lane.bulk
    await scene.decided()
