"""What waits for a job, and for what in one; which way a partition's tracks go, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.pipeline.explained_jobs import BOOK, bulk_scene, job, jobs, one
from tests.virtual_time import elapse, until, virtual
from worker.flow.entry import Limits
from worker.flow.mode import ModePolicy, ModeSetting
from worker.pipeline.explanation import WaitsFor
from worker.pipeline.facts import JobAccepted, JobEnded, TrackDecided


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


@virtual
async def test_what_is_too_far_above_the_watermark_waits_for_the_oldest_in_jobs_too() -> None:
    scene = bulk_scene(60, limits=Limits(window=8, job_reserve_bytes=20))
    worker = scene.worker()
    await until(lambda: worker.seen(JobAccepted))
    found = one(worker)
    assert [(paused.what, paused.why) for paused in found.paused] == [("starting", WaitsFor.WINDOW)]
    assert {each.offset: each.waits_for for each in found.records} == {
        **dict.fromkeys(range(8), WaitsFor.JOB),
        **dict.fromkeys((8, 9), WaitsFor.WINDOW),
    }
    await scene.decided()


@virtual
async def test_what_only_single_calls_wait_for_pauses_no_jobs() -> None:
    """The metadata kept free for the job of a single track is enough for the intent of many."""
    scene = bulk_scene(5, book=replace(BOOK, max_wait_seconds=1.0), limits=Limits(job_reserve_bytes=2500))
    assert scene.jobs is not None
    scene.jobs.bad = {"track-2"}
    scene.analyst.seconds = 60
    worker = scene.worker()
    await until(lambda: scene.analyst.calls)
    for number in range(30):
        scene.submit(f"more-{number}")
    await until(lambda: jobs(worker).open == 1)
    found = one(worker)
    assert [paused.why for paused in found.paused] == [WaitsFor.METADATA]
    assert (found.records[1].waits_for, found.records[5].waits_for) == (WaitsFor.METADATA, WaitsFor.JOB)
    await scene.decided()


@virtual
async def test_a_track_of_a_failed_job_is_at_its_second_attempt_in_the_next() -> None:
    """As its decision will count it."""
    scene = bulk_scene(40, book=replace(BOOK, max_wait_seconds=1.0))
    assert scene.jobs is not None
    scene.jobs.dying = 1
    worker = scene.worker()
    await until(lambda: len(worker.seen(JobAccepted)) > 1)
    in_jobs = [each for each in one(worker).records if each.job_id not in {None, "job-1"}]
    assert in_jobs
    assert {each.attempts for each in in_jobs} == {2}
    await scene.decided()
    assert {fact.attempts for fact in worker.seen(TrackDecided) if fact.offset >= 20} == {2}


@virtual
async def test_the_oldest_job_is_the_one_whose_age_is_told() -> None:
    scene = bulk_scene(110)
    worker = scene.worker()
    await until(lambda: len(worker.seen(JobAccepted)) == 2)
    old, young = jobs(worker).jobs
    assert old.age_seconds > young.age_seconds + 20
    [lane] = worker.worker.status().lanes
    assert (lane.jobs, lane.in_jobs) == (2, 110)
    assert lane.oldest_job_seconds == jobs(worker).oldest_seconds == old.age_seconds
    await scene.decided()
