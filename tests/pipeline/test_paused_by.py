"""The one reason that a partition is counted under, against what `explain` says of it at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.histories import PARTITIONS, Happening, History, Join, generations, unplanned
from tests.pipeline.scene import Running, Scene
from tests.virtual_time import elapse, run, stand_still, until, virtual
from worker.flow.dead_letters import StopPolicy
from worker.pipeline.facts import RebalanceFinished
from worker.pipeline.statuses import PausedBy

if TYPE_CHECKING:
    from worker.pipeline.explanation import Paused


def counted_under(worker: Running) -> dict[int, str | None]:
    return {lane.partition: lane.paused_by for lane in worker.worker.status().lanes}


def is_its_own(paused: Paused) -> bool:
    """Not of all partitions, nor for want of space behind one slow record: gauges of their own tell those."""
    return paused.why in get_args(PausedBy) and (paused.why != "commits" or "in a row" in paused.detail)


def explained(worker: Running) -> dict[int, str | None]:
    """By partition, the first of its own causes that `explain` names."""
    partitions = worker.worker.explanation().partitions
    return {each.partition: next((one.why for one in each.paused if is_its_own(one)), None) for each in partitions}


def agrees(worker: Running) -> bool:
    """But for `draining`: the state of the whole worker has that."""
    return worker.worker.status().state == "draining" or counted_under(worker) == explained(worker)


async def checked(generation: int, happenings: list[Happening]) -> None:
    history = History(Scene(PARTITIONS, FakeAnalyst(generation, seconds=1.5)))
    await Join().happen(history)
    for happening in happenings:
        await happening.happen(history)
        assert all(map(agrees, history.running))
        await elapse(0.05)
        assert all(map(agrees, history.running))
    await history.end()
    assert all(set(counted_under(worker).values()) <= {None} for worker in history.running)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generations, st.lists(unplanned, min_size=5, max_size=30))
def test_in_any_history_it_is_what_explain_says_first(generation: int, happenings: list[Happening]) -> None:
    run(checked(generation, happenings))


@virtual
async def test_a_full_buffer_is_counted_last() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    worker = scene.worker(slots=8, buffered_records=100)
    await scene.ready()
    assert counted_under(worker) == {0: None}
    for number in range(300):
        scene.submit(f"track-{number}")
    await until(lambda: counted_under(worker) == {0: "buffer_full"})
    scene.broker.faults[0].extend([(Step.SEND, Way.FAILS)] * 5)
    await until(lambda: counted_under(worker) == {0: "commits"})
    assert worker.worker.status().lanes[0].paused
    assert agrees(worker)
    await until(lambda: counted_under(worker) == {0: "buffer_full"})
    stand_still(30)
    scene.broker.away = True
    await until(lambda: counted_under(worker) == {0: "doubt"})
    assert agrees(worker)
    scene.broker.away = False
    scene.analyst.seconds = 0.1
    await scene.decided()


@virtual
async def test_a_partition_that_is_opened_and_one_that_cannot_publish() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=1))
    scene.broker.away = True
    worker = scene.worker()
    await until(lambda: worker.worker.status().lanes)
    assert counted_under(worker) == {0: "opening"}
    scene.broker.away = False
    await scene.ready()
    scene.broker.faults[0].extend([(Step.SEND, Way.FAILS)] * 5)
    scene.submit("track")
    await until(lambda: counted_under(worker) == {0: "commits"})
    assert agrees(worker)
    await scene.decided()
    assert counted_under(worker) == {0: None}


@virtual
async def test_dead_letters_stop_a_partition_for_good() -> None:
    scene = Scene(partitions=2)
    worker = scene.worker(stop=StopPolicy(consecutive=3))
    for number in range(5):
        scene.submit_raw(f"poison-{number}", b"no event", 1)
    await until(lambda: counted_under(worker) == {0: None, 1: "dead_letters"})
    await elapse(600)
    assert counted_under(worker) == explained(worker) == {0: None, 1: "dead_letters"}
    scene.broker.away = True
    stand_still(30)
    await until(lambda: counted_under(worker) == explained(worker) == {0: "doubt", 1: "doubt"})
    scene.broker.away = False
    await until(lambda: counted_under(worker) == {0: None, 1: "dead_letters"})


@virtual
async def test_before_a_rebalance_what_runs_may_end_and_then_the_group_decides() -> None:
    scene = Scene(partitions=2, analyst=FakeAnalyst(seconds=6))
    worker = scene.worker()
    await scene.ready()
    scene.submit("slow", 0)
    await until(lambda: scene.analyst.calls)
    scene.worker()
    await until(lambda: worker.source.joining)
    await asyncio.sleep(0)
    assert counted_under(worker) == explained(worker) == {0: "settling", 1: "rebalance"}
    await scene.decided()


@virtual
async def test_a_lane_that_came_back_and_asks_kafka_does_not_settle() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=60))
    scene.submit("slow")
    worker = scene.worker(rebalance_drain=1.0)
    await until(lambda: scene.analyst.calls)
    scene.worker()
    await until(lambda: counted_under(worker) == {0: "settling"})
    scene.broker.away = True
    await until(lambda: len(worker.seen(RebalanceFinished)) == 2)
    await elapse(8)
    assert counted_under(worker) == explained(worker) == {0: "rebalance"}
    scene.broker.away = False
    await scene.decided()
