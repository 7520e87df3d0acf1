"""The stop rule looks at records, and a record is one however often it is tried."""

from __future__ import annotations

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import POISON, Scene
from tests.virtual_time import elapse, virtual
from worker.flow.course import RetryPolicy
from worker.flow.dead_letters import StopPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import DeadLettered, PartitionStopped


@virtual
async def test_retries_of_one_track_do_not_count_as_records_that_could_be_read() -> None:
    """One readable record, then only dead letters: the partition stops after so many, whatever the track does."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=1))
    scene.analyst.submissions["track"].extend([Fault(FaultKind.THROTTLED, "429", 1.0)] * 200)
    scene.submit("track")
    retry = RetryPolicy(base_seconds=0.1, max_seconds=1.0, deadline_seconds=600)
    worker = scene.worker(retry=retry, stop=StopPolicy(share=1.0, consecutive=10))
    await scene.ready()
    for number in range(100):
        scene.submit_raw(f"poison-{number}", POISON)
        await elapse(0.5)
    assert worker.seen(PartitionStopped)
    assert len(worker.seen(DeadLettered)) <= 10
