"""Books of jobs for tests: a ledger with records, what is done to its jobs, and commits that succeed at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.flow.broker_model import numbered, outcome_of
from worker.domain.jobs import JobState, JobStatus
from worker.flow.bulk_job import Turn
from worker.flow.commit_point import CommitPoint, decode, encode
from worker.flow.entry import Limits, State
from worker.flow.job_book import BookPolicy, JobBook
from worker.flow.job_intent import Scope
from worker.flow.job_replies import JobRefused, JobReply
from worker.flow.ledger import Ledger

if TYPE_CHECKING:
    from worker.domain.record import Record
    from worker.flow.bulk_job import Job
    from worker.flow.entry import Entry

SCOPE = Scope("group", "topic", 0)
POLICY = BookPolicy(max_items=100)
NOW = 1000.0


class Books:
    """One partition's ledger and book, and what the next owner would find. All records are events."""

    def __init__(self, records: list[Record], policy: BookPolicy = POLICY, point: CommitPoint | None = None) -> None:
        self.records, self.policy = records, policy
        self.point = point or CommitPoint(0)
        self.begin()

    def begin(self, *, deliver: bool = True) -> None:
        """Open the partition as its next owner does."""
        self.point = decode(self.point.watermark, encode(self.point))
        self.ledger = Ledger(self.point, Limits(job_reserve_bytes=20))
        self.book = JobBook(self.ledger, self.policy, SCOPE, b"request")
        if deliver:
            self.deliver()

    def deliver(self) -> None:
        self.ledger.receive([each for each in self.records if each.offset >= self.ledger.next_offset], now=0.0)
        for entry in self.ledger.entries():
            entry.is_event = True

    def commit(self) -> None:
        batch = self.ledger.snapshot()
        if batch is not None:
            self.ledger.committed(batch)
            self.point = batch.commit
        self.book.swept()

    def gather(self) -> Job:
        job = self.book.gather()
        assert job is not None
        self.commit()
        assert self.book.may_create(job)
        return job

    def accept(self, job: Job, job_id: str = "job") -> None:
        job.call_started(NOW)
        reply = JobReply(JobState(job_id, JobStatus.RUNNING, "processing"))
        assert job.answered(reply, NOW, 0.5) is Turn.ACCEPTED
        self.book.accepted(job)

    def refuse(self, job: Job) -> None:
        job.call_started(NOW)
        assert job.answered(JobReply(JobRefused("422")), NOW, 0.5) is Turn.REFUSED
        self.book.split(job)

    def finish(self, job: Job, count: int | None = None) -> None:
        for entry in self.book.tracks(job)[:count]:
            self.settle(entry)

    def settle(self, entry: Entry) -> None:
        """Its result is here: it is decided in its turn."""
        if self.book.is_first(entry):
            self.decide(entry)
        else:
            self.book.hold(entry, lambda: self.decide(entry))

    give_up = settle  # by people

    def decide(self, entry: Entry) -> None:
        assert self.ledger.finish(entry, outcome_of(entry))
        if self.ledger.freed:
            freed = self.ledger.freed.popleft()
            assert freed.decide is not None
            freed.decide()

    def run_alone(self) -> list[int]:
        """Start and finish whatever goes alone; returns the offsets."""
        ran = []
        while (entry := self.ledger.start(only_alone=True)) is not None:
            ran.append(entry.record.offset)
            self.decide(entry)
        return ran

    def waiting(self) -> int:
        return self.ledger.count(State.READY) + self.ledger.count(State.BLOCKED)


def books(count: int = 100, key: bytes | None = None, **policy: object) -> Books:
    """A partition with so many records."""
    return Books(list(numbered(0, count, key)), replace(POLICY, **policy))  # type: ignore[arg-type] # checked by use
