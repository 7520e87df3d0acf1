"""Histories of jobs of many tracks: what else can happen, and the account of what was bought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.fake_analyst import FakeAnalyst
from tests.fake_jobs import FakeJobs
from tests.fake_webhooks import FakeWebhooks, Manners
from tests.pipeline.histories import PARTITIONS, History, Join, Wait, partitions, planned, seconds, unplanned
from tests.pipeline.scene import Knobs, Scene
from tests.virtual_time import elapse, stand_still
from worker.flow.bulk_job import JobPolicy
from worker.flow.commit_point import WINDOW
from worker.flow.entry import Limits
from worker.flow.faults import FaultKind
from worker.flow.job_book import BookPolicy
from worker.flow.mode import ModePolicy, ModeSetting
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.pipeline.histories import Happening

JOB = JobPolicy(poll_seconds=2.0, poll_max_seconds=30.0, per_page=7)
BOOK = BookPolicy(max_items=20, max_wait_seconds=2.0, job=JOB)
JOB_FAULTS = (
    *(FaultKind.CONNECT_FAILED, FaultKind.THROTTLED, FaultKind.KEY_REFUSED, FaultKind.UNAVAILABLE),
    *(FaultKind.SERVER_ERROR, FaultKind.OUTCOME_UNKNOWN, FaultKind.NOT_JSON, FaultKind.PROTOCOL_ERROR),
)


@dataclass(frozen=True, slots=True)
class Way:
    """How a history's workers go about it, and what the API tells unasked."""

    setting: ModeSetting
    per_minute: int = 0
    generation: int = 1
    manners: Manners | None = None
    job_seconds: float = 20.0
    answer_seconds: float = 0.05
    window: int = WINDOW
    buffered: int = 1000
    max_items: int = 20


class JobHistory(History):
    """A scene with jobs. `clean`: nothing happened that sends a track to people, but its own job or result."""

    def __init__(self, way: Way) -> None:
        webhooks = FakeWebhooks(way.manners) if way.manners is not None else None
        self.jobs = FakeJobs(seconds=way.job_seconds, webhooks=webhooks)
        self.jobs.answer_seconds = way.answer_seconds
        mode = ModePolicy(way.setting, bulk_above_seconds=20.0, min_dwell_seconds=3.0)
        knobs = Knobs(
            book=replace(BOOK, max_items=way.max_items),
            mode=mode,
            slots=4,
            per_minute=way.per_minute,
            webhook_url="http://us.example/webhooks" if webhooks is not None else None,
            limits=Limits(window=way.window, job_reserve_bytes=20),
            buffered_records=way.buffered,
        )
        super().__init__(Scene(PARTITIONS, FakeAnalyst(way.generation, seconds=1.5), knobs, self.jobs))
        if webhooks is not None:
            webhooks.tell = self.tell
        self.clean = True

    def tell(self, partition: int, body: bytes) -> None:
        """Every process that lives gets it, also one that has lost the partition, or never had it."""
        for running in self.running:
            assert running.bulk is not None
            running.bulk.notice(partition, body)

    async def end(self) -> None:
        self.jobs.refusing = None
        await super().end()
        assert all(not self.scene.point(partition).intents for partition in self.scene.broker.committed)
        for running in self.scene.workers:
            assert running.bulk is not None
            left = (running.bulk._drivers, running.bulk._tasks, running.bulk._looking)
            assert running.source.dead or not any(left), "something stays for ever"
        self.check_account()
        if self.clean:
            self.check_reviews()

    def check_account(self) -> None:
        """No job bought what another has, unless that one was of no use."""
        jobs, wasted = self.jobs.purchases, self.jobs.wasted()
        assert {name: count for name, count in jobs.items() if count > 1 + wasted[name]} == {}

    def check_account_of_all(self) -> None:
        """Nor did a direct call."""
        both, wasted = self.jobs.purchases + self.scene.analyst.purchases, self.jobs.wasted()
        assert {name: count for name, count in both.items() if count > 1 + wasted[name]} == {}

    def check_reviews(self) -> None:
        """People decide what has no usable result, and nothing else."""
        jobs, wasted = self.jobs, self.jobs.wasted()
        causes = jobs.missing | jobs.unreadable | jobs.failing_tracks
        causes |= {name for name, count in wasted.items() if count >= BOOK.tries}
        reviewed = {name for name, value in self.scene.decisions().items() if value["decision"] == "manual_review"}
        assert reviewed <= causes


def jobs_of(history: History) -> FakeJobs:
    assert isinstance(history, JobHistory)
    return history.jobs


@dataclass(frozen=True, slots=True)
class DeliverMany:
    """A backlog; every so many tracks one is spoilt in some way."""

    partition: int
    count: int
    keys: int
    spoil: str
    every: int

    async def happen(self, history: History) -> None:
        jobs = jobs_of(history)
        spoilt = {"bad": jobs.bad, "missing": jobs.missing, "unreadable": jobs.unreadable, "fails": jobs.failing_tracks}
        for number in range(self.count):
            name = history.name()
            if number % self.every == self.every - 1 and self.spoil in spoilt:
                spoilt[self.spoil].add(name)
            key = b"%d" % (number % self.keys) if self.keys and number % 5 else None
            if number % self.every == 1 and self.spoil == "poison":
                history.scene.submit_raw(name, b"{", self.partition, key)
            else:
                history.scene.submit(name, self.partition, key, gap=number % self.every == 2)


@dataclass(frozen=True, slots=True)
class JobsDie:
    count: int

    async def happen(self, history: History) -> None:
        jobs_of(history).dying += self.count


@dataclass(frozen=True, slots=True)
class JobsAreLost:
    """The API forgets every job that is open."""

    async def happen(self, history: History) -> None:
        jobs = jobs_of(history)
        for job in jobs.jobs.values():
            job.lost = True


@dataclass(frozen=True, slots=True)
class RepliesAreLost:
    count: int

    async def happen(self, history: History) -> None:
        jobs_of(history).lost_replies += self.count


@dataclass(frozen=True, slots=True)
class JobFault:
    kind: FaultKind
    count: int

    async def happen(self, history: History) -> None:
        assert isinstance(history, JobHistory)
        history.clean = False
        history.jobs.faults.extend([Fault(self.kind, "scripted")] * self.count)


@dataclass(frozen=True, slots=True)
class ApiAway:
    """Every call meets the same fault, for so long: an outage, or a cause that the operator has to remove."""

    kind: FaultKind
    seconds: float

    async def happen(self, history: History) -> None:
        assert isinstance(history, JobHistory)
        history.clean = False
        fault = Fault(self.kind, "scripted")
        history.jobs.refusing = history.scene.analyst.refusing = fault
        await elapse(self.seconds)
        history.jobs.refusing = history.scene.analyst.refusing = None


@dataclass(frozen=True, slots=True)
class StandStill:
    """The whole machine sleeps: all clocks but ours go on."""

    seconds: float

    async def happen(self, _: History) -> None:
        stand_still(self.seconds)
        await elapse(0)


many = st.builds(
    DeliverMany,
    partitions,
    st.sampled_from([3, 15, 30, 70]),
    st.sampled_from([0, 1, 3, 8]),
    st.sampled_from(["", "", "bad", "missing", "unreadable", "fails", "poison"]),
    st.sampled_from([4, 9, 31]),
)
waits = st.builds(Wait, seconds)
own = st.one_of(
    st.builds(JobsDie, st.integers(1, 4)),
    st.builds(JobsAreLost),
    st.builds(RepliesAreLost, st.integers(1, 3)),
    st.builds(JobFault, st.sampled_from(JOB_FAULTS), st.integers(1, 6)),
    st.builds(ApiAway, st.sampled_from([FaultKind.KEY_REFUSED, FaultKind.UNAVAILABLE, FaultKind.THROTTLED]), seconds),
)
job_planned = st.one_of(many, many, waits, own, planned)
job_unplanned = st.one_of(many, many, waits, own, unplanned, unplanned, st.builds(StandStill, seconds))
shares = st.sampled_from([0.0, 0.3, 1.0])
MANNERS = st.builds(Manners, shares, shares, st.sampled_from([0.0, 0.2]), shares, st.sampled_from([0.0, 0.5, 15.0]))


def ways(setting: ModeSetting) -> st.SearchStrategy[Way]:
    return st.builds(
        Way,
        st.just(setting),
        st.sampled_from([0, 0, 60]),
        st.sampled_from([1, 2]),
        st.none() | MANNERS,
        st.sampled_from([2.0, 20.0, 45.0]),
        st.sampled_from([0.05, 0.05, 3.0]),
        st.sampled_from([WINDOW, WINDOW, 64]),
        st.sampled_from([1000, 20]),
        st.sampled_from([20, 20, 200]),
    )


async def unfold_jobs(way: Way, happenings: Iterable[Happening]) -> JobHistory:
    history = JobHistory(way)
    await Join().happen(history)
    for happening in happenings:
        await happening.happen(history)
    await history.end()
    return history
