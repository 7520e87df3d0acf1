"""Replicas divide the limit by their partitions: exactly, whoever holds what, also while it changes hands."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow.windows import fullest_window
from worker.flow.pacing import MINUTE, NEVER, QUIET_INTERVALS, SLACK_SECONDS, Pacer, part

LAZINESS = [0.0, 0.0, 0.2]
SPLITS = st.integers(1, 64).flatmap(
    lambda of: st.tuples(st.just(of), st.lists(st.integers(0, 7), min_size=of, max_size=of))
)


@given(st.integers(64, 10_000), SPLITS)
def test_the_parts_add_up_to_the_limit_and_are_whole(limit: int, split: tuple[int, list[int]]) -> None:
    """Whoever holds which partitions; what has none holds nothing."""
    of, owners = split
    held = [[number for number in range(of) if owners[number] == owner] for owner in range(8)]
    parts = [part(limit, numbers, of) for numbers in held if numbers]
    assert sum(parts) == limit
    assert all(each == int(each) for each in parts)


@given(st.integers(1, 10_000), st.integers(1, 200).flatmap(lambda of: st.tuples(st.just(of), st.integers(0, of - 1))))
def test_a_part_is_the_share_of_the_partitions_to_less_than_a_request(limit: int, ends: tuple[int, int]) -> None:
    """A range, as the group hands them out; also where it is less than one request a minute, and never nothing."""
    of, first = ends
    for last in {first, (first + of) // 2, of - 1}:
        held = range(first, last + 1)
        assert abs(part(limit, held, of) - limit * len(held) / of) < 1
        assert part(limit, held, of) > 0


def ranges(partitions: int, members: int) -> list[range]:
    """As the group hands them out."""
    each, more = divmod(partitions, members)
    ends = [number * each + min(number, more) for number in range(members + 1)]
    return [range(first, last) for first, last in pairwise(ends)]


def send(pacer: Pacer, start: float, end: float, rng: random.Random, laziness: float) -> list[float]:
    """As much as it may; so often it comes late."""
    now, left = start, list[float]()
    while (now := max(now, pacer.ready_at()) + (rng.uniform(0, 3) if rng.random() < laziness else 0.0)) < end:
        pacer.take(now)
        left.append(now)
    return left


@given(st.sampled_from([20, 60, 61, 200]), st.integers(1, 20), st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_replicas_together_keep_the_limit_and_use_it(
    limit: int, partitions: int, members: int, rng: random.Random
) -> None:
    """In every window, wherever it begins; each begins when it likes, so their phases are any."""
    left = list[float]()
    for held in ranges(partitions, min(partitions, members)):
        pacer, start = Pacer(limit), rng.uniform(0, 60)
        pacer.assigned(held, partitions, start)
        left += send(pacer, start, 600.0, rng, rng.choice(LAZINESS))
    left.sort()
    assert fullest_window(left) <= limit
    steady = [at for at in left if 200 <= at < 560]
    assert len(steady) <= 6 * limit


@pytest.mark.parametrize("members", [1, 2, 3, 5])
@pytest.mark.parametrize("partitions", [5, 7, 16, 60])
def test_replicas_together_use_what_one_would(members: int, partitions: int) -> None:
    left = list[float]()
    for held in ranges(partitions, members):
        pacer = Pacer(60)
        pacer.assigned(held, partitions, 0.0)
        left += send(pacer, 0.0, 3700.0, random.Random(0), 0.0)  # noqa: S311 - not asked
    assert sum(at >= 100 for at in left) >= 0.98 * 3600


@given(st.sampled_from([20, 60, 60, 120]), st.integers(1, 16), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_rebalance_overdraws_no_window(limit: int, partitions: int, rounds: int, rng: random.Random) -> None:
    """One member comes or goes at a time, and the others go on in the same moment: the least that is ever between."""
    members = [Pacer(limit) for _ in range(rng.randint(1, min(partitions, 6)))]
    now, left = 1000.0, list[float]()
    for _ in range(rounds):
        end = now + rng.uniform(0, rng.choice([5, 40, 200]))
        for pacer, held in zip(members, ranges(partitions, len(members)), strict=True):
            pacer.assigned(held, partitions, now)
            left += send(pacer, now, end, rng, rng.choice(LAZINESS))
            pacer.revoked()
            assert pacer.ready_at() == NEVER
        now = end
        if rng.random() < 0.5 and len(members) > 1:
            members.pop(rng.randrange(len(members)))
        elif len(members) < min(partitions, 8):
            members.insert(rng.randrange(len(members) + 1), Pacer(limit))
    left.sort()
    assert not left or fullest_window(left) <= limit


def test_what_a_replica_may_send_follows_its_partitions() -> None:
    pacer = Pacer(60)
    assert pacer.allowed == 60
    seen = list[float | None]()
    for now, held in enumerate([range(16), range(8), range(8, 12), range(0)]):
        pacer.assigned(held, 16, float(now))
        seen.append(pacer.allowed)
        if held:
            assert pacer.ready_at() > now + QUIET_INTERVALS * (MINUTE + SLACK_SECONDS) / 60 * 16 / len(held) - 1
    assert seen == [60, 30, 15, 0]
    assert pacer.ready_at() == NEVER
    pacer.assigned([3], 16, 10.0)
    pacer.revoked()
    assert (pacer.allowed, pacer.ready_at()) == (0, NEVER)


def test_without_a_limit_partitions_mean_nothing() -> None:
    pacer = Pacer(0)
    pacer.assigned([1], 16, 5.0)
    assert (pacer.allowed, pacer.ready_at() <= 5) == (None, True)
    pacer.revoked()
    assert pacer.ready_at() <= 5


def test_a_pause_outlasts_an_assignment() -> None:
    pacer = Pacer(60)
    pacer.pause(30, 100.0)
    pacer.assigned([0], 1, 101.0)
    assert pacer.ready_at() == 130
