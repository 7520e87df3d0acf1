"""The adaptive limit against simulated services: steady, at capacity, refusing, slower, absent and back."""

from __future__ import annotations

import heapq
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.flow.concurrency import AdaptiveLimit, LimitPolicy

SCAN = 45.0  # seconds, give or take three tenths
HOUR = 3600.0
NO_BOUND = 10_000


class Farm:
    """A service with so many places, the rest queues in order; it may refuse beyond a number, or fail altogether."""

    def __init__(self, limit: AdaptiveLimit, places: int = NO_BOUND, *, seed: int = 0) -> None:
        self.limit = limit
        self.rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
        self.scan = SCAN
        self.free_at = [0.0] * places
        self.refuses_above = NO_BOUND
        self.fails_after: float | None = None
        self.demand = NO_BOUND
        self.now = 0.0
        self.in_flight = 0
        self.ends: list[tuple[float, float, bool]] = []  # at, began, answered
        self.limits: list[tuple[float, int]] = [(0.0, limit.limit)]
        self.answered = 0

    def begin(self) -> None:
        self.in_flight += 1
        if self.fails_after is not None:
            end, taken = self.now + self.fails_after, False
        elif self.in_flight > self.refuses_above:
            end, taken = self.now + 0.1, False
        else:
            place = max(self.now, heapq.heappop(self.free_at))
            end, taken = place + self.scan * self.rng.uniform(0.7, 1.3), True
            heapq.heappush(self.free_at, end)
        heapq.heappush(self.ends, (end, self.now, taken))

    def run(self, seconds: float) -> None:
        """As many in flight as the limit lets, or as there is demand for."""
        until = self.now + seconds
        while self.now < until:
            while self.in_flight < min(self.limit.limit, self.demand):
                self.begin()
            self.now, began, taken = heapq.heappop(self.ends)
            self.end(began, taken=taken)

    def end(self, began: float, *, taken: bool) -> None:
        if taken:
            self.limit.answered(began, self.now, self.in_flight)
            self.answered += 1
        else:
            self.limit.overloaded(began, self.now)
        self.in_flight -= 1
        self.limits.append((self.now, self.limit.limit))

    def since(self, at: float) -> list[int]:
        return [limit for when, limit in self.limits if when >= at]

    def mean_limit(self, at: float) -> float:
        """Over time, not over calls."""
        pairs = zip(self.limits, self.limits[1:], strict=False)
        return sum(limit * (end - when) for (when, limit), (end, _) in pairs if when >= at) / (self.now - at)

    def reached(self, limit: int, at: float) -> float:
        """Seconds until the limit was so high, counted from then."""
        return next(when for when, value in self.limits if when >= at and value >= limit) - at


def never_shrinks(limits: list[int]) -> bool:
    return limits == sorted(limits)


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 10, 64]), st.sampled_from([1, 2, 7, 64, 256]))
@settings(max_examples=30, deadline=None)
def test_a_steady_service_never_shrinks_it(seed: int, start: int, highest: int) -> None:
    """45 s, give or take 30 %: whatever the noise, at every size, in a day of full use."""
    farm = Farm(AdaptiveLimit(LimitPolicy(highest, start=start)), seed=seed)
    farm.run(24 * HOUR if highest <= 64 else 4 * HOUR)
    assert never_shrinks(farm.since(0.0))
    assert farm.limit.limit == highest


def test_few_samples_say_little() -> None:
    """One quick first track and two slow ones after it are no queue; so begin three hundred workers."""
    for seed in range(300):
        farm = Farm(AdaptiveLimit(LimitPolicy(16, start=1)), seed=seed)
        farm.run(12 * SCAN)
        assert never_shrinks(farm.since(0.0))


def test_cold_starts_and_quick_services_do_not_shrink_it_either() -> None:
    """One track in ten takes 20-30 s more; and a quarter of a second that varies by as much is no queue."""
    limit, rng, now = AdaptiveLimit(LimitPolicy(64)), random.Random(7), 0.0  # noqa: S311 - no secret: a seeded test
    limits = []
    for _ in range(20_000):
        now += 1.0
        took = rng.uniform(45, 48) + (rng.uniform(20, 30) if rng.random() < 0.1 else 0.0)
        limit.answered(now - took, now, limit.limit)
        limits.append(limit.limit)
    assert never_shrinks(limits)
    quick = Farm(AdaptiveLimit(LimitPolicy(64)))
    quick.scan = 0.25
    quick.run(20.0)
    quick.scan = 0.6
    quick.run(60.0)
    assert never_shrinks(quick.since(0.0))


def test_full_concurrency_is_a_matter_of_a_few_round_trips() -> None:
    """It doubles each round: 10, 20, 40, 64."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.run(HOUR)
    assert farm.reached(64, 0.0) < 4 * SCAN


@pytest.mark.parametrize(("places", "start", "highest"), [(8, 1, 64), (16, 10, 256), (40, 10, 64), (64, 10, 1000)])
@pytest.mark.parametrize("seed", range(2))
def test_it_converges_to_what_the_service_can_do(places: int, start: int, highest: int, seed: int) -> None:
    """Within an hour or so: the mean within 1.5 of the capacity, never twice it, and the places are kept busy."""
    farm = Farm(AdaptiveLimit(LimitPolicy(highest, start=start)), places, seed=seed)
    farm.run(1.5 * HOUR)
    before, began = farm.answered, farm.now
    farm.run(10 * HOUR)
    assert places / 1.1 <= farm.mean_limit(began) <= 1.5 * places
    assert 0.7 * places <= min(farm.since(began)) <= max(farm.since(began)) <= 2 * places
    assert (farm.answered - before) * SCAN / (farm.now - began) >= 0.95 * places


@pytest.mark.parametrize("places", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_tiny_service_is_held_within_three_times_its_capacity(places: int, seed: int) -> None:
    """One more is much there, and few samples say little."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64, start=1)), places, seed=seed)
    farm.run(20 * HOUR)
    assert farm.mean_limit(HOUR) <= 3 * places


def test_a_start_above_the_capacity_is_corrected() -> None:
    """The first baseline is one with a queue; each decrease sees a shorter one."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64, start=32)), 16)
    farm.run(6 * HOUR)
    began = farm.now
    farm.run(6 * HOUR)
    assert farm.mean_limit(began) <= 1.5 * 16


@pytest.mark.parametrize("left", [8, 16, 40])
def test_it_follows_the_capacity_down_and_up(left: int) -> None:
    """Also where one decrease is not enough: latency falls with the limit, so the queue is ours."""
    farm = Farm(AdaptiveLimit(LimitPolicy(128)), 64)
    farm.run(3 * HOUR)
    farm.free_at = farm.free_at[:left]
    farm.run(2 * HOUR)
    began = farm.now
    farm.run(5 * HOUR)
    assert left / 1.1 <= farm.mean_limit(began) <= 1.5 * left
    farm.free_at = [farm.now] * 64
    farm.run(2 * HOUR)
    began = farm.now
    farm.run(5 * HOUR)
    assert 64 / 1.1 <= farm.mean_limit(began) <= 1.5 * 64


def test_a_service_that_refuses_what_is_too_much_sees_a_sawtooth_below_it() -> None:
    farm = Farm(AdaptiveLimit(LimitPolicy(128)))
    farm.refuses_above = 40
    farm.run(HOUR)
    began = farm.now
    farm.run(10 * HOUR)
    assert 0.65 * 40 <= min(farm.since(began)) <= max(farm.since(began)) <= 40 + 8
    assert 0.75 * 40 <= farm.mean_limit(began) <= 40


@pytest.mark.parametrize(("fails_after", "lasts"), [(0.05, 30.0), (5.0, HOUR), (300.0, HOUR)])
def test_it_recovers_after_an_outage(fails_after: float, lasts: float) -> None:
    """At once, slowly or by time-out: down to 1 at most, and back by doubling, since the memory stays."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.run(2 * HOUR)
    farm.fails_after = fails_after
    farm.run(lasts)
    assert farm.limit.limit < 32
    farm.fails_after, began = None, farm.now
    farm.run(HOUR)
    assert farm.reached(45, began) < 8 * SCAN
    assert farm.reached(64, began) < 12 * SCAN


def test_an_outage_at_the_start_is_no_lasting_bound() -> None:
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.fails_after = 0.05
    farm.run(10.0)
    assert farm.limit.limit == 1
    farm.fails_after, began = None, farm.now
    farm.run(HOUR)
    assert farm.reached(64, began) < 9 * SCAN


@pytest.mark.parametrize("slower", [1.3, 2.0, 4.0])
def test_a_service_that_is_slower_for_its_own_reasons_gets_its_concurrency_back(slower: float) -> None:
    """Latency did not fall with the limit: the new time is the baseline."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.run(2 * HOUR)
    farm.scan *= slower
    began = farm.now
    farm.run(16 * farm.scan)
    assert farm.reached(64, began + 6 * farm.scan) < 16 * farm.scan
    began = farm.now
    farm.run(4 * HOUR)
    assert fmean(farm.since(began)) == 64


def test_what_is_not_used_does_not_grow() -> None:
    """Twelve in flight say nothing of what the service would do with more."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.demand = 12
    farm.run(10 * HOUR)
    assert farm.limit.limit <= 12 / 0.8 + 1
    farm.demand = NO_BOUND
    began = farm.now
    farm.run(HOUR)
    assert farm.reached(64, began) < 5 * SCAN


def test_what_is_not_used_does_not_grow_after_a_decrease_either() -> None:
    farm = Farm(AdaptiveLimit(LimitPolicy(64)))
    farm.refuses_above = 40
    farm.run(2 * HOUR)
    farm.refuses_above, farm.demand = NO_BOUND, 5
    farm.run(2 * SCAN)  # until what was in flight is gone
    before = farm.limit.limit
    farm.run(10 * HOUR)
    assert farm.limit.limit == before < 64


def test_switched_off_it_is_the_maximum() -> None:
    """Whatever it would have done: a service ten times slower, and one that fails."""
    farm = Farm(AdaptiveLimit(LimitPolicy(64, enabled=False)))
    farm.run(HOUR)
    farm.scan *= 10
    farm.run(5 * HOUR)
    farm.fails_after = 5.0
    farm.run(HOUR)
    assert set(farm.since(0.0)) == {64}


def test_one_round_trip_is_one_decrease() -> None:
    """All that were in flight fail alike: they started before the first told of it."""
    limit = AdaptiveLimit(LimitPolicy(100, start=100))
    for _ in range(100):
        limit.overloaded(started_at=5.0, now=6.0)
    assert limit.limit == 70
    for began in (5.5, 6.0):
        limit.overloaded(began, now=7.0)
        limit.answered(began, now=500.0, in_flight=100)
    assert limit.limit == 70
    limit.overloaded(6.5, now=8.0)
    assert limit.limit == 49
    assert "49/100" in repr(limit)


EVENTS = st.lists(
    st.tuples(st.booleans(), st.one_of(st.just(0.0), st.floats(0, 1e4)), st.floats(0, 1e3), st.integers(0, 300)),
    max_size=300,
)


@given(EVENTS, st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_it_stays_within_its_bounds_whatever_comes(
    events: list[tuple[bool, float, float, int]], start: int, highest: int
) -> None:
    limit, off = (AdaptiveLimit(LimitPolicy(highest, start=start, enabled=on)) for on in (True, False))
    now = 0.0
    for good, took, wait, in_flight in events:
        now += wait
        for each in (limit, off):
            if good:
                each.answered(now - took, now, in_flight)
            else:
                each.overloaded(now - took, now)
        assert 1 <= limit.limit <= highest
        assert off.limit == highest
