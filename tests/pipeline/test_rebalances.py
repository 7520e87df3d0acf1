"""Partitions that come, go and come back while tracks are being analysed."""

from __future__ import annotations

import asyncio
from functools import partial

import orjson
import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.fakes import FakePublisher, FakeSource
from tests.pipeline.scene import Running, Scene
from tests.virtual_time import elapse, until, virtual
from worker.domain.record import Message
from worker.flow.publication import Committed
from worker.pipeline.facts import CommitFinished, LaneSealed, RebalanceFinished


async def two_partitions_at_work(seconds: float, generation: int = 1, tracks: int = 3, **knobs: object) -> Scene:
    """One worker, both partitions, `tracks` calls in flight on each."""
    scene = Scene(partitions=2, analyst=FakeAnalyst(generation, seconds=seconds))
    for number in range(tracks):
        scene.submit(f"stays-{number}", 0)
        scene.submit(f"goes-{number}", 1)
    scene.worker(**knobs)
    await until(lambda: len(scene.analyst.calls) == 2 * tracks)
    return scene


def _rebalanced(worker: Running, times: int) -> bool:
    return len(worker.seen(RebalanceFinished)) == times


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_a_revocation_waits_for_what_would_be_bought_again() -> None:
    scene = await two_partitions_at_work(seconds=6)
    began = now()
    scene.worker()
    await scene.ready()
    assert 5.5 < now() - began < 7
    assert len(scene.broker.visible) == 6
    scene.verify()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_the_wait_is_bounded_kept_lanes_keep_their_calls_and_late_completions_are_nobodys() -> None:
    scene = await two_partitions_at_work(seconds=25, rebalance_drain=4)
    first = scene.workers[0]
    began = now()
    scene.worker()
    await scene.ready()
    assert 4 < now() - began < 6
    assert scene.broker.visible == []
    assert [(fact.partition, fact.cause, fact.dropped) for fact in first.seen(LaneSealed)] == [(1, "moved", 3)]
    assert [(fact.opened, fact.kept, fact.lost) for fact in first.seen(RebalanceFinished)] == [(2, 0, 0), (0, 1, 1)]
    await scene.decided()
    await elapse(60)
    scene.verify()
    assert {item: scene.analyst.purchases[item] for item in ("stays-0", "goes-0")} == {"stays-0": 1, "goes-0": 2}
    assert first.publishers == {0: 1, 1: 1}


@virtual
async def test_nothing_starts_between_revocation_and_assignment() -> None:
    scene = await two_partitions_at_work(seconds=6, slots=2, tracks=1)
    for number in range(5):
        scene.submit(f"more-{number}", 0)
    await elapse(1)
    scene.worker(slots=2)
    await until(lambda: scene.workers[0].source.joining)
    await until(lambda: scene.analyst.in_flight == 0)
    assert len(scene.analyst.calls) == 2
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_lost_assignment_waits_for_nothing_and_what_comes_back_goes_on(generation: int) -> None:
    scene = await two_partitions_at_work(seconds=50, generation=generation)
    worker = scene.workers[0]
    began = now()
    scene.broker.group.expire(worker.source, notices_after=1)
    await until(lambda: len(worker.seen(RebalanceFinished)) == 2)
    await scene.ready()
    assert now() - began < 3
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
    assert worker.publishers == {0: 1, 1: 1}
    assert worker.seen(LaneSealed) == []


@virtual
async def test_a_rebalance_during_opening_leaves_nothing_half_open() -> None:
    scene = Scene(partitions=2)
    for number in range(20):
        scene.submit(f"track-{number}", number % 2)
    scene.broker.away = True
    first = scene.worker()
    await until(lambda: len(first.worker.status().lanes) == 2)
    await elapse(2)
    second = scene.worker()
    await until(lambda: second.source.owned and scene.broker.group.stable)
    scene.broker.away = False
    await scene.decided()
    assert [fact.cause for fact in first.seen(LaneSealed)] == ["moved", "moved"]
    assert set(scene.analyst.purchases.values()) == {1}
    assert await scene.stop() == [0, 0]


@virtual
async def test_a_second_rebalance_before_the_first_readmission_ended() -> None:
    scene = await two_partitions_at_work(seconds=40, rebalance_drain=1)
    worker = scene.workers[0]
    for done in (2, 3, 4):
        scene.broker.away = True
        scene.broker.group.rebalance()
        await until(partial(_rebalanced, worker, done))
    scene.broker.away = False
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
    assert worker.publishers == {0: 1, 1: 1}


@virtual
async def test_records_fetched_under_an_older_assignment_are_read_again_not_lost() -> None:
    scene = Scene(partitions=2, analyst=FakeAnalyst(seconds=0.05))
    scene.worker()
    for number in range(200):
        scene.submit(f"track-{number}", number % 2, key=b"%d" % (number % 9))
        await elapse(0.02)
        if number % 20 == 0:
            scene.broker.group.rebalance()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_fence_that_was_settled_is_forgotten_before_the_next_revocation() -> None:
    """A commit that was applied and answered with a fence must not make a later revocation wait for nothing."""
    scene = Scene(partitions=2, analyst=FakeAnalyst(seconds=6))
    scene.broker.faults[1].append((Step.COMMIT, Way.FENCED_AFTER))
    scene.submit("first", 1)
    worker = scene.worker()
    await until(lambda: worker.publishers[1] == 2)
    scene.submit("second", 1)
    await until(lambda: scene.analyst.purchases["second"])
    scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_commit_that_the_broker_shows_late_is_not_taken_for_another_owner_s() -> None:
    """EndTxn is answered before its markers are written everywhere; a rebalance may fall into that moment."""
    scene = Scene(partitions=1, analyst=FakeAnalyst(seconds=3))
    scene.broker.shows_commits_after_seconds = 0.7
    scene.submit("published", 0)
    worker = scene.worker()
    await elapse(2)
    scene.submit("running", 0)
    await until(lambda: len(scene.broker.visible) == 1)
    scene.broker.group.expire(worker.source, notices_after=0.1)
    await until(lambda: len(worker.seen(RebalanceFinished)) == 2)
    await scene.decided()
    assert worker.seen(LaneSealed) == []
    assert scene.analyst.purchases == {"published": 1, "running": 1}


# Generation 2: what was bought outlives its buyer.


@virtual
async def test_job_ids_are_committed_before_the_first_poll() -> None:
    scene = await two_partitions_at_work(seconds=30, generation=2, first_poll=10)
    await elapse(3)
    assert scene.analyst.asked("poll") == []
    assert [set(scene.point(each).jobs) for each in range(2)] == [{0, 1, 2}] * 2
    await scene.decided()
    await until(lambda: not scene.point(0).jobs and not scene.point(1).jobs)


@pytest.mark.parametrize("way", ["crash", "stop", "rebalance", "expire"])
@virtual
async def test_the_next_owner_polls_what_was_bought(way: str) -> None:
    scene = await two_partitions_at_work(seconds=60, generation=2, first_poll=10)
    first = scene.workers[0]
    await elapse(3)
    began = now()
    if way == "crash":
        await scene.crash(first)
    elif way == "stop":
        assert await first.stop() == 0
    elif way == "expire":
        scene.broker.group.expire(first.source, notices_after=40)
    scene.worker(first_poll=10)
    if way in {"stop", "rebalance"}:
        await scene.ready()
        assert now() - began < 2
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}
    await elapse(100)
    scene.verify()
    assert {decision["attempts"] for decision in scene.decisions().values()} == {1}


@virtual
async def test_a_lane_that_comes_back_after_another_owner_begins_from_what_that_one_left() -> None:
    scene = Scene()
    worker = scene.worker()
    scene.submit("first")
    await scene.decided()
    silent = await with_another(scene)
    await never_ending_join(scene, silent)
    offset = scene.submit("foreign")
    await decide_elsewhere(scene, offset)
    await scene.ready(worker)
    scene.submit("later")
    await scene.decided()
    assert scene.analyst.purchases == {"first": 1, "later": 1}
    assert [fact.cause for fact in worker.seen(LaneSealed)] == ["fenced"]


async def with_another(scene: Scene) -> Running:
    """Let one more worker join that gets no partition."""
    another = scene.worker()
    await scene.ready()
    assert another.source.owned == frozenset()
    return another


async def never_ending_join(scene: Scene, silent: Running) -> None:
    """Rebalance while a member is dead: the group waits for it until its session ends."""
    await scene.crash(silent)
    scene.broker.group.rebalance()
    await until(lambda: scene.workers[0].source.joining)


@virtual
async def test_a_readmission_of_an_older_assignment_changes_nothing() -> None:
    scene = Scene()
    worker = scene.worker(rebalance_drain=0.1)
    scene.submit("first")
    await scene.decided()
    silent = await with_another(scene)
    scene.broker.away = True
    scene.broker.group.rebalance()
    await until(partial(_rebalanced, worker, 3))
    await never_ending_join(scene, silent)
    scene.broker.away = False
    scene.submit("second")
    await elapse(5.0)  # the answer to the first readmission is here by now
    assert worker.source.joining
    assert worker.worker.status().lanes[0].suspended
    assert scene.analyst.purchases["second"] == 0
    await scene.decided()


@virtual
async def test_a_suspended_lane_that_is_fenced_leaves_the_new_owner_alone() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=3))
    worker = scene.worker(rebalance_drain=0.1)
    silent = await with_another(scene)
    scene.submit("late")
    await until(lambda: scene.analyst.calls)
    await never_ending_join(scene, silent)
    epoch = scene.broker.initialise(0)
    await elapse(5.0)
    assert worker.source.joining
    assert [fact.outcome for fact in worker.seen(CommitFinished)] == ["fenced"]
    assert scene.broker.epochs[0] == epoch
    await scene.decided()
    assert scene.analyst.purchases == {"late": 1}


async def decide_elsewhere(scene: Scene, offset: int) -> None:
    """Be the owner of partition 0 for as long as it takes to decide this one."""
    owner = FakePublisher(scene.broker, FakeSource(scene.broker), 0)
    value = orjson.dumps({"item_id": "foreign", "source": {"partition": 0, "offset": offset}})
    await owner.start()
    await owner.publish([Message("approve", None, value, ())], Committed(offset + 1))
