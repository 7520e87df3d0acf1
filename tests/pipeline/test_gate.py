"""The one gate through which requests leave: evenly, polls first, and never more than the quota."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.virtual_time import elapse, stand_still, until, virtual
from worker.flow.pacing import MINUTE, MOST_LATE_SECONDS, QUIET_INTERVALS, SLACK_SECONDS, Pacer, part
from worker.flow.replies import Quota
from worker.pipeline.gate import Gate


def now() -> float:
    return asyncio.get_running_loop().time()


INTERVAL = MINUTE + SLACK_SECONDS  # of one request a minute
PER_MINUTE = round(INTERVAL)  # all but one a second
SECOND = INTERVAL / PER_MINUTE


class Stage:
    """A gate, and who has left through it: submissions for as long as there are any, and polls by name."""

    def __init__(self, submissions: int, per_minute: int = PER_MINUTE) -> None:
        self.left: list[str] = []
        self.waited: list[float] = []  # of the submissions
        self.submissions = submissions
        self.gate = Gate(Pacer(per_minute), self.submit)
        self.polls: list[asyncio.Task[None]] = []

    def submit(self) -> None:
        while self.submissions and self.gate.is_open():
            self.submissions -= 1
            self.waited.append(self.gate.take())
            self.left.append("submission")

    def poll(self, name: str, accepted_at: float, *, first: bool) -> asyncio.Task[None]:
        self.polls.append(asyncio.create_task(self._poll(name, accepted_at, first=first)))
        return self.polls[-1]

    async def _poll(self, name: str, accepted_at: float, *, first: bool) -> None:
        await self.gate.wait(accepted_at, first=first)
        self.left.append(name)


@virtual
async def test_first_polls_leave_before_submissions_and_the_oldest_job_first() -> None:
    stage = Stage(submissions=2)
    stage.submit()
    for name, accepted_at in (("second", 5.0), ("third", 9.0), ("first", 2.0)):
        stage.poll(name, accepted_at, first=True)
    began = now()
    await until(lambda: len(stage.left) == 5)
    assert stage.left == ["submission", "first", "second", "third", "submission"]
    assert now() - began == pytest.approx(4 * SECOND, abs=0.5)


@virtual
async def test_later_polls_and_submissions_take_turns_behind_first_polls() -> None:
    """Else jobs that hang, polled again and again, would use up the quota of all others; or never be polled again."""
    stage = Stage(submissions=4)
    stage.submit()
    for number in range(3):
        stage.poll(f"later-{number}", -number, first=False)
    stage.poll("first", 0.0, first=True)
    await until(lambda: len(stage.left) == 8)
    turns = ["later-0", "submission", "later-1", "submission", "later-2", "submission"]
    assert stage.left == ["submission", "first", *turns]


@virtual
async def test_later_polls_wait_for_no_submission_where_there_is_none() -> None:
    stage = Stage(submissions=1)
    stage.submit()
    for number in range(3):
        stage.poll(f"later-{number}", 0.0, first=False)
    began = now()
    await until(lambda: len(stage.left) == 4)
    assert stage.left == ["submission", "later-0", "later-1", "later-2"]
    assert now() - began == pytest.approx(3 * SECOND, abs=0.5)


@given(st.lists(st.tuples(st.sampled_from(["submission", "first", "later"]), st.integers(0, 3)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_everybody_leaves_at_the_full_pace_and_in_the_promised_order(arrivals: list[tuple[str, int]]) -> None:
    """Whoever comes when: nothing is lost, no quota is idle while anybody waits, and polls keep their order."""

    @virtual
    async def run() -> None:
        stage, began = Stage(submissions=0), now()
        for number, (kind, pause) in enumerate(arrivals):
            await elapse(pause * SECOND / 2)
            if kind == "submission":
                stage.submissions += 1
                stage.submit()
            else:
                stage.poll(f"{kind}-{number}", number, first=kind == "first")
            await asyncio.sleep(0)
        await until(lambda: len(stage.left) == len(arrivals))
        assert now() - began <= (sum(pause for _, pause in arrivals) / 2 + len(arrivals)) * SECOND + 0.01
        for kind in ("first", "later"):
            order = [int(name.partition("-")[2]) for name in stage.left if name.startswith(kind)]
            assert order == sorted(order)

    run()


@virtual
async def test_who_waited_is_told_for_how_long() -> None:
    stage = Stage(submissions=2)
    stage.submit()
    ready_in = stage.gate.ready_at - now()
    assert ready_in == pytest.approx(SECOND, abs=MOST_LATE_SECONDS)
    assert await stage.gate.wait(0.0, first=True) == pytest.approx(ready_in)
    await until(lambda: len(stage.left) == 2)
    assert stage.waited == [0.0, pytest.approx(ready_in + SECOND)]


@virtual
async def test_a_refusal_that_nobody_minded_is_no_waiting() -> None:
    """The gate was asked with nothing to send; hours later something comes, and leaves at once."""
    stage = Stage(submissions=0)
    stage.gate.take()
    assert not stage.gate.is_open()
    await elapse(3600)
    assert stage.gate.is_open()
    assert stage.gate.take() == 0.0


# Replicas.


@virtual
async def test_without_partitions_nothing_leaves_and_with_them_it_goes_on() -> None:
    stage = Stage(submissions=3)
    stage.gate.assigned([0, 1], 4)
    await elapse(10)
    stage.submit()
    stage.gate.revoked()
    stage.poll("poll", 0.0, first=True)
    await elapse(600)
    assert stage.left == ["submission"]
    assert stage.gate.status(0.0).ready_in_seconds is None
    stage.gate.assigned([0], 4)
    began = now()
    await until(lambda: len(stage.left) == 4)
    assert stage.left == ["submission", "poll", "submission", "submission"]
    quarter = INTERVAL / part(PER_MINUTE, [0], 4)
    assert now() - began == pytest.approx((QUIET_INTERVALS + 2) * quarter, abs=1)


@virtual
async def test_a_faster_pace_is_used_at_once_by_whoever_waits() -> None:
    stage = Stage(submissions=0)
    stage.gate.assigned([0], 60)
    poll = stage.poll("poll", 0.0, first=True)
    await elapse(1)
    stage.gate.assigned(range(60), 60)
    began = now()
    await poll
    assert now() - began < 130
    stage.gate.revoked()


@virtual
async def test_the_status_shows_our_part_and_the_whole_keys_remainder() -> None:
    stage = Stage(submissions=1, per_minute=60)
    stage.gate.assigned(range(3), 6)
    stage.gate.observe(Quota(60, 17, 40.0))
    await elapse(15)
    stage.submit()
    found = stage.gate.status(7.5)
    assert (found.limit_per_minute, found.share, found.allowed_per_minute) == (60, 0.5, 30)
    assert (found.api_limit, found.api_remaining) == (60, 17)
    assert found.api_reset_seconds == pytest.approx(25)
    assert (found.used_per_minute, found.waiting_polls, found.retries_left) == (1, 0, 7.5)
    assert found.ready_in_seconds == pytest.approx(INTERVAL / 30, abs=MOST_LATE_SECONDS)
    await elapse(30)
    assert stage.gate.status(7.5).api_reset_seconds == 0


@virtual
async def test_without_a_limit_the_status_says_so() -> None:
    stage = Stage(submissions=0, per_minute=0)
    stage.gate.assigned([1], 4)
    found = stage.gate.status(1.0)
    assert (found.limit_per_minute, found.allowed_per_minute, found.share, found.ready_in_seconds) == (None, None, 1, 0)


# Cancellation.


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("cancelled", [0, 1, 2])
@virtual
async def test_a_poll_cancelled_in_the_moment_of_its_turn_harms_nobody(cancelled: int, *, first: bool) -> None:
    """The timer may fire between the cancellation of a waiter and the waiter's own end."""
    gate = Gate(Pacer(PER_MINUTE), lambda: None)
    gate.take()
    polls = [asyncio.create_task(gate.wait(0.0, first=first)) for _ in range(3)]
    asyncio.get_running_loop().call_at(gate.ready_at, polls[cancelled].cancel)
    await asyncio.wait(polls)
    assert [poll.cancelled() for poll in polls] == [number == cancelled for number in range(3)]
    assert gate.waiting == 0


@virtual
async def test_a_submission_does_not_overtake_a_poll_that_is_due() -> None:
    gate = Gate(Pacer(PER_MINUTE), lambda: None)
    gate.take()
    poll = asyncio.create_task(gate.wait(0.0, first=True))
    await asyncio.sleep(0)
    stand_still(5)  # quota is there again, and the poll has not been woken yet
    assert not gate.is_open()
    await poll


@pytest.mark.parametrize("first", [True, False])
@virtual
async def test_a_cancelled_poll_takes_no_quota(*, first: bool) -> None:
    gate = Gate(Pacer(PER_MINUTE), lambda: None)
    gate.take()
    polls = [asyncio.create_task(gate.wait(0.0, first=first)) for _ in range(3)]
    began = now()
    await elapse(0.5)
    polls[0].cancel()
    await asyncio.wait(polls)
    assert now() - began == pytest.approx(2 * SECOND, abs=MOST_LATE_SECONDS)


@virtual
async def test_a_pause_holds_whoever_waits_already() -> None:
    gate = Gate(Pacer(PER_MINUTE), lambda: None)
    gate.take()
    poll = asyncio.create_task(gate.wait(0.0, first=True))
    await elapse(0.5)
    gate.pause(20)
    began = now()
    await poll
    assert now() - began == pytest.approx(20, abs=0.01)
