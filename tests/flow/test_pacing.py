"""The pacer keeps every minute's limit, uses it, and heeds the API; the first poll learns when results are in."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.flow.pacing import LIKELY, MINUTE, AnalysisTime, Pacer
from worker.flow.replies import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMITS = st.one_of(st.integers(1, 10_000), st.sampled_from([1, 2, 3, 60, 99, 100, 199, 200, 10_000]))
STARTS = st.sampled_from([0.0, 12.5, 1e6 + 1 / 3])
WAITS = st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 200))
FUZZ = 1e-6  # seconds; floating point at the ends of a window


def leave(pacer: Pacer, start: float, waits: Iterable[float]) -> list[float]:
    """Each request comes so long after the one before left, and leaves as soon as it may."""
    now, left = start, []
    for wait in waits:
        now = max(now + wait, pacer.ready_at())
        pacer.take(now)
        left.append(now)
    return left


def fullest_window(times: list[float]) -> int:
    """The most in any half-open minute; one that is fullest begins with a request."""
    return max(bisect_left(times, first + MINUTE - FUZZ) - at for at, first in enumerate(times))


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
    """A burst of a hundredth of the limit at most: at sixty a minute one at a time."""
    left = leave(Pacer(60), 0.0, [0.0] * 100)
    assert all(later - earlier == pytest.approx(MINUTE / 59) for earlier, later in pairwise(left))


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


# When to poll first.

DISTRIBUTIONS: dict[str, tuple[Callable[[random.Random], float], float]] = {
    "full tracks": (lambda rng: rng.uniform(45, 48), 47.55),
    "with cold starts": (lambda rng: 45 + (rng.uniform(20, 30) if rng.random() < 0.1 else rng.uniform(0, 3)), 47.83),
    "skewed": (lambda rng: rng.expovariate(1 / 20), 37.9),
    "quick": (lambda rng: rng.uniform(10, 14), 13.4),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_the_first_poll_finds_what_is_likely_done(name: str, seed: int) -> None:
    """From the setting, 25 s, to where 85 % of the jobs are done, for each kind of traffic."""
    draw, quantile = DISTRIBUTIONS[name]
    rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
    learned, hits, times = AnalysisTime(25.0), [], []
    for count in range(6000):
        done = draw(rng) <= learned.seconds
        learned.first_poll(learned.seconds, done=done)
        if count >= 1000:
            hits.append(done)
            times.append(learned.seconds)
    assert fmean(hits) == pytest.approx(LIKELY, abs=0.02)
    assert fmean(times) == pytest.approx(quantile, rel=0.12)


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
    for _ in range(300):
        learned.first_poll(learned.seconds, done=learned.seconds >= 46)
    assert learned.seconds < 60
