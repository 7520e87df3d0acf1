"""What the line of a decision tells of time."""

from __future__ import annotations

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.scene import Knobs, Scene
from tests.virtual_time import elapse, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import TrackDecided, TracksCommitted
from worker.pipeline.pulse import REMEMBERED, Pulse


@virtual
async def test_a_track_that_waited_through_an_outage_is_told_to_have_waited() -> None:
    """The clock of the deadlines stands meanwhile, the time in the queue does not; and neither is below zero."""
    scene = Scene(analyst=FakeAnalyst(seconds=2), knobs=Knobs(slots=4, breaker=BreakerPolicy(consecutive=3)))
    scene.analyst.refusing = Fault(FaultKind.UNAVAILABLE, "503")
    for number in range(8):
        scene.submit(f"first-{number}")
    worker = scene.worker()
    await elapse(60)
    scene.submit("late")
    await elapse(30)
    scene.analyst.refusing = None
    await scene.decided()
    told = {fact.item_id: fact for fact in worker.seen(TrackDecided)}
    assert min(fact.queued_seconds for fact in told.values()) >= 0
    assert min(fact.analysis_seconds for fact in told.values()) > 1.9
    assert told["late"].queued_seconds > 29


@virtual
async def test_each_outcome_is_told_once_with_its_records_timestamp_when_it_is_committed() -> None:
    """Also where the reply to the commit was lost, and the commit was found."""
    scene = Scene(analyst=FakeAnalyst(seconds=2))
    for number in range(8):
        scene.submit(f"track-{number}")
    scene.broker.faults[0].extend([(Step.COMMIT, Way.REPLY_LOST), (Step.COMMIT, Way.FAILS)])
    worker = scene.worker()
    await scene.decided()
    await elapse(10)  # what the broker shows already is settled then
    told = [at for fact in worker.seen(TracksCommitted) for at in fact.written_at_ms]
    assert sorted(told) == sorted(record.timestamp_ms for record in scene.broker.input[0])


@virtual
async def test_a_partition_tells_what_is_left_to_do_and_since_when() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=1000))
    worker = scene.worker()
    await scene.ready(worker)
    scene.submit("stuck")
    await elapse(30)
    [busy] = [lane for lane in worker.worker.status().lanes if lane.in_flight]
    assert (busy.lag, busy.done_above, busy.commit_seconds) == (1, 0, None)
    assert busy.oldest_event_seconds is not None


def test_a_pulse_remembers_its_worst_beat_for_a_while() -> None:
    pulse = Pulse(8.0, 100.0)
    assert pulse.lag_seconds == 0
    for now in (101.0, 102.5, 103.4, 104.4):  # half a second late once, early once
        pulse.beat(now)
    assert pulse.lag_seconds == 0.5
    for beat in range(REMEMBERED):
        pulse.beat(105.4 + beat)
    assert pulse.lag_seconds < 0.001
