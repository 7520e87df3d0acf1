"""The one gate through which requests leave: evenly, polls first, and never more than the quota."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, stand_still, until, virtual
from worker.flow.faults import FaultKind
from worker.flow.pacing import Pacer
from worker.flow.replies import Fault
from worker.pipeline.facts import CallFinished
from worker.pipeline.gate import Gate


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_polls_leave_before_submissions_and_in_their_order() -> None:
    left: list[str] = []

    def submit() -> None:
        if gate.is_open():
            gate.take()
            left.append("submission")

    async def poll(name: str) -> None:
        await gate.wait()
        left.append(name)

    gate = Gate(Pacer(61), submit)
    submit()
    submit()
    polls = [asyncio.create_task(poll(f"poll-{number}")) for number in range(3)]
    began = now()
    await until(lambda: len(left) == 5)
    assert left == ["submission", "poll-0", "poll-1", "poll-2", "submission"]
    assert now() - began == pytest.approx(4, abs=0.05)
    await asyncio.gather(*polls)


@pytest.mark.parametrize("cancelled", [0, 1, 2])
@virtual
async def test_a_poll_cancelled_in_the_moment_of_its_turn_harms_nobody(cancelled: int) -> None:
    """The timer may fire between the cancellation of a waiter and the waiter's own end."""
    gate = Gate(Pacer(61), lambda: None)
    gate.take()
    polls = [asyncio.create_task(gate.wait()) for _ in range(3)]
    asyncio.get_running_loop().call_at(now() + 1.0, polls[cancelled].cancel)
    await asyncio.wait(polls)
    assert [poll.cancelled() for poll in polls] == [number == cancelled for number in range(3)]
    assert gate.waiting == 0


@virtual
async def test_a_submission_does_not_overtake_a_poll_that_is_due() -> None:
    gate = Gate(Pacer(61), lambda: None)
    gate.take()
    poll = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)
    stand_still(5)  # quota is there again, and the poll has not been woken yet
    assert not gate.is_open()
    await poll


@virtual
async def test_a_cancelled_poll_takes_no_quota() -> None:
    gate = Gate(Pacer(61), lambda: None)
    gate.take()
    polls = [asyncio.create_task(gate.wait()) for _ in range(3)]
    began = now()
    await elapse(0.5)
    polls[0].cancel()
    await asyncio.wait(polls)
    assert now() - began == pytest.approx(2, abs=0.01)


@virtual
async def test_a_pause_holds_whoever_waits_already() -> None:
    gate = Gate(Pacer(61), lambda: None)
    gate.take()
    poll = asyncio.create_task(gate.wait())
    await elapse(0.5)
    gate.pause(20)
    began = now()
    await poll
    assert now() - began == pytest.approx(20, abs=0.01)


# The whole pipeline under the API's fixed windows.


@pytest.mark.parametrize("phase", [0.0, 17.3, 59.9])
@pytest.mark.parametrize("per_minute", [10, 60, 300])
@virtual
async def test_no_window_of_the_api_is_ever_overdrawn_and_little_is_left(per_minute: int, phase: float) -> None:
    tracks = per_minute * 3
    scene = Scene(partitions=2, analyst=FakeAnalyst(2, seconds=45, per_minute=per_minute, phase=phase))
    for number in range(tracks):
        scene.submit(f"track-{number}", number % 2)
    scene.worker(per_minute=per_minute, slots=per_minute * 2, first_poll=40)
    began = now()
    await scene.decided(3600)
    assert scene.analyst.throttled == 0
    assert set(scene.analyst.purchases.values()) == {1}
    minutes = Counter(int((call.at - phase) // 60) for call in scene.analyst.calls)
    assert max(minutes.values()) <= per_minute
    requests = len(scene.analyst.calls)
    assert requests <= 2.7 * tracks
    if per_minute <= 60:  # above, what a lane's metadata can hold of jobs is the bound
        assert requests / (now() - began) > 0.8 * (per_minute - 1) / 60


@virtual
async def test_a_shared_key_is_heeded_through_the_headers() -> None:
    """Somebody else uses two thirds of the quota: what the replies say keeps us within the rest."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=0.5, per_minute=20))
    for number in range(100):
        scene.submit(f"track-{number}")
    scene.worker(per_minute=60)
    await scene.decided(3600)
    assert scene.analyst.throttled <= 6
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_429_pauses_everybody_for_as_long_as_it_says() -> None:
    scene = Scene(analyst=FakeAnalyst())
    scene.analyst.submissions["track-0"].append(Fault(FaultKind.THROTTLED, "429", retry_after_seconds=30))
    scene.submit("track-0")
    worker = scene.worker()
    await until(lambda: worker.seen(CallFinished))
    began = now()
    for number in range(1, 5):
        scene.submit(f"track-{number}")
    await until(lambda: len(scene.analyst.calls) > 1)
    assert 29 < now() - began < 31
    await scene.decided()
