"""What facts say is so."""

from __future__ import annotations

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import AdmissionHeld, AdmissionResumed, LaneSealed, QuotaWaited, TrackDecided


@virtual
async def test_a_hold_of_an_hour_is_not_taken_from_the_queueing_time_of_every_later_track() -> None:
    """`queued_seconds` is the difference of two clocks, one of which has stood: negative ever after."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=1))
    scene.submit("first")
    scene.analyst.refusing = Fault(FaultKind.KEY_REFUSED, "403")
    worker = scene.worker()
    await until(lambda: worker.seen(AdmissionHeld))
    await elapse(3600)
    scene.analyst.refusing = None
    await until(lambda: worker.seen(AdmissionResumed))
    scene.submit("second")
    await scene.decided()
    assert all(fact.queued_seconds >= 0 for fact in worker.seen(TrackDecided)), worker.seen(TrackDecided)[-1]


@virtual
async def test_jobs_that_the_next_owner_polls_are_not_told_as_dropped() -> None:
    """`calls_dropped_total` above 0 means that tracks are done again; a job in the commit metadata is not."""
    scene = Scene(analyst=FakeAnalyst(2, seconds=100))
    for number in range(10):
        scene.submit(f"track-{number}")
    worker = scene.worker()
    await until(lambda: len(scene.point().jobs) == 10 if 0 in scene.broker.committed else False)
    assert await worker.stop() == 0
    assert [fact.dropped for fact in worker.seen(LaneSealed)] == [0]


@virtual
async def test_a_replica_without_partitions_waits_for_no_quota() -> None:
    """`quota_wait_seconds_total` says that the quota is the brake; a stand-by of two hours is none."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=5))
    first, standby = scene.worker(per_minute=60), scene.worker(per_minute=60)
    await scene.ready(first)
    await elapse(7200)
    idle, busy = sorted((first, standby), key=lambda each: len(each.source.owned))
    assert not idle.source.owned
    await busy.stop()
    for number in range(5):
        scene.submit(f"track-{number}")
    await scene.decided()
    assert sum(fact.seconds for fact in idle.seen(QuotaWaited)) < 60
