"""How a worker ends: drained, at its deadline, or by a fault of its own; never with a false decision."""

from __future__ import annotations

import asyncio

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.fakes import HEARTBEAT_SECONDS, FakeSource
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, stand_still, until, virtual
from worker.flow.publication import Committed
from worker.pipeline.facts import CommitFinished, LaneSealed, RebalanceFinished, Stopped, Stopping


def now() -> float:
    return asyncio.get_running_loop().time()


async def at_work(scene: Scene, tracks: int = 10, **knobs: object) -> None:
    for number in range(tracks):
        scene.submit(f"track-{number}")
    scene.worker(**knobs)
    await until(lambda: len(scene.analyst.calls) == tracks)


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_drain_settles_everything_and_nothing_is_bought_again(generation: int) -> None:
    scene = Scene(analyst=FakeAnalyst(generation, seconds=8))
    await at_work(scene, slots=10)
    scene.submit("not-started")
    worker = scene.workers[0]
    began = now()
    assert await worker.stop() == 0
    assert now() - began < (10 if generation == 1 else 1)
    assert scene.analyst.purchases["not-started"] == 0
    assert [fact.cause for fact in worker.seen(Stopping)] == ["test"]
    assert [fact.dropped for fact in worker.seen(Stopped)] == [0]
    assert {fact.cause for fact in worker.seen(LaneSealed)} == {"stopped"}
    assert worker.worker.status().state == "stopped"
    scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_drain_ends_at_its_deadline_and_says_what_it_dropped() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=100))
    await at_work(scene, drain=5)
    began = now()
    assert await scene.workers[0].stop() == 10
    assert 5 <= now() - began < 6
    assert scene.broker.visible == []
    scene.worker()
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {2}


@virtual
async def test_a_drain_counts_what_could_not_be_published() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=2))
    await at_work(scene, drain=8)
    scene.broker.away = True
    assert await scene.workers[0].stop() == 10
    scene.broker.away = False
    scene.worker()
    await scene.decided()


@virtual
async def test_a_drain_repeats_a_publication_that_fails() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=2))
    await at_work(scene, drain=20)
    scene.broker.faults[0].extend([(Step.SEND, Way.FAILS), (Step.COMMIT, Way.REPLY_LOST)])
    assert await scene.workers[0].stop() == 0
    scene.verify()


@pytest.mark.parametrize("step", [Step.SEND, Step.OFFSETS, Step.COMMIT])
@virtual
async def test_a_drain_survives_a_transaction_time_out(step: Step) -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=2))
    await at_work(scene)
    scene.broker.faults[0].append((step, Way.STALLS))
    assert await scene.workers[0].stop() == 0
    scene.verify()


@virtual
async def test_a_stop_while_a_lane_opens_ends_at_once() -> None:
    scene = Scene(partitions=2)
    scene.submit("track")
    scene.broker.away = True
    worker = scene.worker()
    await until(lambda: worker.worker.status().lanes)
    began = now()
    assert await worker.stop() == 0
    assert now() - began < 10
    scene.broker.away = False
    scene.worker()
    await scene.decided()


class Silent(FakeSource):
    """Its broker answers so many questions and no more, like one behind a client that was closed under a request."""

    answers = 0
    seconds = 0.0  # that each takes

    async def reach(self, error: type[Exception]) -> None:
        await elapse(self.seconds)
        if self.answers == 0:
            await asyncio.get_running_loop().create_future()
        self.answers -= 1
        await super().reach(error)


@pytest.mark.parametrize("answers", [1, 2])  # after who writes: where the last one left, where the reset setting says
@virtual
async def test_a_stop_waits_for_no_answer_that_an_opening_lane_asked_for(answers: int) -> None:
    """Seen as SIGTERM in the first second after an assignment: the process outlived it by the 10 s of an ask."""
    scene = Scene()
    worker = scene.worker()
    source = Silent(scene.broker, "silent")
    source.answers = answers
    worker.source = worker.worker._source = source
    await until(lambda: worker.worker.status().lanes)
    await elapse(1)
    began = now()
    async with asyncio.timeout(60):
        assert await worker.stop() == 0
    assert now() - began < 1


@virtual
async def test_a_lane_that_was_ended_while_it_became_the_writer_asks_nothing_more() -> None:
    scene = Scene()
    worker = scene.worker()
    source = Silent(scene.broker, "silent")
    source.answers, source.seconds = 1, 3.0
    worker.source = worker.worker._source = source
    began = now()
    await until(lambda: worker.worker.status().lanes)
    async with asyncio.timeout(60):
        assert await worker.stop() == 0
    assert source.answers == 0
    assert now() - began < 5


@virtual
async def test_a_stop_waits_for_no_answer_that_a_lane_asked_for_when_it_came_back() -> None:
    scene = Scene()
    worker = scene.worker()
    source = Silent(scene.broker, "silent")
    source.answers = 1000
    worker.source = worker.worker._source = source
    scene.submit("track")
    await scene.decided()
    source.answers = 0
    scene.broker.group.rebalance()
    await until(lambda: len(worker.seen(RebalanceFinished)) == 2)
    began = now()
    async with asyncio.timeout(60):
        assert await worker.stop() == 0
    assert now() - began < 1
    assert worker.worker.status().lanes == ()


@virtual
async def test_a_stop_during_a_rebalance() -> None:
    scene = Scene(partitions=2, analyst=FakeAnalyst(seconds=5))
    for number in range(8):
        scene.submit(f"track-{number}", number % 2)
    first = scene.worker()
    await until(lambda: len(scene.analyst.calls) == 8)
    scene.worker()
    await until(lambda: first.source.joining)
    assert await first.stop() == 0
    await scene.decided()
    assert set(scene.analyst.purchases.values()) == {1}


@pytest.mark.parametrize("generation", [1, 2])
@virtual
async def test_a_bug_of_our_own_ends_the_run_and_publishes_nothing_false(generation: int) -> None:
    scene = Scene(analyst=FakeAnalyst(generation, seconds=2))
    scene.analyst.submissions["track-5"].append(ZeroDivisionError("a bug"))
    for number in range(60):
        scene.submit(f"track-{number}")
    worker = scene.worker(slots=4)
    with pytest.raises(ExceptionGroup) as caught:
        await worker.task
    assert caught.group_contains(ZeroDivisionError, depth=1)
    assert len(caught.value.exceptions) == 1
    await elapse(60)
    assert 5 not in {offset for _, offset in scene.outcomes()}
    calls = len(scene.analyst.calls)
    await elapse(60)
    assert len(scene.analyst.calls) == calls
    scene.broker.group.leave(worker.source)
    scene.workers.clear()
    scene.worker()
    await scene.decided()


@virtual
async def test_metadata_of_another_version_ends_the_run_before_anything_is_decided() -> None:
    scene = Scene()
    scene.submit("track")
    scene.broker.committed[0] = Committed(0, "ti9:future")
    worker = scene.worker()
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await worker.task
    assert scene.broker.visible == []


@pytest.mark.parametrize("steps", range(8))
@virtual
async def test_a_lane_that_is_hurried_and_cancelled_at_once_ends(steps: int) -> None:
    scene = Scene()
    worker = scene.worker(commit_interval=60)
    scene.submit("first")
    await scene.decided()
    scene.submit("second")
    await until(lambda: worker.worker.status().lanes[0].unpublished)
    scene.broker.group.rebalance()
    await elapse(HEARTBEAT_SECONDS)  # now it learns of the rebalance
    for _ in range(steps):
        await asyncio.sleep(0)
    worker.task.cancel()
    await asyncio.wait({worker.task}, timeout=30)
    assert worker.task.done()


@virtual
async def test_a_process_that_stood_still_proves_its_ownership_before_it_buys() -> None:
    """SIGSTOP for longer than the session: meanwhile another owner has decided everything."""
    scene = Scene(analyst=FakeAnalyst(seconds=1))
    scene.submit("before")
    zombie = scene.worker(slots=1)
    await scene.decided()
    scene.broker.group.expire(zombie.source, notices_after=20.7)  # a heartbeat after it woke
    await scene.ready(scene.worker())
    stand_still(20)
    for number in range(10):
        scene.submit(f"track-{number}")
    await scene.decided()
    assert [fact.outcome for fact in zombie.seen(CommitFinished)][1] == "fenced"
    assert set(scene.analyst.purchases.values()) == {1}
