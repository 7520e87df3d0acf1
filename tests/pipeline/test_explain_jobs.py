"""What a job of many tracks waits for: each is brought about for real, and told as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fake_analyst import HUMAN
from tests.fake_broker import Step, Way
from tests.pipeline.explained_jobs import BOOK, JOB, bulk_scene, first, job, jobs, one, waits
from tests.virtual_time import elapse, until, virtual
from worker.flow.entry import Limits
from worker.flow.faults import FaultKind
from worker.flow.job_intent import item_id
from worker.flow.replies import Fault
from worker.pipeline.explanation import JobWaitsFor, WaitsFor
from worker.pipeline.facts import JobAccepted, JobEnded, JobGathered
from worker.pipeline.job_driver import ROOM

DOWN = Fault(FaultKind.UNAVAILABLE, "HTTP 503")


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
    assert job(worker).age_seconds > 3
    await until(lambda: worker.seen(JobAccepted))
    assert job(worker).age_seconds < 1, "since its acceptance: that is when the API began"
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
    await elapse(55)
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
    await elapse(55)
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 9)
    await until(lambda: worker.seen(JobEnded))
    last = job(worker)
    assert (last.waits_for, last.tracks, last.call, last.page, last.due_seconds) == ("commit", 0, None, None, None)
    assert (jobs(worker).open, jobs(worker).tracks, one(worker).behind.in_jobs) == (1, 0, 0)
    await scene.decided()
    await until(lambda: first(worker) is None)


@virtual
async def test_a_job_that_never_called_waits_for_the_api_like_one_that_was_refused() -> None:
    scene = bulk_scene(200)
    assert scene.jobs is not None
    scene.jobs.faults.append(Fault(FaultKind.KEY_REFUSED, "HTTP 401"))
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.SERVICE))
    await until(lambda: job(worker, 1).waits_for is JobWaitsFor.SERVICE, seconds=1)
    refused, fresh = jobs(worker).jobs
    assert (refused.detail, fresh.detail) == ("HTTP 401", "")
    assert (fresh.call, worker.seen(JobAccepted)) == ("create", [])
    held = worker.worker.explanation().process.held
    assert held is not None
    assert fresh.due_seconds == refused.due_seconds == held.next_probe_seconds
    await scene.decided()


@virtual
async def test_a_job_whose_results_all_came_unasked_needs_no_more_calls() -> None:
    """As webhooks bring them, while the next question is far away."""
    scene = bulk_scene(100)
    worker = scene.worker()
    await until(lambda: waits(worker, JobWaitsFor.TIME))
    await until(lambda: scene.point().intents[0].job_id)
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 9)
    assert worker.bulk is not None
    [driver] = worker.bulk._drivers.values()
    for offset in range(100):
        assert driver.tracks.settle(item_id(0, offset), HUMAN) == "decided"
    last = job(worker)
    assert (last.waits_for, last.tracks, last.call, last.due_seconds) == ("commit", 0, None, None)
    await scene.decided()
