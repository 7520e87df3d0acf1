"""Why each job of many tracks stands where it stands, and what waits for one: plain values, and nothing changes.

What a job waits for is told in the order in which its driver asks: its own calls, its time, the API, quota.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.flow.bulk_job import NEVER, CallKind
from worker.flow.entry import State
from worker.flow.job_intent import Aim
from worker.flow.mode import Mode
from worker.pipeline.explanation import Jobs, JobWaitsFor, OpenJob, WaitsFor
from worker.pipeline.job_driver import ROOM

if TYPE_CHECKING:
    from typing import Literal

    from worker.flow.bulk_job import Job
    from worker.flow.entry import Entry
    from worker.flow.job_book import JobBook
    from worker.flow.ledger import Ledger
    from worker.pipeline.lane import Lane
    from worker.pipeline.standing import Standing


def jobs_of(lane: Lane, standing: Standing, *, in_detail: bool) -> Jobs | None:
    """How the partition's tracks go; the jobs themselves only in detail."""
    ledger, book, chooser = lane.ledger, lane.book, lane.chooser
    if ledger is None or book is None or chooser is None:
        return None
    mode: Literal["direct", "bulk"] = "bulk" if lane.mode is Mode.BULK else "direct"
    return Jobs(
        mode=mode,
        estimate_seconds=chooser.estimate_seconds,
        above_seconds=chooser.above_seconds,
        open=len(book.jobs),
        tracks=ledger.count(State.GATHERED),
        oldest_seconds=max((_age(job, standing) for job in book.jobs), default=None),
        next_size=book.size,
        next_seconds=standing.ahead(book.due_at()) if mode == "bulk" else None,
        jobs=tuple(map(_JobView(lane, ledger, book, standing).open_job, book.jobs)) if in_detail else (),
    )


def _age(job: Job, standing: Standing) -> float:
    return 0.0 if job.since is None else standing.ago(job.since)


def _call(job: Job) -> CallKind | None:
    """The call that is due, or is under way."""
    if not job.busy:
        return job.due
    if job.intent.aim is Aim.CREATE:
        return CallKind.CREATE
    return CallKind.ASK if job.ended is None else CallKind.READ


def deadline_of(job: Job, standing: Standing) -> float | None:
    """Seconds until people decide what the job has left; None before its first call."""
    return None if job.deadline == NEVER else max(0.0, job.deadline - standing.service.counted(standing.now))


@dataclass(frozen=True, slots=True)
class _JobView:
    """How the jobs of one partition are shown."""

    lane: Lane
    ledger: Ledger
    book: JobBook
    standing: Standing

    def open_job(self, job: Job) -> OpenJob:
        """One job."""
        tracks, intent = len(self.book.tracks(job)), job.intent
        waits_for, due = self.waits_for(job, tracks)
        call = None if waits_for is JobWaitsFor.COMMIT else _call(job)
        return OpenJob(
            job_id=intent.job_id,
            first_offset=intent.first,
            last_offset=intent.last,
            tracks=tracks,
            age_seconds=_age(job, self.standing),
            waits_for=waits_for,
            call=None if call is None else call.value,
            page=job.page if call is CallKind.READ else None,
            due_seconds=due,
            deadline_seconds=deadline_of(job, self.standing),
            detail=job.detail,
        )

    def waits_for(self, job: Job, tracks: int) -> tuple[JobWaitsFor, float | None]:
        """What comes next for a job that has so many left, and in how many seconds, where that is known."""
        own = self._own(job, tracks)
        if own is not None:
            return own, None
        service, gate, standing = self.standing.service, self.standing.gate, self.standing
        if job.next_at > standing.now:
            return JobWaitsFor.TIME, job.next_at - standing.now
        if not service.may_start(standing.now, 0):
            return JobWaitsFor.SERVICE, standing.ahead(service.probe_at)
        return (JobWaitsFor.QUOTA, standing.ahead(gate.ready_at)) if gate.is_short else (JobWaitsFor.TURN, 0.0)

    def _own(self, job: Job, tracks: int) -> JobWaitsFor | None:
        """What keeps the next call, whatever its time; as `JobDriver` asks."""
        if job.busy:
            return JobWaitsFor.REPLY
        is_here = self.book.is_here(job)
        if job.over or (not tracks and is_here):
            return JobWaitsFor.COMMIT
        return self._kept(job) if is_here else JobWaitsFor.RECORDS

    def _kept(self, job: Job) -> JobWaitsFor | None:
        """What keeps the next call of a job whose records are all here."""
        if job.due is CallKind.ASK:
            return None
        if job.due is CallKind.READ:
            reading = self.standing.reading
            has_room = self.ledger.count(State.FINISHED) < ROOM and (reading is None or reading.has_room(job))
            return None if has_room else JobWaitsFor.ROOM
        if not self.lane.may_start:
            return JobWaitsFor.PARTITION
        return None if self.book.may_create(job) else JobWaitsFor.INTENT


# One record.


def job_with(lane: Lane, entry: Entry) -> Job | None:
    """The open job that the record is in."""
    jobs = [] if lane.book is None or entry.state is not State.GATHERED else lane.book.jobs
    return next((job for job in jobs if job.intent.covers(entry.record.offset)), None)


def call_due(lane: Lane, entry: Entry, standing: Standing) -> float | None:
    """Seconds until the next call about the record's job, where that is known."""
    job = job_with(lane, entry)
    if job is None or lane.ledger is None or lane.book is None:
        return None
    return _JobView(lane, lane.ledger, lane.book, standing).waits_for(job, 1)[1]


def goes_in_job(lane: Lane, entry: Entry) -> bool:
    """Whether a record that has not started is left for a job."""
    return lane.mode is Mode.BULK and lane.book is not None and not entry.alone


def gathering(lane: Lane, entry: Entry, standing: Standing) -> tuple[WaitsFor, float | None]:
    """What such a record waits for, in a partition that is not paused."""
    if lane.book is None or lane.ledger is None or not lane.ledger.is_in_window(entry):
        return WaitsFor.WINDOW, None
    if not lane.book.may_gather():
        return WaitsFor.JOB_ROOM, None
    return WaitsFor.GATHERING, standing.ahead(lane.book.due_at())
