"""The records of a ledger: their states, their bounds, and the batch that publishes some of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from worker.flow.commit_point import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.domain.record import Message, Record
    from worker.domain.trace import TraceContext
    from worker.flow.commit_point import CommitPoint
    from worker.flow.course import Course


class State(Enum):
    """Where an incomplete record stands."""

    BLOCKED = "blocked"  # behind an earlier record with its key
    READY = "ready"
    RUNNING = "running"  # holds a concurrency slot
    WAITING = "waiting"  # for its next attempt, without a slot
    GATHERED = "gathered"  # in a job of many tracks: see job_book
    HELD = "held"  # its result is known, and waits for the outcome of an earlier record with its key
    FINISHED = "finished"  # its outcome waits to be published


class Stage(Enum):
    """What an incomplete record waits for, as far as that is its own: finer than `State`, for whoever explains it."""

    QUEUED = "queued"
    CALL = "call"  # a request is under way
    NEXT_POLL = "next_poll"
    QUOTA = "quota"  # its poll may not leave yet
    RETRY = "retry"
    RETRY_BUDGET = "retry_budget"  # its retry is due, and the process has none to spare
    ASIDE = "aside"  # it was refused, and leaves the next probe to another
    JOB = "job"  # the result of the job of many tracks that it is in
    KEY = "key"  # its result is known: an earlier record with its key has no outcome
    PUBLICATION = "publication"


class Entry:
    """One incomplete record. Only the ledger writes it; except `note`, by which whoever runs it says what is next."""

    __slots__ = (
        *(
            "alone",
            "course",
            "decide",
            "is_event",
            "job_id",
            "jobs_failed",
            "message",
            "received_at",
            "record",
            "size_bytes",
            "trace",
        ),
        "state",
        *("since", "stage", "until"),  # as noted last
    )

    def __init__(self, record: Record, received_at: float, job_id: str | None) -> None:
        self.record = record
        self.received_at = received_at
        self.job_id = job_id
        self.course: Course | None = None  # its retries so far, kept here for whoever runs it
        self.alone = False  # goes into no job of many tracks
        self.is_event: bool | None = None  # None: nobody has read it yet
        self.decide: Callable[[], None] | None = None  # while it is HELD
        self.jobs_failed = 0  # of many tracks, that it was in
        self.state = State.BLOCKED
        self.message: Message | None = None
        self.size_bytes = record.size_bytes
        self.trace: TraceContext | None = None  # of its span, from its first call or its outcome on
        self.stage = Stage.QUEUED
        self.since = received_at
        self.until: float | None = None

    def note(self, stage: Stage, now: float, until: float | None = None) -> None:
        """It waits for this from now on, until then where that is known (monotonic seconds)."""
        self.stage, self.since, self.until = stage, now, until

    def __repr__(self) -> str:
        return f"<Entry {self.record.partition}@{self.record.offset} {self.state.value}>"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one partition. `job_reserve_bytes`: metadata kept free for each job id still to come (0: no jobs)."""

    window: int = WINDOW
    unpublished: int = 4096
    batch_records: int = 1024
    batch_bytes: int = 8 << 20
    job_reserve_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction publishes, and the commit point that becomes true with it."""

    entries: tuple[Entry, ...]
    messages: tuple[Message, ...]
    commit: CommitPoint
    jobs_version: int
