"""The retry budget: never more than it says in any stretch of time, never less where it could be used."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.flow.budget import MINUTE, ROUNDING, RetryAllowance, RetryBudget

ALLOWANCES = st.builds(
    RetryAllowance,
    share=st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 1.0]),
    floor_per_minute=st.sampled_from([0.0, 1.0, 10.0, 600.0]),
    burst=st.sampled_from([1.0, 2.5, 10.0]),
)
# So long later, something is sent or wants to be sent again.
STEPS = st.lists(st.tuples(st.one_of(st.just(0.0), st.floats(0, 90)), st.sampled_from(["call", "retry"])), max_size=150)
STARTS = st.sampled_from([0.0, 12.5, 1e6 + 1 / 3])


@given(ALLOWANCES, STEPS, STARTS)
@settings(max_examples=300, deadline=None)
def test_no_stretch_of_time_holds_more_retries_than_allowed(
    allowance: RetryAllowance, steps: list[tuple[float, str]], start: float
) -> None:
    """Between any two moments: burst + share of the calls + floor; so also over any prefix."""
    budget, now = RetryBudget(allowance, start), start
    earned, spent = [(start, 0.0)], [0]
    for wait, what in steps:
        now += wait
        calls, retries = 0, 0
        if what == "call":
            budget.call(now)
            calls = 1
        elif budget.may_retry(now):
            budget.retry(now)
            retries = 1
        gain = allowance.share * calls + allowance.floor_per_minute * (now - earned[-1][0]) / MINUTE
        earned.append((now, earned[-1][1] + gain))
        spent.append(spent[-1] + retries)
    # Over all stretches at once: spent - earned never rises by more than the burst above its lowest earlier value.
    debts = [out - gain for out, (_, gain) in zip(spent, earned, strict=True)]
    lowest = accumulate(debts, min)
    assert all(debt - low <= allowance.burst + 2 * ROUNDING for debt, low in zip(debts, lowest, strict=True))


@given(ALLOWANCES, STEPS, STARTS, st.integers(0, 20))
def test_the_wait_is_long_enough_and_no_longer(
    allowance: RetryAllowance, steps: list[tuple[float, str]], start: float, ahead: int
) -> None:
    """When calls stand still, and as many go first, each as soon as it may."""
    budget, now = RetryBudget(allowance, start), start
    for wait, what in steps:
        now += wait
        if what == "call":
            budget.call(now)
        elif budget.may_retry(now):
            budget.retry(now)
    wait = budget.wait_seconds(now, ahead)
    for _ in range(ahead):
        now, wait = go_first(budget, now, wait)
    if wait == math.inf:
        assert not allowance.floor_per_minute
        assert not budget.may_retry(now + 1e6)
        return
    assert budget.may_retry(now + wait + ROUNDING)
    assert wait == 0 or not budget.may_retry(now + wait * 0.99 - 0.1)


def go_first(budget: RetryBudget, now: float, wait: float) -> tuple[float, float]:
    """One more retry leaves as early as it can; what is left of the wait."""
    own = budget.wait_seconds(now)
    if own == math.inf:
        return now, wait
    budget.retry(now + own)
    return now + own, max(0.0, wait - own)


@pytest.mark.parametrize("per_second", [1, 20])
def test_a_fifth_of_the_calls_and_the_floor_are_used_where_wanted(per_second: int) -> None:
    """Ten minutes of calls, every one of which wants to be made again."""
    budget, retries = RetryBudget(RetryAllowance(), now=0.0), 0
    calls = 600 * per_second
    for number in range(calls):
        now = number / per_second
        budget.call(now)
        if budget.may_retry(now):
            budget.retry(now)
            retries += 1
    assert retries == pytest.approx(10 + 0.2 * calls + 10 * 10, abs=3)


def test_a_quiet_hour_saves_no_more_than_the_burst() -> None:
    budget = RetryBudget(RetryAllowance(burst=10), now=0.0)
    retries = 0
    while budget.may_retry(3600.0):
        budget.retry(3600.0)
        retries += 1
    assert retries == 10
    assert budget.wait_seconds(3600.0) == pytest.approx(6.0)
    assert budget.wait_seconds(3600.0, ahead=4) == pytest.approx(30.0)


def test_ten_calls_earn_one_retry() -> None:
    """Exactly, whatever floats make of ten tenths."""
    budget = RetryBudget(RetryAllowance(share=0.1, floor_per_minute=0.0, burst=1.0), now=0.0)
    for _ in range(10_000):
        budget.retry(0.0)
        for _ in range(9):
            budget.call(0.0)
            assert not budget.may_retry(0.0)
        assert budget.wait_seconds(0.0) == math.inf
        budget.call(0.0)
        assert budget.may_retry(0.0)
    assert "saved=1.00/1" in repr(budget)
