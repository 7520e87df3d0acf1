"""One job of many tracks, from its intent to the last of its results: makes the calls that `bulk_job` says are due.

- A creation leaves only while the partition is ours, and after its intent was committed; questions and pages any time,
  but when the records are here: what comes of them is for all of the set.
- Job calls go first through the gate: each is worth hundreds of tracks. They hold no slot.
- A page is read only when its partition, and all together, have room for its decisions.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.domain.analysis import AnalysisStatus
from worker.domain.jobs import JobState, ResultFlaw, TrackResult, UnreadableResult
from worker.flow.bulk_job import CallKind, Turn
from worker.flow.entry import Stage, State
from worker.flow.job_intent import key_text
from worker.flow.job_replies import JobReply, PageEnd
from worker.flow.replies import Fault
from worker.pipeline.facts import BoughtAgain, CallFinished, JobAccepted, JobEnded, JobResult, QuotaWaited
from worker.pipeline.job_tracks import JobTracks, breathe

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from worker.domain.jobs import JobStatus
    from worker.domain.trace import TraceContext
    from worker.flow.bulk_job import Job
    from worker.flow.job_book import JobBook
    from worker.flow.job_replies import PageRecord
    from worker.flow.ledger import Ledger
    from worker.flow.mode import JobTime
    from worker.flow.service import Leave, Service
    from worker.pipeline.facts import JobOutcome, Observe, Operation
    from worker.pipeline.gate import Gate
    from worker.pipeline.hearing import Hearing
    from worker.pipeline.job_tracks import Reading
    from worker.pipeline.lane import Lane
    from worker.pipeline.outcomes import Outcomes
    from worker.pipeline.ports import JobAnalyst

ROOM = 1024  # decisions of the partition that may wait for their commit when a page is read
CLOSED_SECONDS = 1.0  # until the service is asked again whether a call may start, where it names no time
LEAST_PAUSE_SECONDS = 0.05
_OPERATIONS: dict[CallKind, Operation] = {
    CallKind.CREATE: "create_job",
    CallKind.ASK: "ask_job",
    CallKind.READ: "read_results",
}


@dataclass(frozen=True, slots=True)
class Means:
    """What all jobs share. `chance` is the only dice."""

    analyst: JobAnalyst
    gate: Gate
    service: Service
    hearing: Hearing
    outcomes: Outcomes
    job_time: JobTime
    observe: Observe
    chance: Callable[[], float]


class JobDriver:
    """See the module's rules. `webhook_url` is where the API is to tell of this job; None: it is only asked."""

    def __init__(
        self,
        lane: Lane,
        book: JobBook,
        ledger: Ledger,
        job: Job,
        means: Means,
        *,
        reading: Reading,
        name: str,
        webhook_url: str | None,
    ) -> None:
        self.job = job
        self.tracks = JobTracks(lane, book, job, means.outcomes)
        self._lane, self._book, self._ledger = lane, book, ledger
        self._means, self._reading = means, reading
        self._observe = means.observe
        self._name, self._webhook_url = name, webhook_url
        self._loop = asyncio.get_running_loop()
        job.since = self.tracks.began_at
        self._woken = asyncio.Event()
        self._ordered = 0  # tracks, when it was accepted
        self.outcome: JobOutcome | None = None

    def __repr__(self) -> str:
        return f"<JobDriver {self._lane.partition} {self.job!r}>"

    def wake(self) -> None:
        """Something may have changed: a commit, records, an event from the API."""
        self._woken.set()

    def end(self, status: JobStatus) -> None:
        """The API says unasked that it is done with the job."""
        self.job.end(status, self._loop.time())
        self.wake()

    @property
    def _subject(self) -> tuple[int, int, TraceContext | None]:
        """What facts of it name: partition, first offset, span."""
        return self._lane.partition, self.job.intent.first, self.tracks.trace

    @property
    def _until_deadline(self) -> float:
        """Seconds on the clock of the deadlines, which stands while the service is out."""
        return self.job.deadline - self._means.service.counted(self._loop.time())

    async def run(self) -> None:
        """Follow the job until no call is due any more."""
        while not self._lane.sealed and self.job in self._book.jobs:
            if self._book.is_here(self.job) and not self.tracks.left():
                return self._end("complete")
            if self._until_deadline <= 0:
                return await self._expire()
            pause = self._pause()
            if pause is None:
                await self._call()
            else:
                await self._sleep(pause)
        if not self._lane.sealed:
            self._end("complete")  # webhooks and a commit were faster than what we slept for
        return None

    def _pause(self) -> float | None:
        """Seconds until the next call may leave, unless something changes; None: now.

        Its time comes also while the clock of the deadlines stands: it may be the only one that probes.
        """
        service, now = self._means.service, self._loop.time()
        if not self._may_call():
            return self._until_deadline
        if self.job.next_at > now:
            return min(self.job.next_at - now, self._until_deadline)
        if not service.may_start(now, 0):
            return CLOSED_SECONDS if service.probe_at is None else max(LEAST_PAUSE_SECONDS, service.probe_at - now)
        return None

    def _may_call(self) -> bool:
        match self.job.due:
            case CallKind.CREATE:
                return self._lane.may_start and self._book.may_create(self.job)
            case CallKind.ASK:
                return self._book.is_here(self.job)
            case CallKind.READ:
                has_room = self._ledger.count(State.FINISHED) < ROOM and self._reading.has_room(self.job)
                return has_room and self._book.is_here(self.job)
            case None:
                return False

    async def _sleep(self, seconds: float) -> None:
        self._woken.clear()
        try:
            async with asyncio.timeout(max(seconds, LEAST_PAUSE_SECONDS) if seconds < float("inf") else None):
                await self._woken.wait()
        except TimeoutError:
            return

    # Calls.

    async def _call(self) -> None:
        kind = self.job.due
        with self._reading.page(self.job) if kind is CallKind.READ else nullcontext():
            turn = None if kind is None else await self._made(kind)
        if turn is not None:
            await self._follow(turn)

    async def _made(self, kind: CallKind) -> Turn | None:
        """Make the call that is due, in its turn; None where it is not due any more."""
        service = self._means.service
        waited = await self._means.gate.wait(self.tracks.began_at, first=True)
        if waited:
            self._observe(QuotaWaited(_OPERATIONS[kind], waited, *self._subject))
        if self._lane.sealed or self.job.due is not kind or self._pause() is not None:  # it has waited for quota
            return None
        leave, started = service.start(), self._loop.time()
        self.job.call_started(service.counted(started))
        try:
            return await (self._read(leave, started) if kind is CallKind.READ else self._ask(kind, leave, started))
        except asyncio.CancelledError:
            self.job.call_dropped()
            raise
        finally:
            service.ended(leave, self._loop.time())

    async def _ask(self, kind: CallKind, leave: Leave, started: float) -> Turn:
        intent, analyst = self.job.intent, self._means.analyst
        if kind is CallKind.CREATE:
            items = await self.tracks.items()
            reply = await analyst.create_job(key_text(intent.key), self._name, items, self._webhook_url)
        else:
            reply = await analyst.job(intent.job_id or "")
        fault = reply.result if isinstance(reply.result, Fault) else None
        closed = self._heed(kind, fault, reply, leave, started)
        turn = self.job.answered(reply, self._loop.time(), self._means.chance())
        if turn is Turn.ACCEPTED and isinstance(reply.result, JobState):
            self._accept(reply.result, self._loop.time() - started)
        return (self.job.closed_the_gate() or turn) if closed else turn

    def _heed(
        self, kind: CallKind, fault: Fault | None, reply: JobReply | PageEnd, leave: Leave, started: float
    ) -> bool:
        usual = "accepted" if kind is CallKind.CREATE else "answered"
        outcome = fault.kind.value if fault is not None else usual
        self._observe(CallFinished(_OPERATIONS[kind], outcome, self._loop.time() - started, *self._subject))
        buys = kind is CallKind.CREATE
        return self._means.hearing.heed(fault, buys=buys, quota=reply.quota, leave=leave, started=started)

    def _accept(self, state: JobState, seconds: float) -> None:
        self.tracks.began_at = self.job.since = self._loop.time()
        self._ordered = len(self.tracks.left())
        self._book.accepted(self.job)
        self._lane.changed()
        self._observe(JobAccepted(self._lane.partition, state.job_id, self._ordered, seconds, self.tracks.trace))

    async def _read(self, leave: Leave, started: float) -> Turn:
        job, end, number = self.job, PageEnd(0), 0
        results = self._means.analyst.results(job.intent.job_id or "", page=job.page, per_page=job.policy.per_page)
        async with aclosing(results) as page:
            async for record in page:
                if isinstance(record, PageEnd):
                    end = record
                    continue
                self._take(record)
                number += 1
                await breathe(number)
        closed = self._heed(CallKind.READ, end.fault, end, leave, started)
        turn = job.page_read(end, len(self.tracks.left()), self._loop.time(), self._means.chance())
        return (job.closed_the_gate() or turn) if closed else turn

    def _take(self, record: PageRecord) -> None:
        if isinstance(record, TrackResult):
            self._observe(JobResult("page", self.tracks.settle(record.item_id, record.analysis)))
        elif isinstance(record, UnreadableResult) and record.flaw is not ResultFlaw.UNFINISHED:
            self._observe(JobResult("page", "unreadable"))

    # Turns.

    async def _follow(self, turn: Turn) -> None:
        if self.job not in self._book.jobs:  # webhooks and a commit were faster than the answer
            return
        match turn:
            case Turn.REFUSED:
                self._split("refused")
            case Turn.LOST:
                await self._fail("lost")
            case Turn.READ_TO_THE_END if self.tracks.left():
                await self._fail("failed")
            case Turn.HOPELESS:
                await self._give_up("hopeless", AnalysisStatus.FAILED, self.job.detail)

    async def _fail(self, outcome: Literal["lost", "failed"]) -> None:
        """What it has left was paid for, or may have been: most of it is bought again."""
        detail = self.job.detail or "the job failed"
        await self.tracks.give_up(self._book.spent(self.job), AnalysisStatus.FAILED, detail)
        left = self.tracks.left()
        if left:
            partition, first = self._lane.partition, self.job.intent.first
            self._observe(BoughtAgain(partition, first, f"job_{outcome}", len(left), trace=self.tracks.trace))
        self._split(outcome)

    def _split(self, outcome: Literal["refused", "lost", "failed"]) -> None:
        self._end(outcome)
        for entry in self._book.split(self.job):
            entry.note(Stage.QUEUED, self._loop.time())
        self._lane.changed()

    async def _expire(self) -> None:
        detail = "no result before the job's deadline"
        if self.job.detail:
            detail += f"; last: {self.job.detail}"
        await self._give_up("timeout", AnalysisStatus.TIMEOUT, detail)

    async def _give_up(self, outcome: Literal["hopeless", "timeout"], status: AnalysisStatus, detail: str) -> None:
        self._end(outcome)
        await self.tracks.give_up(self.tracks.left(), status, detail)

    def _end(self, outcome: JobOutcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        seconds = self._loop.time() - self.tracks.began_at
        if outcome == "complete" and self._ordered:
            self._means.job_time.learn(seconds, self._ordered)
        detail = self.job.detail or None
        left = len(self.tracks.left())
        self._observe(JobEnded(self._lane.partition, outcome, left, seconds, detail, self.tracks.trace))
