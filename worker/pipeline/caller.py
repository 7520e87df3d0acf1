"""The calls of one track while it holds a slot: submit, wait, poll, and tell what each reply means for all tracks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.flow.course import PollIn
from worker.flow.entry import Stage
from worker.flow.faults import FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Reply, Running
from worker.pipeline.ending import is_asked_to_end
from worker.pipeline.facts import CallFinished, QuotaWaited

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from worker.domain.submission import TrackSubmitted
    from worker.domain.trace import TraceContext
    from worker.flow.course import Course, Step
    from worker.flow.entry import Entry
    from worker.flow.pacing import AnalysisTime
    from worker.flow.service import Leave, Service
    from worker.pipeline.facts import Observe
    from worker.pipeline.gate import Gate
    from worker.pipeline.hearing import Hearing
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Analyst

ROUNDING_SECONDS = 0.001  # two clocks are subtracted; less than this is no time that has stood
OVERDUE = 4.0  # times the age at which jobs are asked for first
FIRST_POLLS = 2  # of a job: whose first came a little too early is most likely done at the second

_OUTCOMES: dict[type, str] = {Finished: "finished", Accepted: "accepted", Running: "running"}


@dataclass(slots=True)
class Visit:
    """One track's stay in a slot. Only its own task writes it."""

    lane: Lane
    entry: Entry
    track: TrackSubmitted
    course: Course
    leave: Leave
    in_flight: Callable[[], int]
    submitted_at: float | None = None
    accepted_at: float | None = None  # the job, by a submission of this stay
    unfinished_at: float | None = None  # the job's age, in seconds, when a poll last found it so
    closed_the_gate: bool = False  # its refusal was the first while others were taken
    known_since: float | None = None  # its job, or the first call for one
    overdue: bool = False  # its job takes many times the usual

    @property
    def subject(self) -> tuple[int, int, TraceContext | None]:
        """What facts of it name: partition, offset, span."""
        return self.lane.partition, self.entry.record.offset, self.entry.trace


class Caller:
    """Makes the calls. `chance` is the only dice, the loop's the only clock."""

    def __init__(
        self,
        *,
        analyst: Analyst,
        gate: Gate,
        service: Service,
        hearing: Hearing,
        analysis_time: AnalysisTime,
        observe: Observe,
        chance: Callable[[], float],
        quota_is_short: Callable[[], bool],
        on_overdue: Callable[[], None],
    ) -> None:
        self._analyst = analyst
        self._service = service
        self._hearing = hearing
        self._analysis_time = analysis_time
        self._observe = observe
        self._chance = chance
        self._quota_is_short = quota_is_short
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self.gate = gate

    async def run(self, visit: Visit) -> Step:
        """Submit and poll until something other than another poll is due; returns that."""
        try:
            async with asyncio.timeout(None) as deadline:
                return await self._follow(visit, deadline)
        except TimeoutError:
            if not deadline.expired():
                raise
            return self._cut_off(visit.course)
        except asyncio.CancelledError:
            if is_asked_to_end():
                raise
            return self._cut_off(visit.course)  # a library's own, that has escaped: the call's outcome is unknown

    def _cut_off(self, course: Course) -> Step:
        """The deadline has come, unless its clock has stood meanwhile: then the outcome of the call is unknown."""
        now = self._service.counted(self._loop.time())
        if now >= course.deadline - ROUNDING_SECONDS:
            return course.expire()
        cut = Reply(Fault(FaultKind.OUTCOME_UNKNOWN, "cut off at a deadline that an outage has moved"))
        return course.follow(cut, now, self._chance(), 0.0)

    async def _follow(self, visit: Visit, deadline: asyncio.Timeout) -> Step:
        course = visit.course
        while True:
            job_id = course.job_id
            if job_id is not None:
                visit.entry.note(Stage.QUOTA, self._loop.time())
                waited = await self.gate.wait(visit.accepted_at or 0.0, first=course.polls < FIRST_POLLS)
                if waited:
                    self._observe(QuotaWaited("poll", waited, *visit.subject))
            started = self._loop.time()
            counted = self._service.counted(started)
            if counted >= course.deadline:
                return course.expire()
            course.call_started(counted, at=started)
            visit.entry.note(Stage.CALL, started)
            deadline.reschedule(started + course.deadline - counted)
            reply = await (self._analyst.submit(visit.track) if job_id is None else self._analyst.poll(job_id))
            now = self._loop.time()
            self._heed(reply, visit, started, "submit" if job_id is None else "poll")
            self._mind_the_age(visit, reply, started)
            if visit.accepted_at is not None:
                self._learn(visit, reply, started - visit.accepted_at)
            step = course.follow(reply, self._service.counted(now), self._chance(), self._analysis_time.seconds)
            self._record_job(visit.lane, visit.entry, course)
            if not isinstance(step, PollIn):
                return step
            if step.first:
                visit.accepted_at, visit.unfinished_at = now, None
            visit.entry.note(Stage.NEXT_POLL, now, now + step.seconds)
            await asyncio.sleep(step.seconds)

    def _mind_the_age(self, visit: Visit, reply: Reply, started: float) -> None:
        """A job of an earlier owner is as old as the first question for it, at least."""
        visit.known_since = started if visit.known_since is None else visit.known_since
        is_old = started - visit.known_since > OVERDUE * self._analysis_time.seconds
        if isinstance(reply.result, Running) and is_old and not visit.overdue:
            visit.overdue = True
            self._on_overdue()

    def _learn(self, visit: Visit, reply: Reply, age: float) -> None:
        """When to poll jobs first; one that never finishes tells nothing of that."""
        if isinstance(reply.result, Running):
            visit.unfinished_at = age
        elif isinstance(reply.result, Finished):
            was_early, patient = visit.unfinished_at is not None, self._quota_is_short()
            self._analysis_time.first_poll(visit.unfinished_at or age, done=not was_early, patient=patient)

    def _record_job(self, lane: Lane, entry: Entry, course: Course) -> None:
        """Put the job id into the next commit (or out of it), so that whoever owns the partition then polls it."""
        if lane.ledger is not None and course.job_id != entry.job_id:
            lane.ledger.note_job(entry, course.job_id)
            lane.changed()

    def _heed(self, reply: Reply, visit: Visit, started: float, operation: Literal["submit", "poll"]) -> None:
        result = reply.result
        fault = result if isinstance(result, Fault) else None
        if operation == "submit":
            visit.submitted_at = started
        if isinstance(result, Finished) and visit.submitted_at is not None:
            self._service.analysed(visit.submitted_at, self._loop.time(), visit.in_flight())
        outcome = fault.kind.value if fault is not None else _OUTCOMES[type(result)]
        self._observe(CallFinished(operation, outcome, self._loop.time() - started, *visit.subject))
        buys = operation == "submit"
        if self._hearing.heed(fault, buys=buys, quota=reply.quota, leave=visit.leave, started=started):
            visit.closed_the_gate = True
