"""Starts what may start, follows each track to its decision, and knows what is in flight.

- Slots bound the analyses in flight: from the submission to its result, polls and the waits between them included. A
  track that waits for a retry, for quota, for the operator or for the end of an outage holds none.
- What is finished and not yet published would be bought again after a crash: above a bound of such, nothing starts.
- Retries leave within a budget that is the process's, not the track's.
- Lanes take turns; within a lane the lowest offset goes first.
- What cannot be read as an event is answered here at once, without a slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from worker.domain.analysis import AnalysisStatus
from worker.domain.submission import Unreadable
from worker.flow.course import Course, Decide, Hold, SubmitIn
from worker.flow.entry import Stage, State
from worker.pipeline.caller import Caller, Visit
from worker.pipeline.facts import BoughtAgain, DeadLettered, QuotaWaited, RetryScheduled
from worker.pipeline.gate import Gate
from worker.pipeline.pulse import Pulse
from worker.pipeline.standing import Standing
from worker.pipeline.status import track_decided

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.domain.analysis import Analysis
    from worker.domain.decider import Decider
    from worker.domain.submission import TrackSubmitted
    from worker.flow.budget import RetryBudget
    from worker.flow.course import RetryPolicy, Step
    from worker.flow.entry import Entry
    from worker.flow.pacing import AnalysisTime, Pacer
    from worker.flow.service import Service
    from worker.pipeline.facts import Observe, QuotaStatus
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Analyst

SPARE = 1.25  # times the analyses in flight: who waits longer for each holds more slots
ASIDE_SECONDS = 1.0  # a refused track comes back so long after the next probe may have left


class Calls:
    """See the module's rules. `wall` and `chance` are the only clock and dice besides the loop's own."""

    def __init__(
        self,
        *,
        analyst: Analyst,
        decider: Decider,
        retry: RetryPolicy,
        pacer: Pacer,
        service: Service,
        budget: RetryBudget,
        analysis_time: AnalysisTime,
        max_unpublished: int,
        standstill_seconds: float,
        observe: Observe,
        wall: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._decider = decider
        self._retry = retry
        self._observe = observe
        self._wall = wall
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self.gate = Gate(pacer, self.wake)
        self._caller = Caller(
            analyst=analyst,
            gate=self.gate,
            service=service,
            analysis_time=analysis_time,
            observe=observe,
            chance=chance,
            quota_is_short=self._quota_is_short,
        )
        self._lanes: deque[Lane] = deque()
        self._running: dict[asyncio.Task[None], Lane] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._budget = budget
        self._max_unpublished = max_unpublished
        self.service = service
        self.pulse = Pulse(standstill_seconds, self._loop.time())

    def __repr__(self) -> str:
        lanes = len(self._lanes)
        return f"<Calls in_flight={self.in_flight} lanes={lanes} {self.service!r} {self.gate!r} {self._budget!r}>"

    @property
    def in_flight(self) -> int:
        """Analyses that hold a slot."""
        return len(self._running)

    @property
    def unpublished(self) -> int:
        """Outcomes that are finished and not yet committed; a partition that cannot publish has stopped by itself."""
        lanes = (lane for lane in self._lanes if lane.ledger is not None and not lane.publish_error)
        return sum(lane.ledger.count(State.FINISHED) for lane in lanes if lane.ledger is not None)

    def quota(self) -> QuotaStatus:
        """The quota, and what the budget for retries holds."""
        return self.gate.status(self._budget.saved(self._loop.time()))

    def standing(self) -> Standing:
        """What decides now whether one more call may start, for whoever explains it."""
        counts = (len(self._running), self.unpublished, self._max_unpublished)
        return Standing(self._loop.time(), self._wall(), self._decider, self.service, self.gate, *counts)

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run calls in this group: a fault of our own ends the whole group."""
        self._tasks = tasks

    def end(self) -> None:
        """Cancel everything that runs."""
        self.gate.close()
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
            lane.saw(readable=not isinstance(track, Unreadable))
            if isinstance(track, Unreadable):
                self._bury(lane, entry, track)
            else:
                self._begin(lane, entry, track)

    def _may_start(self) -> bool:
        return (
            self._tasks is not None
            and not self.pulse.is_late(self._loop.time())  # lanes are about to be put in doubt
            and self.service.may_start(self._loop.time(), len(self._running))
            and self.unpublished < self._max_unpublished
            and self.gate.is_open()
        )

    def _quota_is_short(self) -> bool:
        """Whether it is quota that holds tracks back: there is work, and slots to spare."""
        in_flight = round(SPARE * len(self._running))
        may_start = self.gate.is_short and self.service.may_start(self._loop.time(), in_flight)
        return may_start and any(lane.ledger is not None and lane.ledger.count(State.READY) for lane in self._lanes)

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
        now = self._loop.time()
        if entry.course.job_id is None:
            waited = self.gate.take()
            if waited:
                self._observe(QuotaWaited("submit", waited))
            if entry.course.attempts == 0:
                self._budget.call(now)
        visit = Visit(lane, entry, track, entry.course, self.service.start(), lambda: self.in_flight)
        task = self._tasks.create_task(self._run(visit))
        self._running[task] = lane
        task.add_done_callback(partial(self._ended, visit))

    def _ended(self, visit: Visit, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and task.exception() is not None:
            self._tasks = None  # the group is ending: it takes no more tasks
        self.service.ended(visit.leave, self._loop.time())
        self._wake_for_probe()
        self.wake()

    def _wake_for_probe(self) -> None:
        if self.service.probe_at is not None:
            self._loop.call_at(self.service.probe_at, self.wake)

    async def _run(self, visit: Visit) -> None:
        self._take(await self._caller.run(visit), visit)

    # What comes after the slot.

    def _take(self, step: Step, visit: Visit) -> None:
        lane, entry, course = visit.lane, visit.entry, visit.course
        if lane.sealed or lane.ledger is None:
            return
        entry.note(Stage.QUEUED, self._loop.time())
        if isinstance(step, Decide | SubmitIn) and self._is_forgiven(step, course):
            lane.ledger.resume(entry)
        elif isinstance(step, Decide):
            self._decide(visit, step.analysis)
        elif isinstance(step, SubmitIn):
            self._retry_later(step, visit)
        elif isinstance(step, Hold):
            self._stand_aside(visit)
        else:  # a poll that was cut off while the clock stood: it is due again when it gets a slot
            lane.ledger.resume(entry)
        lane.changed()

    def _stand_aside(self, visit: Visit) -> None:
        """Let another track be the next probe: if that one is taken, the refusal was this track's own."""
        own = visit.course.closed_the_gate() if visit.closed_the_gate else None
        held = self.service.held
        if own is not None:
            self._decide(visit, own.analysis)
        elif visit.lane.ledger is not None:
            visit.lane.ledger.wait(visit.entry)
            now = self._loop.time()
            until = (held.probe_at if held is not None else now) + ASIDE_SECONDS
            visit.entry.note(Stage.ASIDE, now, until)
            self._loop.call_at(until, self._return, visit.lane, visit.entry)

    def _return(self, lane: Lane, entry: Entry) -> None:
        if lane.ledger is not None:
            entry.note(Stage.QUEUED, self._loop.time())
            lane.ledger.resume(entry)
            self.wake()

    def _is_forgiven(self, step: Decide | SubmitIn, course: Course) -> bool:
        """Whether the track goes back to the queue as it was: what failed was the service as a whole."""
        failed = isinstance(step, SubmitIn) or step.analysis.status is AnalysisStatus.FAILED
        if not failed or course.last_fault is None or not self.service.forgives(course.last_fault.kind):
            return False
        course.forgive()
        return True

    def _retry_later(self, step: SubmitIn, visit: Visit) -> None:
        lane, offset = visit.lane, visit.entry.record.offset
        if lane.ledger is None:
            return
        if step.may_buy_again:
            self._observe(BoughtAgain(lane.partition, offset, step.kind.value))
        self._observe(RetryScheduled(lane.partition, offset, step.kind.value, visit.course.attempts, step.seconds))
        lane.ledger.wait(visit.entry)
        due = self._loop.time() + step.seconds
        visit.entry.note(Stage.RETRY, due - step.seconds, due)
        self._loop.call_at(due, self._resume, lane, visit.entry)

    def _resume(self, lane: Lane, entry: Entry) -> None:
        """A retry is due; it leaves when the process's budget for retries has one."""
        now = self._loop.time()
        if lane.ledger is None or lane.sealed:
            return
        if not self._budget.may_retry(now):
            pause = self._budget.wait_seconds(now) + self._chance() * self._retry.base_seconds
            due = now + min(pause, self._retry.max_seconds)
            entry.note(Stage.RETRY_BUDGET, now, due)
            self._loop.call_at(due, self._resume, lane, entry)
            return
        self._budget.retry(now)
        self._return(lane, entry)

    def _decide(self, visit: Visit, analysis: Analysis) -> None:
        lane, entry, track, course = visit.lane, visit.entry, visit.track, visit.course
        attempts = max(1, course.attempts)  # a job taken over from another owner was submitted by that one
        decided = self._decider.decide(entry.record, track, analysis, attempts=attempts, at=self._wall())
        took, waited = course.times(entry.received_at, self.service.counted(self._loop.time()))
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
