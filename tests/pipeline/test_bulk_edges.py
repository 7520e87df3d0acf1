"""Jobs of many tracks where something is in the way: what holds all calls, is bought already, or has vanished."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_jobs import FakeJobs
from tests.fake_webhooks import FakeWebhooks, Manners
from tests.pipeline.scene import Knobs, Scene
from tests.pipeline.test_bulk import BOOK, JOB, bought, bulk_scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.commit_point import CommitPoint, encode
from worker.flow.faults import FaultKind
from worker.flow.job_intent import Aim, Intent
from worker.flow.mode import ModePolicy, ModeSetting
from worker.flow.publication import Committed
from worker.flow.replies import Fault
from worker.pipeline.facts import PartitionStopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.job_replies import JobReply


class AsksOnlyForThoseThatAreHere(FakeJobs):
    """Knows how far the records have been delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.next_offset: Callable[[], int] = lambda: 100

    async def job(self, job_id: str) -> JobReply:
        assert self.next_offset() == 100
        return await super().job(job_id)


def jobs_of(scene: Scene) -> FakeJobs:
    assert scene.jobs is not None
    return scene.jobs


@pytest.mark.parametrize("kind", [FaultKind.KEY_REFUSED, FaultKind.UNAVAILABLE])
@pytest.mark.parametrize("begun", [False, True])
@virtual
async def test_a_job_probes_what_holds_all_calls(kind: FaultKind, *, begun: bool) -> None:
    """With nothing but jobs nobody else would: and the clock of deadlines stands meanwhile."""
    scene = bulk_scene(tracks=50, breaker=BreakerPolicy(consecutive=2, min_calls=10_000))
    jobs = jobs_of(scene)
    worker = scene.worker()
    if begun:
        await until(lambda: jobs.requests["ask"])
    jobs.refusing = Fault(kind, "scripted")
    await until(lambda: worker.calls.service.held or worker.calls.service.outage)
    await elapse(300)
    jobs.refusing = None
    await scene.decided(120)
    assert bought(scene) == {1}


@virtual
async def test_a_track_that_a_predecessor_bought_goes_into_no_job() -> None:
    """Nor does one that is bought here, and waits for its next attempt when the lane changes to jobs."""
    analyst = FakeAnalyst(generation=2, seconds=30.0)
    knobs = Knobs(book=BOOK, slots=50, mode=ModePolicy(ModeSetting.DIRECT))
    scene = Scene(analyst=analyst, knobs=knobs, jobs=FakeJobs())
    for number in range(40):
        scene.submit(f"track-{number}", 0, key=b"%d" % (number % 3) if number % 2 else None)
    first = scene.worker()
    await until(lambda: len(scene.broker.history[0]) and len(scene.point().jobs) >= 20)
    await scene.crash(first)
    scene.worker(mode=ModePolicy(ModeSetting.BULK))
    await scene.decided()
    assert jobs_of(scene).jobs
    assert bought(scene) == {1}


@virtual
async def test_jobs_whose_records_have_vanished_stop_nothing() -> None:
    """Retention took them while nobody owned the partition: what came since is decided all the same."""
    scene = bulk_scene(tracks=250)
    first = scene.worker()
    await until(lambda: len(jobs_of(scene).jobs) == 2)
    await elapse(0.5)
    assert len(scene.point().intents) == 2
    await scene.crash(first)
    gone, scene.broker.input[0] = scene.broker.input[0][:200], scene.broker.input[0][200:]
    for record in gone:
        del scene._items[0, record.offset]
    scene.worker()
    await scene.decided()
    await elapse(5)
    assert scene.point().intents == ()
    assert bought(scene) == {1}


@virtual
async def test_many_that_wait_to_go_alone_keep_nobody_busy() -> None:
    """Time goes on while they wait for quota: who only looks for jobs must not look again at once."""
    scene = bulk_scene(tracks=8, per_minute=20)
    jobs_of(scene).bad = {f"track-{number}" for number in range(8)}
    scene.worker()
    await scene.decided()
    assert bought(scene) == {1}


@virtual
async def test_a_job_that_is_lost_when_all_its_tracks_have_come_by_webhook() -> None:
    """The answer to a question comes when there is nothing left to split."""
    webhooks = FakeWebhooks(Manners(delay_seconds=0.0))
    scene = bulk_scene(tracks=60, webhook_url="http://us.example/webhooks")
    jobs = jobs_of(scene)
    jobs.webhooks, jobs.seconds = webhooks, 21.0
    worker = scene.worker(book=replace(BOOK, job=replace(JOB, max_attempts=1)))
    assert worker.bulk is not None
    webhooks.tell = worker.bulk.notice
    await until(lambda: jobs.jobs)
    await elapse(1)
    jobs.jobs["job-1"].lost = True
    jobs.answer_seconds = 4.0
    await scene.decided()
    await elapse(10)
    assert await scene.stop() == [0]
    assert bought(scene) == {1}


@virtual
async def test_nothing_is_asked_for_before_the_records_are_here() -> None:
    """What comes of the answer is for all of them: those that come later would wait for ever."""
    scene = bulk_scene(tracks=100)
    jobs = AsksOnlyForThoseThatAreHere()
    scene.jobs = jobs
    first = scene.worker()
    await until(lambda: jobs.jobs)
    await elapse(0.5)
    await scene.crash(first)
    jobs.next_offset = lambda: ledger.next_offset if (ledger := second.worker._lanes[0].ledger) is not None else 0
    second = scene.worker()
    await scene.decided()


@virtual
async def test_poison_between_good_tracks_stops_nothing() -> None:
    """The stop rule sees the records in their order, however many of them go into a job."""
    scene = bulk_scene(tracks=0)
    for number in range(600):
        if number % 6 == 5:
            scene.submit_raw(f"poison-{number}", b"{")
        else:
            scene.submit(f"track-{number}")
    scene.worker(book=replace(BOOK, max_items=1000))
    await scene.decided()
    assert bought(scene) == {1}


@pytest.mark.parametrize("poison_at", [0, 1, 5])
@virtual
async def test_what_is_no_event_any_more_waits_for_its_key_in_a_job_that_was_found(poison_at: int) -> None:
    """An earlier owner read it under other policies: it is buried in its turn, and the job is made of the rest."""
    scene = bulk_scene(tracks=0)
    for number in range(12):
        if number == poison_at:
            scene.submit_raw("poison", b"{", 0, b"k")
        else:
            scene.submit(f"track-{number}", 0, b"k")
    intent = Intent(0, 11, Aim.CREATE, key=bytes(16))
    scene.broker.committed[0] = Committed(0, encode(CommitPoint(0, intents=(intent,))))
    scene.worker()
    await scene.decided()
    assert bought(scene) == {1}
    assert jobs_of(scene).sizes == [11]


@pytest.mark.parametrize("crash", [False, True])
@virtual
async def test_one_lane_works_both_ways_at_once_and_keeps_the_order_of_keys(*, crash: bool) -> None:
    """Calls that run when the backlog comes go on, and what is in a job waits for those of its key, and they for it."""
    mode = ModePolicy(ModeSetting.AUTO, bulk_above_seconds=100.0, min_dwell_seconds=5.0)
    scene = bulk_scene(tracks=0, mode=mode, slots=6, per_minute=60)
    for number in range(12):
        scene.analyst.slow[f"early-{number}"] = 4.0 + 11.0 * (number % 3)
        scene.submit(f"early-{number}", 0, key=b"%d" % (number % 4))
    worker = scene.worker()
    await elapse(4)
    for number in range(300):
        scene.submit(f"late-{number}", 0, key=b"%d" % (number % 4))
    await until(lambda: jobs_of(scene).jobs)
    assert worker.calls.in_flight > 0
    if crash:
        await elapse(3)
        await scene.crash(worker)
        scene.worker()
    await scene.decided()
    assert sum(jobs_of(scene).sizes) >= 200
    assert set(jobs_of(scene).purchases.values()) == {1}
    assert crash or bought(scene) == {1}


@virtual
async def test_a_topic_of_poison_stops_its_partition_where_jobs_read_it_first() -> None:
    scene = bulk_scene(tracks=0)
    for number in range(200):
        scene.submit_raw(f"poison-{number}", b"{")
    worker = scene.worker()
    await elapse(30)
    (stopped,) = worker.seen(PartitionStopped)
    assert stopped.in_a_row == worker.worker._lanes[0].burials._policy.consecutive
    assert len(scene.broker.visible) <= stopped.in_a_row


@virtual
async def test_a_call_that_has_waited_for_quota_does_not_leave_into_a_hold() -> None:
    scene = bulk_scene(partitions=4, tracks=80, per_minute=6, probe=90.0)
    jobs = jobs_of(scene)
    jobs.refusing = Fault(FaultKind.KEY_REFUSED, "scripted")
    worker = scene.worker()
    await until(lambda: worker.calls.service.held)
    await elapse(60)
    assert jobs.requests["create"] == 1
