"""A publication that fails, at whatever step and however: the same decisions, once, and nothing bought again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.pipeline.facts import CommitFinished, LaneSealed, TrackDecided

FAILURES = [(step, way) for step in Step for way in Way if way is not Way.FENCED_AFTER or step is Step.COMMIT]


@pytest.mark.parametrize(("step", "way"), FAILURES)
@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_failed_publication_is_repeated_and_nothing_is_bought_again(
    step: Step, way: Way, generation: int
) -> None:
    scene = Scene(analyst=FakeAnalyst(generation))
    scene.broker.faults[0].extend([(step, way)] * 3)
    for number in range(30):
        scene.submit(f"track-{number}", key=b"%d" % (number % 5))
    worker = scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
    assert len(worker.seen(TrackDecided)) == 30
    assert worker.seen(LaneSealed) == []
    assert await worker.stop() == 0
    scene.verify()
    assert all(a.watermark <= b.watermark for a, b in pairwise(scene.points()))
    assert scene.point().watermark == 30


@pytest.mark.parametrize("way", [Way.REPLY_LOST, Way.FENCED_AFTER])
@virtual
async def test_a_commit_whose_reply_was_lost_is_found_and_not_repeated(way: Way) -> None:
    scene = Scene()
    scene.broker.faults[0].append((Step.COMMIT, way))
    scene.submit("track")
    worker = scene.worker()
    await until(lambda: worker.publishers[0] == 2)
    await elapse(5)
    scene.verify()
    assert len(scene.broker.history[0]) == 1
    assert len(worker.seen(CommitFinished)) == 1
    assert await worker.stop() == 0


@virtual
async def test_a_fence_by_time_out_keeps_the_lane_and_publishes_the_same_batch() -> None:
    scene = Scene()
    scene.broker.faults[0].append((Step.OFFSETS, Way.STALLS))
    scene.submit("track")
    worker = scene.worker()
    await scene.decided()
    assert [fact.outcome for fact in worker.seen(CommitFinished)] == ["fenced", "committed"]
    assert worker.seen(LaneSealed) == []
    assert (worker.publishers[0], scene.analyst.purchases["track"]) == (2, 1)


@virtual
async def test_a_lane_that_another_owner_fenced_is_replaced_while_the_partition_is_ours() -> None:
    scene = Scene(partitions=1, analyst=FakeAnalyst(seconds=30))
    for number in range(3):
        scene.submit(f"track-{number}")
    zombie = scene.worker()
    await until(lambda: len(scene.analyst.calls) == 3)
    await elapse(20)
    scene.broker.group.expire(zombie.source, notices_after=10_000)
    scene.analyst.seconds = 1
    owner = scene.worker()
    scene.submit("track-3")
    await scene.decided()
    scene.analyst.seconds = 100
    await until(lambda: zombie.seen(LaneSealed))
    assert [fact.cause for fact in zombie.seen(LaneSealed)] == ["fenced"]
    assert [fact.outcome for fact in zombie.seen(CommitFinished)] == ["fenced"]
    await until(lambda: not zombie.worker.status().lanes[0].suspended)
    assert zombie.worker.status().lanes[0].watermark == 4
    assert owner.seen(LaneSealed) == []
    scene.verify()


@virtual
async def test_a_zombie_whose_work_another_owner_has_committed_alike_takes_it_for_its_own() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    scene.submit("both")
    zombie = scene.worker()
    await until(lambda: scene.analyst.calls)
    scene.broker.group.expire(zombie.source, notices_after=10_000)
    scene.analyst.seconds = 1
    scene.worker()
    await scene.decided()
    await elapse(60)
    assert [fact.outcome for fact in zombie.seen(CommitFinished)] == ["fenced"]
    assert zombie.seen(LaneSealed) == []
    scene.submit("later")
    await scene.decided()
    await elapse(60)
    scene.verify()


@virtual
async def test_a_slow_head_holds_back_nobody_and_the_next_owner_skips_exactly_what_is_done() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=1))
    scene.analyst.slow["head"] = 300
    scene.submit("head")
    offsets = frozenset(scene.submit(f"track-{number}", gap=number % 3 == 0) for number in range(50))
    first = scene.worker()
    await until(lambda: len(scene.broker.visible) == 50, 30)
    await elapse(1)
    assert (scene.point().watermark, scene.point().done) == (0, offsets)
    await scene.crash(first)
    scene.worker()
    await scene.decided()
    assert scene.analyst.purchases == {"head": 2} | {f"track-{number}": 1 for number in range(50)}
    assert scene.point().watermark == max(offsets) + 1
    assert scene.point().done == frozenset()


@virtual
async def test_an_interval_lies_between_two_publications() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=0.01))
    worker = scene.worker(commit_interval=1.0, slots=1)
    for number in range(300):
        scene.submit(f"track-{number}")
    began = asyncio.get_running_loop().time()
    await scene.decided()
    assert len(worker.seen(CommitFinished)) <= asyncio.get_running_loop().time() - began + 2
