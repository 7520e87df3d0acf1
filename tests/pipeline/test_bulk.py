"""Jobs of many tracks through the whole pipeline, in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fake_jobs import FakeJobs
from tests.pipeline.scene import Knobs, Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.bulk_job import JobPolicy
from worker.flow.job_book import BookPolicy
from worker.flow.mode import ModePolicy, ModeSetting
from worker.pipeline.facts import JobEnded, LaneSealed

JOB = JobPolicy(poll_seconds=2.0, poll_max_seconds=30.0, per_page=40)
BOOK = BookPolicy(max_items=100, max_wait_seconds=3.0, job=JOB)


def bulk_scene(partitions: int = 1, tracks: int = 250, **changes: object) -> Scene:
    """Tracks with a few keys in each partition, in bulk mode."""
    knobs = replace(Knobs(book=BOOK), **changes)  # type: ignore[arg-type] # the knobs' own types, checked by use
    scene = Scene(partitions=partitions, knobs=knobs, jobs=FakeJobs())
    for number in range(tracks):
        scene.submit(f"track-{number}", number % partitions, key=b"%d" % (number % 17) if number % 3 else None)
    return scene


def bought(scene: Scene) -> set[int]:
    assert scene.jobs is not None
    return set((scene.jobs.purchases + scene.analyst.purchases).values())


@virtual
async def test_a_backlog_is_cleared_by_whole_jobs() -> None:
    scene = bulk_scene()
    worker = scene.worker()
    await scene.decided()
    assert scene.jobs is not None
    assert scene.jobs.sizes == [100, 100, 50]
    assert bought(scene) == {1}
    assert not scene.analyst.calls
    assert scene.jobs.requests["create"] == 3
    assert scene.jobs.requests["read"] == 3 + 3 + 2  # pages of 40, and none to prove that nothing is left
    assert [fact.outcome for fact in worker.seen(JobEnded)] == ["complete"] * 3
    assert await scene.stop() == [0]
    assert scene.point().intents == ()


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.15, 0.2, 0.22, 0.25, 0.3, 1.0, 10.0, 20.0, 20.5, 21.2, 22.0, 23.0])
@virtual
async def test_a_kill_between_any_two_steps_buys_nothing_again(seconds: float) -> None:
    scene = bulk_scene(tracks=120)
    first = scene.worker()
    await elapse(seconds)
    await scene.crash(first)
    scene.worker()
    await scene.decided()
    assert bought(scene) == {1}


@virtual
async def test_a_creation_whose_reply_is_lost_is_repeated_under_its_key() -> None:
    scene = bulk_scene(tracks=100)
    assert scene.jobs is not None
    scene.jobs.lost_replies = 3
    scene.worker()
    await scene.decided()
    assert bought(scene) == {1}
    assert len(scene.jobs.jobs) == 1
    assert scene.jobs.requests["create"] == 4


@virtual
async def test_one_track_that_spoils_its_job_is_found_by_halving() -> None:
    scene = bulk_scene(tracks=100)
    assert scene.jobs is not None
    scene.jobs.bad = {"track-37"}
    scene.worker()
    await scene.decided()
    assert bought(scene) == {1}
    assert scene.analyst.purchases.keys() >= {"track-37"}
    assert len(scene.analyst.purchases) <= 8
    assert scene.jobs.requests["create"] <= 20


@virtual
async def test_a_job_that_fails_is_split_and_what_it_had_done_is_decided() -> None:
    scene = bulk_scene(tracks=100)
    assert scene.jobs is not None
    scene.jobs.dying = 1
    worker = scene.worker()
    await scene.decided()
    assert next(fact.outcome for fact in worker.seen(JobEnded)) == "failed"
    again = [item for item, times in scene.jobs.purchases.items() if times > 1]
    assert 40 <= len(again) <= 60


@virtual
async def test_jobs_that_fail_always_end_with_people() -> None:
    scene = bulk_scene(tracks=40)
    assert scene.jobs is not None
    scene.jobs.dying = 1000
    scene.worker()
    await scene.decided()
    assert max(scene.jobs.purchases.values()) <= BOOK.tries


@virtual
async def test_what_a_complete_job_never_gives_goes_to_people() -> None:
    scene = bulk_scene(tracks=60)
    assert scene.jobs is not None
    scene.jobs.missing = {"track-3"}
    scene.jobs.unreadable = {"track-4"}
    scene.jobs.failing_tracks = {"track-5"}
    worker = scene.worker()
    await scene.decided()
    assert [fact.outcome for fact in worker.seen(JobEnded)] == ["hopeless"]
    reviews = [message for message in scene.broker.visible if message.topic == "review"]
    assert len(reviews) == 3


@virtual
async def test_a_job_that_is_not_done_by_its_deadline_goes_to_people() -> None:
    scene = bulk_scene(tracks=60, book=replace(BOOK, job=replace(JOB, deadline_seconds=30.0)))
    assert scene.jobs is not None
    scene.jobs.seconds = 300.0
    worker = scene.worker()
    await scene.decided()
    assert [fact.outcome for fact in worker.seen(JobEnded)] == ["timeout"]
    assert {message.topic for message in scene.broker.visible} == {"review"}


@virtual
async def test_poison_and_gaps_between_the_tracks_of_a_job() -> None:
    scene = bulk_scene(tracks=0)
    for number in range(90):
        if number % 7 == 3:
            scene.submit_raw(f"poison-{number}", b"{", 0, b"k", gap=number % 4)
        else:
            scene.submit(f"track-{number}", 0, key=b"k" if number % 2 else None, gap=number % 3)
    scene.worker(stop=replace(Knobs().stop, consecutive=50))
    await scene.decided()
    assert bought(scene) == {1}


@virtual
async def test_rebalances_hand_jobs_over() -> None:
    scene = bulk_scene(partitions=4, tracks=400)
    first = scene.worker()
    await elapse(8)
    second = scene.worker()
    await scene.ready()
    await elapse(5)
    await scene.crash(first)
    await scene.decided()
    assert bought(scene) == {1}
    assert {fact.cause for fact in second.seen(LaneSealed)} <= {"moved"}


@virtual
async def test_auto_chooses_direct_for_a_trickle_and_jobs_for_a_backlog() -> None:
    mode = ModePolicy(ModeSetting.AUTO, bulk_above_seconds=60.0, min_dwell_seconds=10.0)
    scene = bulk_scene(tracks=10, mode=mode, per_minute=60)
    scene.worker()
    await scene.decided()
    assert scene.jobs is not None
    assert not scene.jobs.jobs
    for number in range(400):
        scene.submit(f"more-{number}")
    await scene.decided()
    assert bought(scene) == {1}
    assert sum(scene.jobs.sizes) > 300
    in_jobs = len(scene.jobs.purchases)
    await elapse(60)
    scene.submit("last")
    await scene.decided()
    assert len(scene.jobs.purchases) == in_jobs


@virtual
async def test_an_api_that_is_out_stops_jobs_and_their_time() -> None:
    scene = bulk_scene(tracks=60, book=replace(BOOK, job=replace(JOB, deadline_seconds=60.0)))
    scene.worker()
    await until(lambda: scene.jobs is not None and bool(scene.jobs.jobs))
    scene.submit("probe")
    await scene.decided()
    assert bought(scene) == {1}


@virtual
async def test_in_direct_mode_jobs_that_are_open_are_worked_off_and_no_new_ones_made() -> None:
    scene = bulk_scene(tracks=250)
    first = scene.worker()
    await elapse(5)
    await scene.crash(first)
    scene.worker(mode=ModePolicy(ModeSetting.DIRECT))
    await scene.decided()
    assert bought(scene) == {1}
    assert scene.jobs is not None
    assert scene.jobs.sizes == [100, 100]
    assert len(scene.analyst.purchases) == 50


@virtual
async def test_where_there_are_no_jobs_any_more_the_tracks_of_open_ones_go_one_by_one() -> None:
    """Another generation of the API, say: nobody can ask for the job, and nothing waits for it for ever."""
    scene = bulk_scene(tracks=50)
    assert scene.jobs is not None
    jobs, first = scene.jobs, scene.worker()
    await until(lambda: bool(scene.broker.committed) and bool(scene.point().intents) and bool(jobs.purchases))
    await scene.crash(first)
    scene.jobs = None
    scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == set(jobs.purchases.values()) == {1}
    assert len(scene.analyst.purchases) == 50
