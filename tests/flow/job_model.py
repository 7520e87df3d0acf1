"""An API with every fault for jobs of many tracks, and whoever makes the calls that a `Job` wants, with its checks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from worker.domain.jobs import JobState, JobStatus
from worker.flow.bulk_job import ENDS, CallKind, Job, JobPolicy, Turn
from worker.flow.job_faults import JOB_FAULTS, JobOperation
from worker.flow.job_intent import Aim, Intent
from worker.flow.job_replies import JobReply, PageEnd
from worker.flow.replies import Fault, Quota

if TYPE_CHECKING:
    from worker.flow.faults import FaultKind

POLICY = JobPolicy()
KEY = bytes(range(16))
START = 1000.0
CREATE, READ = JOB_FAULTS[JobOperation.CREATE], JOB_FAULTS[JobOperation.READ]
WORDS = {JobStatus.RUNNING: "processing", JobStatus.COMPLETE: "complete", JobStatus.FAILED: "failed"}


def new_job(tracks: int = 100, policy: JobPolicy = POLICY, expected_seconds: float = 0.0) -> Job:
    return Job(Intent(500, 499 + tracks, Aim.CREATE, key=KEY), policy, expected_seconds=expected_seconds)


def taken_over(tracks: int = 100, policy: JobPolicy = POLICY) -> Job:
    return Job(Intent(500, 499 + tracks, Aim.FETCH, job_id="job"), policy)


def told(status: JobStatus, processed: int | None = None, total: int | None = None, job_id: str = "job") -> JobReply:
    return JobReply(JobState(job_id, status, WORDS[status], total, processed))


def called(job: Job, reply: JobReply, now: float, chance: float = 0.5) -> Turn:
    job.call_started(now)
    return job.answered(reply, now, chance)


def read(job: Job, end: PageEnd, unsettled: int, now: float = START, chance: float = 0.5) -> Turn:
    job.call_started(now)
    return job.page_read(end, unsettled, now, chance)


def accepted(tracks: int = 100, policy: JobPolicy = POLICY, expected_seconds: float = 0.0) -> Job:
    job = new_job(tracks, policy, expected_seconds)
    assert called(job, told(JobStatus.RUNNING), START) is Turn.ACCEPTED
    return job


def ended(status: JobStatus = JobStatus.COMPLETE, tracks: int = 100, policy: JobPolicy = POLICY) -> Job:
    job = accepted(tracks, policy)
    job.end(status, START)
    return job


# An API, and whoever makes the calls that a job wants.


@dataclass
class Api:
    """Makes a job for each new key; every answer may be replaced by a fault, which a creation may survive unseen."""

    tracks: int
    queued_seconds: float = 0.0
    work_seconds: float = 45.0  # inf: it never ends
    fails: bool = False  # at half of its tracks
    lacking: frozenset[int] = frozenset()  # tracks that never have a result
    late_seconds: float = 0.0  # from the end of the job until its results show
    page_cap: int = 1000
    beyond: FaultKind | None = None  # the answer to a page that there is not; None: an empty page
    same_page: bool = False  # always the first page, whatever was asked for
    counts: bool = True  # whether it says how far it is
    jobs: dict[bytes, float] = field(default_factory=dict)  # key -> since when

    def create(self, key: bytes, now: float) -> JobReply:
        self.jobs.setdefault(key, now)
        return told(JobStatus.RUNNING, 0 if self.counts else None, self.tracks if self.counts else None)

    def ends_at(self) -> float:
        return next(iter(self.jobs.values())) + self.queued_seconds + self.work_seconds * (0.5 if self.fails else 1)

    def job(self, now: float) -> JobReply:
        begun = next(iter(self.jobs.values())) + self.queued_seconds
        share = min(1.0, max(0.0, now - begun) / self.work_seconds)
        end = JobStatus.FAILED if self.fails else JobStatus.COMPLETE
        status = JobStatus.RUNNING if now < self.ends_at() else end
        return told(status, int(share * self.tracks), self.tracks) if self.counts else told(status)

    def page(self, page: int, per_page: int, now: float) -> list[int] | FaultKind:
        if now < self.ends_at() + self.late_seconds:
            there: list[int] = []
        else:
            there = [at for at in range(self.tracks // (2 if self.fails else 1)) if at not in self.lacking]
        size = min(per_page, self.page_cap)
        begin = 0 if self.same_page else (page - 1) * size
        if page > 1 and begin >= len(there) and self.beyond is not None:
            return self.beyond
        return there[begin : begin + size]


@dataclass(frozen=True)
class Mishap:
    """What happens to a call instead, and whether the API had taken it; `late`: how long the call had to wait."""

    kind: FaultKind | None = None
    taken: bool = True
    retry_after: float | None = None
    late: float = 0.0
    took: float = 0.1
    quota: Quota | None = None


@dataclass
class Run:
    """Makes every call that is due, at its time, until the job ends, all is settled, or the deadline has come."""

    api: Api
    job: Job
    mishaps: list[Mishap]
    chance: float
    webhook_after: float | None  # from the end of the job; None: lost
    now: float = START
    unsettled: set[int] = field(default_factory=set)
    turns: list[Turn] = field(default_factory=list)
    calls: list[CallKind] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)
    asked_at: list[float] = field(default_factory=list)
    first_call_at: float | None = None
    accepted_at: float = math.inf
    pages: list[int] = field(default_factory=list)  # of this round, read to their end

    def go(self) -> Run:
        self.unsettled = set(range(self.api.tracks))
        if self.job.intent.aim is Aim.FETCH:
            self.api.create(KEY, self.now)
        for _ in range(5000):
            kind = self.job.due
            if kind is None or not self.unsettled:
                return self
            self.wait()
            if self.now >= self.job.deadline:
                return self
            self.call(self.job.due or kind)
        pytest.fail(f"it never ends: {self.job!r} {self.turns[-20:]}")

    def wait(self) -> None:
        due_at = max(self.now, self.job.next_at)
        if self.webhook_after is not None and self.api.jobs:
            at = self.api.ends_at() + self.webhook_after
            if at <= due_at:
                self.now, self.webhook_after = max(self.now, at), None
                self.job.end(JobStatus.FAILED if self.api.fails else JobStatus.COMPLETE, self.now)
                due_at = max(self.now, self.job.next_at)
        self.now = min(due_at, self.job.deadline)

    def call(self, kind: CallKind) -> None:
        mishap = self.mishaps.pop(0) if self.mishaps else Mishap()
        self.now += mishap.late
        self.calls.append(kind)
        self.job.call_started(self.now)
        assert self.job.due is None, "one call at a time"
        if self.first_call_at is None:
            self.first_call_at = self.now
        holds = self.deadline_holds(mishap)
        self.now += mishap.took
        deadline = self.job.deadline
        turn = {CallKind.CREATE: self.create, CallKind.ASK: self.ask, CallKind.READ: self.read}[kind](mishap)
        assert self.job.deadline == (math.inf if holds and not self.job.over else deadline)
        self.turns.append(turn)
        assert self.job.over == (turn in ENDS)
        assert turn is not Turn.REPEATS or self.job.next_at > self.now

    def deadline_holds(self, mishap: Mishap) -> bool:
        return mishap.kind is not None and READ[mishap.kind].holds

    def fault(self, mishap: Mishap) -> Fault:
        assert mishap.kind is not None
        return Fault(mishap.kind, "detail", mishap.retry_after)

    def create(self, mishap: Mishap) -> Turn:
        self.keys.add(self.job.intent.key)
        assert self.accepted_at == math.inf, "made again after it was accepted"
        if mishap.kind is None:
            reply = self.api.create(self.job.intent.key, self.now)
        else:
            if mishap.taken and CREATE[mishap.kind].may_exist:
                self.api.create(self.job.intent.key, self.now)
            reply = JobReply(self.fault(mishap), mishap.quota)
        turn = self.job.answered(reply, self.now, self.chance)
        if turn is Turn.ACCEPTED:
            self.accepted_at = self.now
            assert self.job.intent == replace(self.job.intent, aim=Aim.FETCH, key=b"", job_id="job")
        return turn

    def ask(self, mishap: Mishap) -> Turn:
        reply = self.api.job(self.now) if mishap.kind is None else JobReply(self.fault(mishap), mishap.quota)
        turn = self.job.answered(reply, self.now, self.chance)
        if turn is Turn.RUNNING:
            pause = self.job.next_at - self.now
            since = self.asked_at[0] if self.asked_at else self.accepted_at
            assert POLICY.poll_seconds - 1e-6 <= pause <= POLICY.poll_max_seconds + 1e-6
            assert since == math.inf or pause >= min(POLICY.poll_max_seconds, 0.1 * (self.now - since)) - 1e-6
            self.asked_at.append(self.now)
        return turn

    def read(self, mishap: Mishap) -> Turn:
        page, found = self.job.page, self.api.page(self.job.page, self.job.policy.per_page, self.now)
        if mishap.kind is not None:
            kept = found[: len(found) // 2] if isinstance(found, list) and mishap.taken else []
            self.unsettled -= set(kept)
            end = PageEnd(len(kept), self.fault(mishap), mishap.quota)
        elif isinstance(found, list):
            assert page not in self.pages, "a page read twice in a round"
            assert page == len(self.pages) + 1, "a page left out"
            self.pages.append(page)
            self.unsettled -= set(found)
            end = PageEnd(len(found))
        else:
            end = PageEnd(0, Fault(found, "no such page"))
        rounds = self.job.rounds
        turn = self.job.page_read(end, len(self.unsettled), self.now, self.chance)
        if self.job.rounds > rounds:
            self.pages.clear()
        assert (turn is Turn.READ_TO_THE_END) == (
            not self.unsettled or (self.job.rounds > rounds and self.job.ended is JobStatus.FAILED)
        )
        return turn
