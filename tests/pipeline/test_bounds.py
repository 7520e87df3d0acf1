"""What may wait in memory is bounded, and nothing is lost through the pauses that hold it so."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.fakes import FETCH_RECORDS
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.entry import Limits

if TYPE_CHECKING:
    from tests.pipeline.scene import Running
    from worker.pipeline.statuses import LaneStatus

SAMPLE_SECONDS = 0.001


def waiting(lane: LaneStatus) -> int:
    return lane.queued + lane.in_flight + lane.retrying


async def watch(running: Running, samples: list[LaneStatus]) -> None:
    """See the first lane at every millisecond."""
    while True:
        samples.extend(running.worker.status().lanes[:1])
        await elapse(SAMPLE_SECONDS)


@virtual
async def test_fetching_pauses_at_the_high_mark_and_resumes_at_half_of_it() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=0.1))
    for number in range(600):
        scene.submit(f"track-{number}", key=b"%d" % (number % 50))
    samples: list[LaneStatus] = []
    watching = asyncio.create_task(watch(scene.worker(buffered_records=100), samples))
    await scene.decided()
    watching.cancel()
    most = max(map(waiting, samples))
    assert 100 <= most < 100 + FETCH_RECORDS
    resumed = [waiting(after) for before, after in pairwise(samples) if before.paused and not after.paused]
    assert len(resumed) > 3
    assert max(resumed) < 50 + FETCH_RECORDS + 1  # a fetch that waited answers at once
    assert set(scene.analyst.purchases.values()) == {1}
    paused = [waiting(before) for before, after in pairwise(samples) if not before.paused and after.paused]
    assert len(paused) > 3


@virtual
async def test_the_bytes_that_wait_are_bounded_outcomes_included() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=0.1))
    for number in range(400):
        scene.submit("x" * 400 + str(number), key=b"%d" % (number % 50))
    samples: list[LaneStatus] = []
    watching = asyncio.create_task(watch(scene.worker(buffered_bytes=40_000, commit_interval=1), samples))
    await scene.decided()
    watching.cancel()
    record_bytes = max(record.size_bytes for record in scene.broker.input[0])
    message_bytes = max(message.size_bytes for message in scene.broker.visible)
    most = max(lane.buffered_bytes for lane in samples)
    # one fetch above the mark, and what was let in grows by as much as its decisions are longer
    in_memory = 40_000 // record_bytes + FETCH_RECORDS
    assert 40_000 <= most <= in_memory * message_bytes
    assert sum(1 for before, after in pairwise(samples) if before.paused and not after.paused) > 2


@virtual
async def test_bounds_are_shared_by_the_lanes_there_are() -> None:
    scene = Scene(partitions=4, analyst=FakeAnalyst(seconds=0.5))
    for number in range(800):
        scene.submit(f"track-{number}", number % 4)
    worker = scene.worker(buffered_records=200, slots=8)
    for _ in range(200):
        assert all(waiting(lane) < 50 + FETCH_RECORDS for lane in worker.worker.status().lanes)
        await elapse(0.05)
    await scene.decided()


@virtual
async def test_while_nothing_can_be_published_starts_are_bounded() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=0.1))
    worker = scene.worker(slots=4, limits=Limits(unpublished=10))
    scene.submit("first")
    await scene.decided()
    for number in range(100):
        scene.submit(f"track-{number}")
    await until(lambda: len(scene.analyst.calls) > 1)
    scene.broker.away = True
    await elapse(300)
    bought = scene.analyst.purchases.total()
    assert bought <= 1 + 2 * 4 + 10 + 4
    assert worker.worker.status().lanes[0].unpublished < 10 + 4
    scene.broker.away = False
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@pytest.mark.parametrize("slots", [1, 3, 16])
@virtual
async def test_slots_bound_the_analyses_in_flight_and_all_are_used(slots: int) -> None:
    scene = Scene(partitions=2, analyst=FakeAnalyst())
    for number in range(60):
        scene.submit(f"track-{number}", number % 2)
    began = asyncio.get_running_loop().time()
    scene.worker(slots=slots)
    await scene.decided()
    assert scene.analyst.most_in_flight == slots
    assert asyncio.get_running_loop().time() - began < -(-60 // slots) + 2


@virtual
async def test_nothing_starts_beyond_the_window_above_a_slow_head() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=0.1))
    scene.analyst.slow["head"] = 200
    scene.submit("head")
    for number in range(100):
        scene.submit(f"track-{number}")
    scene.worker(limits=Limits(window=32))
    await elapse(100)
    assert scene.point().done == frozenset(range(1, 32))
    assert scene.analyst.purchases.total() == 32
    await scene.decided()


@virtual
async def test_while_outcomes_wait_for_their_commit_few_more_are_bought() -> None:
    """A crash buys again what is in flight and what is unpublished: both are bounded, over all partitions."""
    scene = Scene(partitions=4)
    for number in range(200):
        scene.submit(f"track-{number}", partition=number % 4)
    scene.worker(slots=10, unpublished=10)
    await until(lambda: len(scene.broker.visible) >= 20)
    scene.broker.away = True
    await elapse(60)
    assert len(scene.analyst.purchases) - len(scene.broker.visible) <= 10 + 10
    scene.broker.away = False
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_partition_that_cannot_publish_stops_itself_and_no_other() -> None:
    """As with a decision that is too large for its topic; what is bought for such a partition is bounded, too."""
    scene = Scene(partitions=3, analyst=FakeAnalyst(seconds=0.1))
    for number in range(300):
        scene.submit(f"track-{number}", partition=number % 3)
    refusals = scene.broker.faults[1]
    refusals.extend([(Step.SEND, Way.FAILS)] * 10_000)
    running = scene.worker(unpublished=8, slots=4)
    await until(lambda: Counter(partition for partition, _ in scene.outcomes()) == {0: 100, 2: 100})
    bought = scene.analyst.purchases.total()
    assert 200 < bought <= 200 + 8 + 4
    assert {lane.partition: lane.publish_error for lane in running.worker.status().lanes} == {
        0: None,
        1: "KafkaError at send",
        2: None,
    }
    await elapse(60)
    assert scene.analyst.purchases.total() == bought
    refusals.clear()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
