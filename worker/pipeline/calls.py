"""Starts what may start, follows each track to its decision, and knows what is in flight.

- Slots bound the analyses in flight: from the submission to its result, polls and the waits between them included. A
  track that waits for a retry, for quota, for the operator or for the end of an outage holds none. One whose job takes
  many times the usual says nothing of load: it counts for `MAX_CONCURRENCY` only.
- What is finished and not yet published would be bought again after a crash: above a bound of such, nothing starts.
- Lanes take turns; within a lane the lowest offset goes first.
- What cannot be read as an event is answered here at once, without a slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from worker.domain.submission import Unreadable
from worker.flow.course import Course
from worker.flow.entry import State
from worker.pipeline.after_call import AfterCall
from worker.pipeline.caller import Caller, Visit
from worker.pipeline.ending import Group
from worker.pipeline.facts import QuotaWaited
from worker.pipeline.gate import Gate
from worker.pipeline.hearing import Hearing
from worker.pipeline.outcomes import Outcomes
from worker.pipeline.pulse import Pulse
from worker.pipeline.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.domain.decider import Decider
    from worker.domain.submission import TrackSubmitted
    from worker.flow.budget import RetryBudget
    from worker.flow.course import RetryPolicy
    from worker.flow.entry import Entry
    from worker.flow.pacing import AnalysisTime, Pacer
    from worker.flow.service import Service
    from worker.pipeline.facts import Observe
    from worker.pipeline.job_tracks import Reading
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Analyst, Tracer
    from worker.pipeline.statuses import QuotaStatus

SPARE = 1.25  # times the analyses in flight: who waits longer for each holds more slots


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
        tracer: Tracer | None = None,
    ) -> None:
        self._group = Group()
        self.outcomes = Outcomes(decider, observe, wall, self._group, tracer)
        self._retry = retry
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self.gate = Gate(pacer, self.wake)
        self.hearing = Hearing(self.gate, service, observe)
        self._caller = Caller(
            analyst=analyst,
            gate=self.gate,
            service=service,
            hearing=self.hearing,
            analysis_time=analysis_time,
            observe=observe,
            chance=chance,
            quota_is_short=self._quota_is_short,
            on_overdue=self._overdue_begins,
        )
        self._after = AfterCall(
            outcomes=self.outcomes,
            service=service,
            budget=budget,
            retry=retry,
            observe=observe,
            chance=chance,
            wake=self.wake,
        )
        self._lanes: deque[Lane] = deque()
        self._running: dict[asyncio.Task[None], Lane] = {}
        self._overdue = 0
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

    def standing(self, reading: Reading | None = None) -> Standing:
        """What decides now whether one more call may start, for whoever explains it."""
        counts = (len(self._running), self.unpublished, self._max_unpublished)
        outcomes = self.outcomes
        return Standing(self._loop.time(), outcomes.wall(), outcomes.decider, self.service, self.gate, *counts, reading)

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run calls in this group: a fault of our own ends the whole group."""
        self._group.tasks = tasks

    def end(self) -> None:
        """Cancel everything that runs."""
        self.gate.close()
        self._group.tasks = None
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
        """Start whatever may start now. A fault of our own ends the group, also where the event loop has called us."""
        with self._group:
            self._start_all()

    def _start_all(self) -> None:
        while self._may_start() and (found := self._next()) is not None:
            lane, entry = found
            track = self.outcomes.read(entry.record)
            if entry.course is None and entry.is_event is None:  # not for a retry, nor where jobs have read it
                lane.saw(readable=not isinstance(track, Unreadable))
            if isinstance(track, Unreadable):
                self.outcomes.bury(lane, entry, track)
            else:
                self._begin(lane, entry, track)

    def _may_start(self) -> bool:
        return (
            self._group.tasks is not None
            and not self.pulse.is_late(self._loop.time())  # lanes are about to be put in doubt
            and self.service.may_start(self._loop.time(), len(self._running), self._overdue)
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

    def _begin(self, lane: Lane, entry: Entry, track: TrackSubmitted) -> None:
        if self._group.tasks is None:
            return
        if entry.course is None:
            entry.course = Course(self._retry, entry.job_id)
        span = self.outcomes.trace(entry, track.trace)
        now = self._loop.time()
        if entry.course.job_id is None:
            waited = self.gate.take()
            if waited:
                self._observe(QuotaWaited("submit", waited, lane.partition, entry.record.offset, span))
            if entry.course.attempts == 0:
                self._budget.call(now)
        visit = Visit(lane, entry, track, entry.course, self.service.start(), lambda: self.in_flight)
        task = self._group.tasks.create_task(self._run(visit))
        self._running[task] = lane
        task.add_done_callback(partial(self._ended, visit))

    def _overdue_begins(self) -> None:
        self._overdue += 1
        self.wake()

    def _ended(self, visit: Visit, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._overdue -= visit.overdue
        if not task.cancelled() and task.exception() is not None:
            self._group.tasks = None  # the group is ending: it takes no more tasks
        self.service.ended(visit.leave, self._loop.time())
        self._wake_for_probe()
        self.wake()

    def _wake_for_probe(self) -> None:
        if self.service.probe_at is not None:
            self._loop.call_at(self.service.probe_at, self.wake)

    async def _run(self, visit: Visit) -> None:
        self._after.take(await self._caller.run(visit), visit)
