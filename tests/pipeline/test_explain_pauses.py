"""Why a partition stands still, and which is the worst of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.scene import Running, Scene
from tests.virtual_time import elapse, stand_still, until, virtual
from worker.flow.dead_letters import StopPolicy
from worker.flow.entry import Limits
from worker.pipeline.explanation import Partition, Paused, WaitsFor
from worker.pipeline.facts import CommitFinished, PartitionStopped, RebalanceFinished


def one(worker: Running, partition: int = 0) -> Partition:
    [found] = worker.worker.explanation(partition).partitions
    return found


def paused(worker: Running, why: WaitsFor, partition: int = 0) -> Paused | None:
    found = worker.worker.explanation(partition).partitions
    return next((each for found_one in found for each in found_one.paused if each.why is why), None)


def at_work(tracks: int, seconds: float = 60, partitions: int = 1) -> Scene:
    scene = Scene(partitions=partitions, analyst=FakeAnalyst(seconds=seconds))
    for number in range(tracks):
        scene.submit(f"track-{number}", number % partitions)
    return scene


@virtual
async def test_a_full_buffer_pauses_fetching_and_nothing_else() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    worker = scene.worker(slots=8, buffered_records=100)
    await scene.ready()
    await elapse(40)
    for number in range(300):
        scene.submit(f"track-{number}")
    await until(lambda: paused(worker, WaitsFor.BUFFER_FULL))
    await elapse(15)
    [full] = one(worker).paused
    assert (full.what, full.why) == ("fetching", WaitsFor.BUFFER_FULL)
    assert full.since_seconds == pytest.approx(15, abs=0.1)
    assert full.detail.startswith("120 of 100 records")
    assert one(worker).buffered_records == 120
    assert one(worker).records[9].waits_for is WaitsFor.SLOT
    scene.analyst.seconds = 0.1
    await scene.decided()


@virtual
async def test_a_partition_stopped_by_dead_letters_comes_first() -> None:
    scene = Scene(partitions=3, analyst=FakeAnalyst(seconds=60))
    scene.submit("slow", 2)
    worker = scene.worker(stop=StopPolicy(consecutive=3))
    await until(lambda: scene.analyst.calls)
    for number in range(5):
        scene.submit_raw(f"poison-{number}", b"no event", 1)
    await until(lambda: worker.seen(PartitionStopped))
    await elapse(9)
    scene.analyst.slow["quick"] = 0.1
    scene.broker.faults[0].extend([(Step.SEND, Way.FAILS)] * 9)
    scene.submit("quick", 0)
    await until(lambda: one(worker, 0).commits.failures)
    partitions = worker.worker.explanation().partitions
    assert [each.partition for each in partitions] == [1, 0, 2]
    assert partitions[0].holder is not None
    assert (partitions[0].watermark, partitions[0].holder.waits_for) == (3, WaitsFor.DEAD_LETTERS)
    [stopped] = partitions[0].paused
    assert stopped.what == "starting"
    assert stopped.since_seconds == pytest.approx(9.3, abs=0.3)
    assert stopped.detail == "3 of the last 3 records were no events, 3 in a row"


@virtual
async def test_those_that_cannot_commit_come_before_those_that_have_waited_longer() -> None:
    scene = Scene(partitions=3, analyst=FakeAnalyst(seconds=100))
    scene.submit("slow", 0)
    worker = scene.worker()
    await until(lambda: scene.analyst.calls)
    await elapse(10)
    scene.submit("later", 2)
    scene.analyst.slow["quick"] = 0.1
    scene.broker.faults[1].extend([(Step.SEND, Way.FAILS)] * 3)
    scene.submit("quick", 1)
    await until(lambda: any(fact.outcome == "failed" for fact in worker.seen(CommitFinished)))
    assert [each.partition for each in worker.worker.explanation().partitions] == [1, 0, 2]
    await scene.decided()


@virtual
async def test_too_many_unpublished_decisions_stop_every_partition() -> None:
    scene = at_work(40, seconds=1, partitions=2)
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 5)
    worker = scene.worker(slots=1, unpublished=1)
    await until(lambda: paused(worker, WaitsFor.COMMITS, 1))
    for partition in (0, 1):
        stop = paused(worker, WaitsFor.COMMITS, partition)
        assert stop is not None
        assert (stop.what, stop.since_seconds) == ("starting", None)
    process = worker.worker.explanation().process
    assert process.unpublished == process.unpublished_max == 1
    await scene.decided()


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(window=8), WaitsFor.WINDOW),
        (Limits(unpublished=2), WaitsFor.COMMITS),
        (Limits(job_reserve_bytes=900), WaitsFor.METADATA),
    ],
)
@virtual
async def test_a_partition_without_space_says_which(limits: Limits, why: WaitsFor) -> None:
    """Slots are free, and yet it starts nothing: the ledger's answer and the explanation are the same."""
    scene = at_work(30, seconds=1)
    scene.analyst.slow["track-0"] = 50
    if why is WaitsFor.COMMITS:
        scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 5)
    worker = scene.worker(slots=16 if why is not WaitsFor.METADATA else 30, limits=limits)
    await until(lambda: paused(worker, why))
    waiting = [each for each in one(worker).records if each.state == "queued"]
    assert all(each.waits_for is why for each in waiting)
    started = len(scene.analyst.calls)
    await elapse(0.3)
    assert len(scene.analyst.calls) == started
    await scene.decided()


@virtual
async def test_before_a_rebalance_running_calls_may_end() -> None:
    scene = at_work(4, seconds=6, partitions=2)
    worker = scene.worker(slots=2)
    await until(lambda: len(scene.analyst.calls) == 2)
    scene.worker()
    await until(lambda: worker.source.joining)
    await elapse(2)
    [settling] = one(worker).paused
    assert (settling.what, settling.why) == ("both", WaitsFor.SETTLING)
    assert settling.since_seconds == pytest.approx(2, abs=0.3)
    assert settling.detail == "1 calls and 0 decisions are to end first"
    found = {each.offset: each.waits_for for each in one(worker).records}
    assert found == {0: WaitsFor.CALL, 1: WaitsFor.SETTLING}
    await scene.decided()
    assert [each.partition for each in worker.worker.explanation().partitions] == [0]


@virtual
async def test_who_has_settled_waits_for_the_group() -> None:
    """Another member still lets its calls end."""
    scene = Scene(partitions=2, analyst=FakeAnalyst(seconds=8))
    worker = scene.worker()
    scene.worker()
    await scene.ready()
    mine = min(worker.source.owned)
    scene.submit("slow", 1 - mine)
    await until(lambda: scene.analyst.calls)
    scene.worker()
    await until(lambda: worker.source.joining)
    await elapse(3)
    [waiting] = one(worker, mine).paused
    assert (waiting.what, waiting.why, waiting.detail[:9]) == ("both", WaitsFor.REBALANCE, "the group")
    await scene.decided()


@virtual
async def test_a_lane_that_comes_back_asks_kafka_first() -> None:
    scene = at_work(1, seconds=60)
    worker = scene.worker(rebalance_drain=1.0)
    await until(lambda: scene.analyst.calls)
    scene.worker()
    await until(lambda: worker.source.joining)
    scene.broker.away = True
    await until(lambda: len(worker.seen(RebalanceFinished)) == 2)
    await elapse(8)
    [asking] = one(worker).paused
    assert (asking.why, asking.detail[:9]) == (WaitsFor.REBALANCE, "came back")
    assert one(worker).commits.failures > 1
    scene.broker.away = False
    await until(lambda: one(worker).paused == ())
    assert (one(worker).commits.failures, one(worker).commits.error) == (0, None)
    await scene.decided()


@virtual
async def test_a_partition_that_is_being_opened() -> None:
    scene = at_work(1, partitions=2)
    scene.broker.away = True
    worker = scene.worker()
    await until(lambda: worker.worker.explanation().partitions)
    await elapse(20)
    found = one(worker)
    [opening] = found.paused
    assert (opening.what, opening.why) == ("both", WaitsFor.OPENING)
    assert opening.since_seconds == pytest.approx(20, abs=0.1)
    assert (found.watermark, found.holder, found.next_offset, found.records) == (None, None, None, ())
    assert (found.commits.watermark, found.commits.error) == (None, "the broker is away")
    assert found.commits.failures > 3
    scene.broker.away = False
    await scene.decided()


@virtual
async def test_draining_says_what_is_to_end() -> None:
    scene = at_work(2, seconds=20)
    worker = scene.worker(slots=1)
    await until(lambda: scene.analyst.calls)
    ending = asyncio.create_task(worker.stop())
    await elapse(5)
    explanation = worker.worker.explanation(0)
    [draining] = explanation.partitions[0].paused
    assert (explanation.process.state, draining.why, draining.what) == ("draining", WaitsFor.DRAINING, "both")
    assert draining.since_seconds == pytest.approx(5, abs=0.1)
    assert draining.detail == "1 calls and 0 decisions are to end first"
    assert await ending == 0


@virtual
async def test_a_process_that_stood_still_is_in_doubt() -> None:
    scene = at_work(2, seconds=60)
    worker = scene.worker(slots=1)
    await until(lambda: scene.analyst.calls)
    stand_still(30)
    scene.broker.away = True
    await until(lambda: paused(worker, WaitsFor.DOUBT))
    await elapse(12)
    doubt = paused(worker, WaitsFor.DOUBT)
    assert doubt is not None
    assert doubt.what == "starting"
    assert doubt.since_seconds == pytest.approx(12, abs=0.5)
    assert one(worker).records[1].waits_for is WaitsFor.DOUBT
    scene.broker.away = False
    await scene.decided()


@virtual
async def test_a_record_that_nothing_keeps_is_about_to_start() -> None:
    """Between the arrival of a record and the next wake nothing can be asked; a standstill makes that moment long."""
    scene = at_work(1, seconds=60)
    scene.submit("next", key=b"k")
    worker = scene.worker(slots=16)
    await until(lambda: len(scene.analyst.calls) == 2)
    lane = worker.calls._lanes[0]
    assert lane.ledger is not None
    running = next(entry for entry in lane.ledger.entries() if entry.record.offset == 1)
    lane.ledger.resume(running)
    assert one(worker).records[1].waits_for is WaitsFor.TURN
    worker.calls.wake()
    await until(lambda: one(worker).records[1].waits_for is WaitsFor.CALL)
