"""Whatever tracks spoil their jobs, and whichever jobs die: each is found, and every other one is bought once.

The API refuses a job with a bad track; some jobs die, half of their tracks without a result; owners crash in between.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flow.broker_model import outcome_of, record_at
from tests.flow.job_books import Books
from worker.flow.job_book import SINGLES, BookPolicy
from worker.flow.job_intent import Aim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.flow.bulk_job import Job

KEYS = st.sampled_from([None, None, b"a", b"b"])
POLICIES = st.builds(
    BookPolicy,
    max_items=st.sampled_from([1, 5, 8, 30, 200]),
    open_jobs=st.sampled_from([1, 2, 3]),
    tries=st.sampled_from([1, 2, 3]),
)


class Search:
    """One partition and its API, until every track has its outcome. `steps`: what is done to which job next."""

    def __init__(self, keys: list[bytes | None], bad: Iterable[int], policy: BookPolicy, steps: list[int]) -> None:
        self.scene = Books([record_at(offset, key) for offset, key in enumerate(keys)], policy)
        self.bad, self.steps = set(bad), list(steps)
        self.api: dict[bytes, tuple[str, tuple[int, ...]]] = {}
        self.bought: Counter[int] = Counter()  # in jobs
        self.wasted: Counter[int] = Counter()  # in jobs that died
        self.alone: Counter[int] = Counter()
        self.creations = self.deaths = self.crashes = 0

    def step(self) -> int:
        return self.steps.pop(0) if self.steps else 0

    def go(self) -> None:
        scene = self.scene
        for _ in range(10_000):
            for offset in scene.run_alone():
                self.alone[offset] += 1
            scene.commit()
            if not scene.waiting() and not scene.book.jobs:
                return
            while scene.waiting() and scene.book.may_gather() and scene.book.gather() is not None:
                scene.commit()
            self.turn()
        raise AssertionError(f"no end: {scene.ledger!r} {scene.book!r}")

    def turn(self) -> None:
        scene, what = self.scene, self.step()
        if what == 1:
            self.crashes += 1
            scene.begin()
        elif scene.book.jobs:
            job = scene.book.jobs[self.step() % len(scene.book.jobs)]
            if job.intent.aim is Aim.CREATE:
                self.create(job)
            elif what == 2:
                self.die(job)
            else:
                scene.finish(job)

    def create(self, job: Job) -> None:
        """The same key gives the same job, also a dead one."""
        self.creations += 1
        key = job.intent.key
        offsets = tuple(entry.record.offset for entry in self.scene.book.tracks(job))
        if self.bad & set(offsets):
            self.scene.refuse(job)
            return
        if key not in self.api:
            self.api[key] = f"job-{len(self.api)}", offsets
            self.bought.update(offsets)
        job_id, made_of = self.api[key]
        assert made_of == offsets, "another request under the same key"
        self.scene.accept(job, job_id)

    def die(self, job: Job) -> None:
        """Half of the tracks have no result; those that have been in enough dead jobs are given up."""
        self.deaths += 1
        tracks = self.scene.book.tracks(job)
        self.wasted.update(entry.record.offset for entry in tracks)
        self.scene.finish(job, len(tracks) // 2)
        for entry in self.scene.book.spent(job):
            self.scene.give_up(entry)
        self.scene.book.split(job)

    def check(self, count: int) -> None:
        done = [each.offset for each in self.scene.records if self.bought[each.offset] or self.alone[each.offset]]
        assert done == list(range(count))
        assert self.scene.point.watermark == count
        assert not self.bad & self.bought.keys(), "a job with a bad track"
        assert self.bad <= self.alone.keys()
        assert all(times <= 1 + self.wasted[at] for at, times in (self.bought + self.alone).items())
        assert max(self.wasted.values(), default=0) <= max(1, self.scene.policy.tries) or self.crashes
        rounds = 2 * math.log2(max(2, count)) + 2
        good = math.ceil(count / min(self.scene.policy.max_items, SINGLES))
        assert self.creations <= (len(self.bad) + self.deaths + self.crashes + 1) * rounds + 2 * good


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(KEYS, min_size=1, max_size=120),
    st.sets(st.integers(0, 119), max_size=120) | st.sets(st.integers(0, 119), max_size=3),
    POLICIES,
    st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), max_size=40),
)
def test_the_search_ends_and_buys_each_good_track_once(
    keys: list[bytes | None], bad: set[int], policy: BookPolicy, steps: list[int]
) -> None:
    search = Search(keys, {each for each in bad if each < len(keys)}, policy, steps)
    search.go()
    search.check(len(keys))


@pytest.mark.parametrize("bad", [0, 1, 4_321, 9_999])
def test_one_bad_track_among_many_costs_few_creations(bad: int) -> None:
    search = Search([None] * 10_000, {bad}, BookPolicy(), [])
    search.go()
    assert search.creations <= 30
    assert sum(search.alone.values()) <= SINGLES
    assert set((search.bought + search.alone).values()) == {1}


def test_what_is_finished_in_its_turn_is_an_outcome() -> None:
    """The tools above decide in the order of the key, as the pipeline does."""
    scene = Books([record_at(offset, b"k") for offset in range(5)])
    job = scene.gather()
    scene.accept(job)
    last = scene.book.tracks(job)[-1]
    scene.settle(last)
    assert scene.ledger.count(last.state) == 1
    scene.finish(job)
    scene.commit()
    assert scene.point.watermark == 5
    assert scene.ledger.finish(last, outcome_of(last)) is False
