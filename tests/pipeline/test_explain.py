"""What a record waits for: each state is brought about for real, and explained by what it is."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.scene import POISON, Running, Scene, wall
from tests.virtual_time import elapse, until, virtual
from worker.domain.decision import rfc3339
from worker.flow.breaker import BreakerPolicy
from worker.flow.course import RetryPolicy
from worker.flow.entry import Stage, State
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.explain import _STAGES, _STATES
from worker.pipeline.explanation import LastError, Partition, Waiting, WaitsFor
from worker.pipeline.facts import AdmissionHeld, CommitFinished, OutageBegan, RetryScheduled

DOWN = Fault(FaultKind.UNAVAILABLE, "HTTP 503")
REFUSED = Fault(FaultKind.KEY_REFUSED, "HTTP 401")


def one(worker: Running, partition: int = 0) -> Partition:
    """One partition, in detail."""
    [found] = worker.worker.explanation(partition).partitions
    return found


def records(worker: Running) -> dict[int, Waiting]:
    return {each.offset: each for each in one(worker).records}


def holder(worker: Running) -> Waiting:
    found = one(worker).holder
    assert found is not None
    return found


def submitted(tracks: int, analyst: FakeAnalyst | None = None) -> Scene:
    scene = Scene(analyst=analyst)
    for number in range(tracks):
        scene.submit(f"track-{number}")
    return scene


@virtual
async def test_a_call_and_what_waits_for_its_slot() -> None:
    scene = submitted(3, FakeAnalyst(seconds=60))
    worker = scene.worker(slots=1)
    await until(lambda: scene.analyst.calls)
    await elapse(20)
    held, waits = holder(worker), records(worker)[1]
    assert (held.offset, held.item_id, held.state, held.waits_for) == (0, "track-0", "in_flight", WaitsFor.CALL)
    assert (held.attempts, held.last_error, held.due_seconds, held.job_id) == (1, None, None, None)
    assert held.since_seconds == pytest.approx(20, abs=0.1)
    assert held.deadline_seconds == pytest.approx(880, abs=0.1)
    assert (waits.state, waits.waits_for, waits.attempts, waits.deadline_seconds) == ("queued", "slot", 0, None)
    assert one(worker).behind.queued == 2
    await scene.decided()


@virtual
async def test_a_job_names_its_id_and_its_next_poll() -> None:
    scene = submitted(1, FakeAnalyst(2, seconds=60))
    worker = scene.worker(first_poll=20.0)
    await until(lambda: scene.broker.committed and scene.point().jobs)
    await elapse(5)
    held = holder(worker)
    assert (held.waits_for, held.state, held.job_id) == (WaitsFor.NEXT_POLL, "in_flight", scene.point().jobs[0])
    due = held.due_seconds
    assert due is not None
    await elapse(due - 0.05)
    assert not scene.analyst.asked("poll")
    await until(lambda: scene.analyst.asked("poll"), seconds=0.1)
    assert holder(worker).waits_for is WaitsFor.CALL
    await scene.decided()


@virtual
async def test_a_job_that_was_taken_over_was_submitted_once() -> None:
    """By its former owner; as the decision will count it."""
    scene = submitted(1, FakeAnalyst(2, seconds=60))
    first = scene.worker(first_poll=20.0)
    await until(lambda: scene.broker.committed and scene.point().jobs)
    assert await first.stop() == 0
    second = scene.worker(first_poll=20.0)
    await scene.ready(second)
    await until(lambda: one(second).holder)
    held = holder(second)
    assert (held.job_id, held.attempts) == (scene.point().jobs[0], 1)
    await scene.decided()


@virtual
async def test_a_retry_is_due_when_it_says() -> None:
    scene = submitted(1)
    scene.analyst.submissions["track-0"].append(DOWN)
    worker = scene.worker(retry=RetryPolicy(base_seconds=60))
    await until(lambda: worker.seen(RetryScheduled))
    held = holder(worker)
    assert (held.state, held.waits_for, held.attempts) == ("retrying", WaitsFor.RETRY, 1)
    assert held.last_error == LastError("unavailable", "HTTP 503")
    assert held.due_seconds == pytest.approx(worker.seen(RetryScheduled)[0].delay_seconds, abs=0.05)
    await elapse((held.due_seconds or 0) - 0.05)
    assert len(scene.analyst.calls) == 1
    await until(lambda: len(scene.analyst.calls) == 2, seconds=0.1)
    await scene.decided()


@virtual
async def test_a_retry_without_budget_says_so_and_when_it_asks_again() -> None:
    scene = submitted(1)
    scene.analyst.submissions["track-0"].append(DOWN)
    worker = scene.worker(retry=RetryPolicy(base_seconds=0.1))
    await until(lambda: scene.analyst.calls)
    budget, now = worker.calls._budget, asyncio.get_running_loop().time()
    while budget.may_retry(now):
        budget.retry(now)
    await until(lambda: holder(worker).waits_for is WaitsFor.RETRY_BUDGET)
    due = holder(worker).due_seconds
    assert due is not None
    assert 4 < due <= 6.1
    await elapse(due - 0.1)
    assert len(scene.analyst.calls) == 1
    await scene.decided()


@virtual
async def test_submissions_wait_for_quota() -> None:
    scene = submitted(3, FakeAnalyst(seconds=1))
    worker = scene.worker(per_minute=7)
    await until(lambda: len(scene.broker.visible) == 1)
    held = holder(worker)
    assert (held.offset, held.state, held.waits_for) == (1, "queued", WaitsFor.QUOTA)
    assert held.due_seconds is not None
    await elapse(held.due_seconds - 0.05)
    assert len(scene.analyst.calls) == 1
    await until(lambda: len(scene.analyst.calls) == 2, seconds=0.1)
    await scene.decided()


@virtual
async def test_polls_wait_for_quota() -> None:
    scene = submitted(2, FakeAnalyst(2, seconds=0.5))
    worker = scene.worker(per_minute=7, first_poll=0.5)
    await until(lambda: scene.broker.committed and scene.point().jobs)
    await elapse(1)
    held = holder(worker)
    assert (held.state, held.waits_for) == ("in_flight", WaitsFor.QUOTA)
    assert held.job_id is not None
    assert held.due_seconds == pytest.approx(8.5, abs=1)
    await scene.decided()


@virtual
async def test_an_outage_is_the_reason_with_its_next_probe() -> None:
    scene = submitted(20)
    scene.analyst.refusing = DOWN
    worker = scene.worker(breaker=BreakerPolicy(consecutive=5, concurrency=16), retry=RetryPolicy(base_seconds=0.1))
    await until(lambda: worker.seen(OutageBegan))
    await elapse(3)
    explanation = worker.worker.explanation()
    [partition], outage = explanation.partitions, explanation.process.outage
    assert partition.holder is not None
    assert partition.holder.waits_for is WaitsFor.OUTAGE
    assert partition.holder.last_error == LastError("unavailable", "HTTP 503")
    assert [(paused.what, paused.why) for paused in partition.paused] == [("starting", WaitsFor.OUTAGE)]
    assert outage is not None
    assert (outage.reason, outage.detail, explanation.process.breaker) == ("unavailable", "HTTP 503", "open")
    assert outage.since_seconds == pytest.approx(3, abs=0.1)
    assert outage.next_probe_seconds == pytest.approx(2, abs=0.1)
    assert partition.holder.due_seconds == outage.next_probe_seconds
    assert explanation.process.clock_stands_seconds == pytest.approx(3, abs=0.1)
    scene.analyst.refusing = None
    await scene.decided()
    assert worker.worker.explanation().process.clock_stands_seconds is None


@virtual
async def test_a_hold_is_the_operators_and_the_refused_track_stands_aside() -> None:
    scene = submitted(5)
    scene.analyst.refusing = REFUSED
    worker = scene.worker(slots=1, probe=30.0)
    await until(lambda: worker.seen(AdmissionHeld))
    await elapse(10)
    aside, waits, process = holder(worker), records(worker)[1], worker.worker.explanation().process
    assert (aside.state, aside.waits_for) == ("retrying", WaitsFor.HELD)
    assert aside.last_error == LastError("key_refused", "HTTP 401")
    assert aside.due_seconds == pytest.approx(21, abs=0.1)
    assert (waits.state, waits.waits_for) == ("queued", WaitsFor.HELD)
    assert waits.due_seconds == pytest.approx(20, abs=0.1)
    assert process.held is not None
    assert process.held.reason == "key_refused"
    assert process.held.next_probe_seconds == pytest.approx(20, abs=0.1)
    assert process.held.since_at == rfc3339(wall() - timedelta(seconds=process.held.since_seconds))
    scene.analyst.refusing = None
    await scene.decided()


@virtual
async def test_a_record_behind_its_key_names_the_one_whose_turn_it_is() -> None:
    scene = Scene(analyst=FakeAnalyst(seconds=30))
    for number in range(4):
        scene.submit(f"track-{number}", key=b"song" if number != 1 else b"")
    scene.submit("track-4", key=b"")
    worker = scene.worker()
    await until(lambda: len(scene.analyst.calls) == 2)
    found = records(worker)
    assert {offset: (each.waits_for, each.predecessor) for offset, each in found.items()} == {
        0: (WaitsFor.CALL, None),
        1: (WaitsFor.CALL, None),
        2: (WaitsFor.PREDECESSOR, 0),
        3: (WaitsFor.PREDECESSOR, 0),
        4: (WaitsFor.PREDECESSOR, 1),
    }
    behind = one(worker).behind
    assert (behind.queued, behind.same_key, behind.in_flight) == (3, 3, 1)
    await until(lambda: len(scene.analyst.calls) == 4)
    assert records(worker)[3].predecessor == 2
    await scene.decided()


@virtual
async def test_a_decision_that_kafka_does_not_take_is_unpublished_and_the_commits_say_why() -> None:
    scene = submitted(1)
    worker = scene.worker(commit_interval=0.1)
    await until(lambda: scene.analyst.calls)
    scene.broker.faults[0].extend([(Step.COMMIT, Way.FAILS)] * 5)
    await until(lambda: len([fact for fact in worker.seen(CommitFinished) if fact.outcome == "failed"]) == 3)
    held, commits = holder(worker), one(worker).commits
    assert (held.state, held.waits_for, held.deadline_seconds) == ("unpublished", WaitsFor.PUBLICATION, None)
    assert (commits.failures, commits.error) == (3, "KafkaError at commit")
    assert commits.watermark is None
    assert commits.under_way_seconds == pytest.approx(held.since_seconds, abs=0.2)
    await scene.decided()
    commits = one(worker).commits
    assert (commits.watermark, commits.failures, commits.error, commits.under_way_seconds) == (1, 0, None, None)
    assert commits.committed_seconds == pytest.approx(0, abs=0.1)


@virtual
async def test_a_buried_record_waits_for_its_commit_like_any_other() -> None:
    scene = Scene()
    scene.submit_raw("poison", POISON)
    worker = scene.worker(commit_interval=0.1)
    scene.broker.faults[0].append((Step.COMMIT, Way.FAILS))
    await until(lambda: worker.seen(CommitFinished))
    held = holder(worker)
    assert (held.item_id, held.state, held.waits_for, held.attempts) == (None, "unpublished", WaitsFor.PUBLICATION, 0)
    assert held.since_seconds < held.received_seconds + 0.01
    await scene.decided()


@virtual
async def test_nothing_waits() -> None:
    scene = submitted(3)
    worker = scene.worker()
    await scene.decided()
    await until(lambda: scene.point().watermark == 3)
    found = one(worker)
    assert (found.holder, found.watermark, found.watermark_seconds, found.records) == (None, 3, None, ())
    assert (found.next_offset, found.highest_completed, found.done_above, found.paused) == (3, 2, 0, ())


@virtual
async def test_the_watermark_is_held_since_it_came_there_not_since_its_record_did() -> None:
    """The record behind the oldest was received with it; it holds the watermark from the other's commit on."""
    analyst = FakeAnalyst(seconds=1)
    analyst.slow = {"track-0": 30, "track-1": 100}
    scene = submitted(5, analyst)
    worker = scene.worker()
    await until(lambda: scene.broker.committed and scene.point().done == {2, 3, 4})
    await elapse(10)
    found = one(worker)
    assert (found.watermark, found.done_above, found.highest_completed) == (0, 3, 4)
    await until(lambda: scene.point().watermark == 1)
    await elapse(20)
    found = one(worker)
    assert found.watermark == 1
    assert found.watermark_seconds == pytest.approx(20, abs=0.1)
    assert holder(worker).received_seconds > 45
    assert found.commits.committed_seconds == pytest.approx(20, abs=0.1)
    await scene.decided()


def test_every_state_and_every_stage_has_its_words() -> None:
    assert set(_STATES) == set(State)
    assert set(_STAGES) == set(Stage)
