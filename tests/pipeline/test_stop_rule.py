"""A partition whose records are no events stops, instead of emptying itself into the dead-letter topic."""

from __future__ import annotations

from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.dead_letters import StopPolicy
from worker.pipeline.facts import DeadLettered, PartitionStopped


@virtual
async def test_a_partition_of_poison_stops_and_its_neighbours_go_on() -> None:
    """At most so many in a row are buried; the rest stays in the topic, and the stop is said once."""
    scene = Scene(partitions=2)
    for number in range(200):
        scene.submit_raw(f"poison-{number}", b"no event", partition=0)
        scene.submit(f"track-{number}", partition=1)
    worker = scene.worker(stop=StopPolicy(consecutive=10))
    await until(lambda: sum(record.topic != "dead" for record in scene.broker.visible) >= 200)
    await elapse(60)
    assert len(worker.seen(DeadLettered)) == 10
    assert [(fact.partition, fact.in_a_row) for fact in worker.seen(PartitionStopped)] == [(0, 10)]
    assert [lane.stopped for lane in worker.worker.status().lanes] == [True, False]
    assert scene.point(0).watermark == 10


@virtual
async def test_a_new_start_goes_on_where_the_stopped_one_ended() -> None:
    """A restart is the operator's word: the rule begins with nothing seen, and nothing was lost or buried twice."""
    scene = Scene()
    for number in range(15):
        scene.submit_raw(f"poison-{number}", b"no event")
    first = scene.worker(stop=StopPolicy(consecutive=10))
    await until(lambda: first.seen(PartitionStopped))
    await elapse(5)
    assert await first.stop() == 0
    second = scene.worker(stop=StopPolicy(consecutive=10))
    await until(lambda: scene.point().watermark == 15)
    assert len(first.seen(DeadLettered)) + len(second.seen(DeadLettered)) == 15
