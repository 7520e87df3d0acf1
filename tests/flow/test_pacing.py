"""The pacer keeps every minute's limit, uses it, and heeds the API; the first poll learns when results are in."""

from __future__ import annotations

import math
import random
from heapq import heappop, heappush
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow.test_pacing_replicas import ranges, send
from tests.flow.windows import FUZZ, fullest_window, leave
from worker.flow.pacing import (
    LIKELY,
    MINUTE,
    MOST_LATE_SECONDS,
    PATIENT,
    SLACK_SECONDS,
    STEP_SHARE,
    AnalysisTime,
    Pacer,
)
from worker.flow.replies import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = st.one_of(st.integers(1, 10_000), st.sampled_from([1, 2, 3, 60, 99, 100, 199, 200, 10_000]))
STARTS = st.sampled_from([0.0, 12.5, 1e6 + 1 / 3])
WAITS = st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 200))


@given(LIMITS, STARTS, st.lists(WAITS, min_size=1, max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_minute_holds_more_than_the_limit(limit: int, start: float, waits: list[float]) -> None:
    """Wherever the server's window begins."""
    assert fullest_window(leave(Pacer(limit), start, waits)) <= limit


@pytest.mark.parametrize("limit", [1, 2, 59, 60, 100, 101, 250, 999, 10_000])
@pytest.mark.parametrize("idle", [0.0, 61.0])
def test_a_saturated_limit_is_kept_and_used(limit: int, idle: float) -> None:
    """Also after a pause: what was not used then is not saved up beyond the burst."""
    pacer = Pacer(limit)
    waits = [0.0] * (2 * limit) + [idle] + [0.0] * (3 * limit)
    assert fullest_window(leave(pacer, 5.0, waits)) <= limit


@pytest.mark.parametrize(("limit", "share"), [(60, 0.98), (100, 0.98), (600, 0.98), (10_000, 0.98), (10, 0.9)])
def test_a_saturated_limit_is_used(limit: int, share: float) -> None:
    left = leave(Pacer(limit), 0.0, [0.0] * (20 * limit))
    rate = (len(left) - 1) / (left[-1] - left[0]) * MINUTE
    assert rate >= share * limit - FUZZ


def test_requests_leave_evenly() -> None:
    left = leave(Pacer(60), 0.0, [0.0] * 100)
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert gaps[0] == pytest.approx(gaps[1] - MOST_LATE_SECONDS)  # the second may be as early as a late one would be
    assert gaps[1:] == pytest.approx([(MINUTE + SLACK_SECONDS) / 60] * 98)


@given(st.sampled_from([20, 60, 600, 6000]), st.lists(st.floats(0, 1), min_size=200, max_size=200))
@settings(max_examples=30)
def test_late_timers_cost_nothing(limit: int, lateness: list[float]) -> None:
    """Each request leaves a little later than it might: the next one makes up for it."""
    pacer, now, left = Pacer(limit), 0.0, list[float]()
    for share in lateness:
        now = pacer.ready_at() + share * min(MOST_LATE_SECONDS, 0.3 * MINUTE / limit) if left else 0.0
        pacer.take(now)
        left.append(now)
    assert left[-1] <= len(left) * (MINUTE + SLACK_SECONDS) / limit


@given(st.lists(st.floats(0, 90), min_size=1, max_size=100))
def test_what_was_used_is_known_to_a_minute(waits: list[float]) -> None:
    """Between what left within the last minute for certain, and what may have."""
    pacer = Pacer(0)
    left = leave(pacer, 5.0, waits)
    now = left[-1]
    assert pacer.used(now) <= sum(at > now - 2 * MINUTE for at in left)
    assert pacer.used(now) >= 1
    assert pacer.used(now + 2 * MINUTE) == pytest.approx(0)


def test_an_even_use_is_shown_as_such() -> None:
    pacer = Pacer(60)
    left = leave(pacer, 0.0, [0.0] * 300)
    assert pacer.used(left[-1]) == pytest.approx(59, abs=1.5)


@given(st.lists(WAITS, max_size=50), STARTS)
def test_no_limit_never_waits(waits: list[float], start: float) -> None:
    pacer = Pacer(0)
    leave(pacer, start, waits)
    assert pacer.ready_at() <= start


PAUSES = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 300)), min_size=1, max_size=8)


@given(st.sampled_from([0, 1, 60, 10_000]), PAUSES)
def test_a_pause_is_kept_and_a_shorter_one_shortens_nothing(limit: int, pauses: list[tuple[float, float]]) -> None:
    pacer, now, until = Pacer(limit), 0.0, -math.inf
    for wait, seconds in pauses:
        now += wait
        pacer.pause(seconds, now)
        until = max(until, now + seconds)
        assert pacer.ready_at() >= until


@given(st.one_of(st.none(), st.integers(-1, 3)), st.one_of(st.none(), st.floats(0, 1e5)))
def test_an_exhausted_quota_waits_for_its_reset(remaining: int | None, reset: float | None) -> None:
    """A minute at most: longer is a clock that is wrong, since the window is a minute."""
    pacer = Pacer(60)
    pacer.observe(Quota(60, remaining, reset), now=10.0)
    expected = 10.0 + min(reset, MINUTE) if remaining == 0 and reset else -math.inf
    assert pacer.ready_at() == expected
    pacer.observe(None, now=10.0)
    assert pacer.ready_at() == expected


# Rebalances; more of them in test_pacing_replicas.py.


@pytest.mark.parametrize(("limit", "of"), [(60, 60), (60, 100), (10, 200), (6, 600)])
def test_a_small_part_is_not_owed_for_longer_than_a_minute(limit: int, of: int) -> None:
    """One partition of many, then all of them: nothing sent a minute ago is in any window any more."""
    pacer = Pacer(limit)
    pacer.assigned([0], of, 0.0)
    pacer.take(pacer.ready_at())
    pacer.revoked()
    now = 10.0
    pacer.assigned(range(of), of, now)
    assert now + MINUTE - MOST_LATE_SECONDS <= pacer.ready_at() <= now + MINUTE + SLACK_SECONDS


def shrinking(seed: int) -> tuple[int, list[float]]:
    """All members of a group but one leave, each within a second; the limit, and when requests left."""
    rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
    limit, partitions = rng.choice([20, 60, 120]), rng.randint(2, 16)
    members = [Pacer(limit) for _ in range(rng.randint(2, min(partitions, 6)))]
    now, left = 1000.0, list[float]()
    while members:
        is_long = not left or len(members) == 1
        end = now + rng.uniform(0, 1) + (rng.uniform(60, 150) if is_long else 0)
        for pacer, held in zip(members, ranges(partitions, len(members)), strict=True):
            pacer.assigned(held, partitions, now)
            left += send(pacer, now, end, rng, 0.0)
            pacer.revoked()
        now = end
        members.pop(rng.randrange(len(members)))
    return limit, sorted(left)


def test_whoever_inherits_everything_within_seconds_overdraws_no_window() -> None:
    """What each owed by its small part counts: else each that leaves adds a request to the window."""
    for limit, left in map(shrinking, range(200)):
        assert fullest_window(left) <= limit


# When to poll first.

DISTRIBUTIONS: dict[str, tuple[Callable[[random.Random], float], float]] = {
    "full tracks": (lambda rng: rng.uniform(45, 48), 47.55),
    "with cold starts": (lambda rng: 45 + (rng.uniform(20, 30) if rng.random() < 0.1 else rng.uniform(0, 3)), 47.83),
    "skewed": (lambda rng: rng.expovariate(1 / 20), 37.9),
    "quick": (lambda rng: rng.uniform(10, 14), 13.4),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_poll_finds_what_is_likely_done(name: str, seed: int, *, patient: bool) -> None:
    """From the setting, 25 s, to where 85 % of the jobs are done, for each kind of traffic."""
    draw, quantile = DISTRIBUTIONS[name]
    rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
    learned, hits, times = AnalysisTime(25.0), [], []
    for count in range(6000):
        done = draw(rng) <= learned.seconds
        learned.first_poll(learned.seconds, done=done, patient=patient)
        if count >= 1000:
            hits.append(done)
            times.append(learned.seconds)
    assert fmean(hits) == pytest.approx(PATIENT if patient else LIKELY, abs=0.02)
    if not patient:
        assert fmean(times) == pytest.approx(quantile, rel=0.12)


def polls_a_job(seed: int, jobs: int = 1500) -> float:
    """One is accepted every 2 s; so many polls does each take, those of the first third left out: they teach."""
    rng, learned, polls = random.Random(seed), AnalysisTime(25.0), 0  # noqa: S311 - no secret: a seeded test
    due = [(2.0 * job, job, 0, 0.0) for job in range(jobs)]  # when, which, polls so far, age when last unfinished
    seconds = [46 * rng.uniform(0.7, 1.3) for _ in range(jobs)]
    while due:
        now, job, polled, unfinished_at = heappop(due)
        age = now - 2.0 * job
        polls += bool(age) and job >= jobs // 3
        if not age:
            heappush(due, (now + learned.seconds, job, 0, 0.0))
        elif age >= seconds[job]:
            learned.first_poll(unfinished_at or age, done=not unfinished_at, patient=True)
        else:
            heappush(due, (now + min(30.0, 5 * 1.5**polled), job, polled + 1, age))
    return polls / (jobs - jobs // 3)


def test_what_is_learned_late_does_not_swing() -> None:
    """Each first poll tells of an estimate of 50 s ago: with long steps it overshoots, and jobs are polled twice."""
    assert fmean(polls_a_job(seed) for seed in range(10)) < 1.038


@given(st.floats(0.01, 1000), st.lists(st.tuples(st.booleans(), st.integers(1, 2000)), max_size=20))
def test_the_first_poll_stays_within_its_bounds(start: float, runs: list[tuple[bool, int]]) -> None:
    """However long nothing is done (the API hangs), or everything is."""
    learned = AnalysisTime(start, floor_seconds=0.1, ceiling_seconds=120.0)
    for done, times in runs:
        for _ in range(times):
            learned.first_poll(learned.seconds, done=done)
            assert min(0.1, start) <= learned.seconds <= max(120.0, start)


def test_an_outage_is_unlearned() -> None:
    """An hour in which nothing was done must not delay a day's first polls."""
    learned = AnalysisTime(25.0)
    for _ in range(10_000):
        learned.first_poll(learned.seconds, done=False)
    for _ in range(500):
        learned.first_poll(learned.seconds, done=learned.seconds >= 46)
    assert learned.seconds < 60


@given(st.floats(1, 100), st.floats(0.1, 300), st.booleans(), st.booleans())
def test_what_is_done_is_never_a_reason_to_wait_longer(start: float, age: float, done: bool, patient: bool) -> None:
    """Nor what is not done a reason to poll earlier, however far the estimate has moved since the job was accepted."""
    learned = AnalysisTime(start)
    learned.first_poll(age, done=done, patient=patient)
    assert learned.seconds <= start if done else learned.seconds >= start
    assert abs(learned.seconds - start) <= STEP_SHARE * start


def test_hundreds_accepted_under_one_estimate_tell_of_that_only() -> None:
    learned = AnalysisTime(25.0)
    for _ in range(300):
        learned.first_poll(25.0, done=False)
    assert learned.seconds == pytest.approx(25 * (1 + STEP_SHARE))
    learned = AnalysisTime(25.0)
    for _ in range(300):
        learned.first_poll(25.0, done=True)
    assert learned.seconds == pytest.approx(25 * (1 - STEP_SHARE))
