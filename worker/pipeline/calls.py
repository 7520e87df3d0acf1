"""Starts what may start, follows each track to its decision, and knows what is in flight.

- Slots bound the analyses in flight: from the submission to its result, polls and the waits between them included. A
  track that waits for a retry, for quota or for the operator holds none.
- Lanes take turns; within a lane the lowest offset goes first.
- What cannot be read as an event is answered here at once, without a slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from worker.domain.submission import Unreadable
from worker.flow.course import Course, Decide, Hold, PollIn, SubmitIn
from worker.flow.faults import FAULTS, FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Running
from worker.pipeline.facts import (
    AdmissionHeld,
    AdmissionResumed,
    BoughtAgain,
    CallFinished,
    DeadLettered,
    RetryScheduled,
)
from worker.pipeline.gate import Gate
from worker.pipeline.pulse import Pulse
from worker.pipeline.status import track_decided

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.domain.analysis import Analysis
    from worker.domain.decider import Decider
    from worker.domain.submission import TrackSubmitted
    from worker.flow.admission import Admission
    from worker.flow.course import RetryPolicy, Step
    from worker.flow.entry import Entry
    from worker.flow.pacing import AnalysisTime, Pacer
    from worker.flow.replies import Reply
    from worker.pipeline.facts import Observe
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Analyst

_TOOK_THE_CALL = frozenset({FaultKind.INVALID_REQUEST, FaultKind.JOB_UNKNOWN, FaultKind.PROTOCOL_ERROR})


class Calls:
    """See the module's rules. `wall` and `chance` are the only clock and dice besides the loop's own."""

    def __init__(
        self,
        *,
        analyst: Analyst,
        decider: Decider,
        retry: RetryPolicy,
        pacer: Pacer,
        admission: Admission,
        analysis_time: AnalysisTime,
        slots: int,
        standstill_seconds: float,
        observe: Observe,
        wall: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._analyst = analyst
        self._decider = decider
        self._retry = retry
        self._analysis_time = analysis_time
        self._observe = observe
        self._wall = wall
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._gate = Gate(pacer, self.wake)
        self._lanes: deque[Lane] = deque()
        self._running: dict[asyncio.Task[None], Lane] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.admission = admission
        self.slots = slots
        self.pulse = Pulse(standstill_seconds, self._loop.time())

    def __repr__(self) -> str:
        lanes = len(self._lanes)
        return f"<Calls in_flight={self.in_flight}/{self.slots} lanes={lanes} {self.admission!r} {self._gate!r}>"

    @property
    def in_flight(self) -> int:
        """Analyses that hold a slot."""
        return len(self._running)

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run calls in this group: a fault of our own ends the whole group."""
        self._tasks = tasks

    def end(self) -> None:
        """Cancel everything that runs."""
        self._gate.close()
        self._tasks = None
        for task in list(self._running):
            task.cancel()

    def join(self, lane: Lane) -> None:
        """Start this lane's records from now on."""
        self._lanes.append(lane)

    def leave(self, lane: Lane) -> None:
        """Forget a sealed lane: its calls are of no use to anybody any more."""
        self._lanes.remove(lane)
        for task in [task for task, owner in self._running.items() if owner is lane]:
            task.cancel()

    # Starting.

    def wake(self) -> None:
        """Start whatever may start now."""
        while self._may_start() and (found := self._next()) is not None:
            lane, entry = found
            track = self._decider.read(entry.record)
            if isinstance(track, Unreadable):
                self._bury(lane, entry, track)
            else:
                self._begin(lane, entry, track)

    def _may_start(self) -> bool:
        return (
            self._tasks is not None
            and not self.pulse.is_late(self._loop.time())  # lanes are about to be put in doubt
            and len(self._running) < self.slots
            and self.admission.may_start(self._loop.time())
            and self._gate.is_open()
        )

    def _next(self) -> tuple[Lane, Entry] | None:
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            entry = lane.start()
            if entry is not None:
                return lane, entry
        return None

    def _bury(self, lane: Lane, entry: Entry, problem: Unreadable) -> None:
        message = self._decider.dead_letter(entry.record, problem, at=self._wall())
        self._observe(DeadLettered(lane.partition, entry.record.offset, str(problem.code), problem.path))
        lane.finish(entry, message)

    def _begin(self, lane: Lane, entry: Entry, track: TrackSubmitted) -> None:
        if self._tasks is None:
            return
        if entry.course is None:
            entry.course = Course(self._retry, entry.job_id)
        if entry.course.job_id is None:
            self._gate.take()
        probe = self.admission.started()
        task = self._tasks.create_task(self._run(lane, entry, track, entry.course))
        self._running[task] = lane
        task.add_done_callback(self._probe_ended if probe else self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and task.exception() is not None:
            self._tasks = None  # the group is ending: it takes no more tasks
        self.wake()

    def _probe_ended(self, task: asyncio.Task[None]) -> None:
        self.admission.undecided(self._loop.time())
        self._wake_for_probe()
        self._ended(task)

    def _wake_for_probe(self) -> None:
        if self.admission.held is not None:
            self._loop.call_at(self.admission.held.probe_at, self.wake)

    # One track while it holds a slot.

    async def _run(self, lane: Lane, entry: Entry, track: TrackSubmitted, course: Course) -> None:
        step: Step
        try:
            async with asyncio.timeout(None) as deadline:
                step = await self._follow(lane, entry, track, course, deadline)
        except TimeoutError:
            if not deadline.expired():
                raise
            step = course.expire()
        self._take(step, lane, entry, track, course)

    async def _follow(
        self, lane: Lane, entry: Entry, track: TrackSubmitted, course: Course, deadline: asyncio.Timeout
    ) -> Step:
        """Submit and poll until something other than another poll is due."""
        first_poll = False
        while True:
            job_id = course.job_id
            if job_id is not None:
                await self._gate.wait()
            started = self._loop.time()
            if started >= course.deadline:
                return course.expire()
            course.call_started(started)
            deadline.reschedule(course.deadline)
            reply = await (self._analyst.submit(track) if job_id is None else self._analyst.poll(job_id))
            now = self._loop.time()
            self._heed(reply, started, now, "submit" if job_id is None else "poll")
            if first_poll and isinstance(reply.result, Finished | Running):
                self._analysis_time.first_poll(done=isinstance(reply.result, Finished))
            step = course.follow(reply, now, self._chance(), self._analysis_time.seconds)
            self._record_job(lane, entry, course)
            if not isinstance(step, PollIn):
                return step
            first_poll = step.first
            await asyncio.sleep(step.seconds)

    def _record_job(self, lane: Lane, entry: Entry, course: Course) -> None:
        """Put the job id into the next commit (or out of it), so that whoever owns the partition then polls it."""
        if lane.ledger is not None and course.job_id != entry.job_id:
            lane.ledger.note_job(entry, course.job_id)
            lane.changed()

    def _heed(self, reply: Reply, started: float, now: float, operation: str) -> None:
        result = reply.result
        self._gate.observe(reply.quota)
        outcome = result.kind.value if isinstance(result, Fault) else _OUTCOMES[type(result)]
        self._observe(CallFinished("submit" if operation == "submit" else "poll", outcome, now - started))
        if isinstance(result, Fault):
            if result.kind is FaultKind.THROTTLED:
                self._gate.pause(result.retry_after_seconds or self._retry.base_seconds)
            if FAULTS[result.kind].holds or result.kind not in _TOOK_THE_CALL:
                return
        held = self.admission.held
        if operation == "poll" and held is not None and held.kind is FaultKind.CREDITS_EXHAUSTED:
            return  # polls are free: they tell nothing of credits
        lifted = self.admission.answered(started)
        if lifted is not None:
            self._observe(AdmissionResumed(lifted.kind.value, now - lifted.since))

    # What comes after the slot.

    def _take(self, step: Step, lane: Lane, entry: Entry, track: TrackSubmitted, course: Course) -> None:
        if lane.sealed or lane.ledger is None:
            return
        match step:
            case Decide(analysis):
                self._decide(lane, entry, track, course, analysis)
            case SubmitIn():
                self._retry_later(step, lane, entry, course)
            case Hold(kind, detail):
                own = course.closed_the_gate() if self._hold(kind, detail) else None
                if own is None:
                    lane.ledger.resume(entry)
                else:
                    self._decide(lane, entry, track, course, own.analysis)
        lane.changed()

    def _retry_later(self, step: SubmitIn, lane: Lane, entry: Entry, course: Course) -> None:
        if lane.ledger is None:
            return
        partition, offset = lane.partition, entry.record.offset
        if step.may_buy_again:
            self._observe(BoughtAgain(partition, offset, step.kind.value))
        self._observe(RetryScheduled(partition, offset, step.kind.value, course.attempts, step.seconds))
        lane.ledger.wait(entry)
        self._loop.call_later(step.seconds, self._resume, lane, entry)

    def _resume(self, lane: Lane, entry: Entry) -> None:
        if lane.ledger is not None:
            lane.ledger.resume(entry)
            self.wake()

    def _hold(self, kind: FaultKind, detail: str) -> bool:
        """Stop admission; True if it was open."""
        closing = self.admission.refused(kind, detail, self._loop.time())
        if closing:
            self._observe(AdmissionHeld(kind.value, detail))
        self._wake_for_probe()
        return closing

    def _decide(self, lane: Lane, entry: Entry, track: TrackSubmitted, course: Course, analysis: Analysis) -> None:
        attempts = max(1, course.attempts)  # a job taken over from another owner was submitted by that one
        decided = self._decider.decide(entry.record, track, analysis, attempts=attempts, at=self._wall())
        took, waited = course.times(entry.received_at, self._loop.time())
        fact = track_decided(
            entry.record,
            track.item_id,
            analysis,
            decided,
            attempts=attempts,
            analysis_seconds=took,
            queued_seconds=waited,
        )
        self._observe(fact)
        lane.finish(entry, decided.message)


_OUTCOMES: dict[type, str] = {Finished: "finished", Accepted: "accepted", Running: "running"}
