"""What the line of a decision tells of time."""

from __future__ import annotations

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Knobs, Scene
from tests.virtual_time import elapse, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import TrackDecided


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
