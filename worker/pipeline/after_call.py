"""What becomes of a track when it gives its slot back: a decision, another attempt, or a place in the queue as before.

- Retries leave within a budget that is the process's, not the track's; a deadline comes also while they wait for it.
- What failed was the service as a whole: the track goes back to the queue as it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.domain.analysis import AnalysisStatus
from worker.domain.decision import decision_id
from worker.flow.course import Decide, Hold, SubmitIn
from worker.flow.entry import Stage
from worker.pipeline.facts import BoughtAgain, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.domain.analysis import Analysis
    from worker.flow.budget import RetryBudget
    from worker.flow.course import Course, RetryPolicy, Step
    from worker.flow.entry import Entry
    from worker.flow.service import Service
    from worker.pipeline.caller import Visit
    from worker.pipeline.facts import Observe
    from worker.pipeline.lane import Lane
    from worker.pipeline.outcomes import Outcomes

ASIDE_SECONDS = 1.0  # a refused track comes back so long after the next probe may have left


class AfterCall:
    """See the module's rules. `wake` is called when something more may start; `chance` is the only dice."""

    def __init__(
        self,
        *,
        outcomes: Outcomes,
        service: Service,
        budget: RetryBudget,
        retry: RetryPolicy,
        observe: Observe,
        chance: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._outcomes = outcomes
        self._service = service
        self._budget = budget
        self._retry = retry
        self._observe = observe
        self._chance = chance
        self._wake = wake
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<AfterCall {self._budget!r}>"

    def take(self, step: Step, visit: Visit) -> None:
        """Follow what a visit ended with."""
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
        held = self._service.held
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
            self._wake()

    def _is_forgiven(self, step: Decide | SubmitIn, course: Course) -> bool:
        """Whether the track goes back to the queue as it was: what failed was the service as a whole."""
        failed = isinstance(step, SubmitIn) or step.analysis.status is AnalysisStatus.FAILED
        if not failed or course.last_fault is None or not self._service.forgives(course.last_fault.kind):
            return False
        course.forgive()
        return True

    def _retry_later(self, step: SubmitIn, visit: Visit) -> None:
        lane, offset = visit.lane, visit.entry.record.offset
        if lane.ledger is None:
            return
        partition, kind, span = lane.partition, step.kind.value, visit.entry.trace
        decision = decision_id(visit.entry.record)
        if step.may_buy_again:
            self._observe(BoughtAgain(partition, offset, kind, decision_id=decision, trace=span))
        self._observe(RetryScheduled(partition, offset, decision, kind, visit.course.attempts, step.seconds, span))
        lane.ledger.wait(visit.entry)
        due = self._loop.time() + step.seconds
        visit.entry.note(Stage.RETRY, due - step.seconds, due)
        self._loop.call_at(due, self._resume, lane, visit.entry)

    def _resume(self, lane: Lane, entry: Entry) -> None:
        """A retry is due; it leaves when the process's budget for retries has one."""
        now = self._loop.time()
        if lane.ledger is None or lane.sealed:
            return
        left = entry.course.deadline - self._service.counted(now) if entry.course is not None else 0.0
        if left > 0 and not self._budget.may_retry(now):
            pause = self._budget.wait_seconds(now) + self._chance() * self._retry.base_seconds
            due = now + min(pause, self._retry.max_seconds, left)
            entry.note(Stage.RETRY_BUDGET, now, due)
            self._loop.call_at(due, self._resume, lane, entry)
            return
        if left > 0:  # else it comes back to find its deadline passed, and calls nobody
            self._budget.retry(now)
        self._return(lane, entry)

    def _decide(self, visit: Visit, analysis: Analysis) -> None:
        lane, entry, track, course = visit.lane, visit.entry, visit.track, visit.course
        attempts = max(1, course.attempts)  # a job taken over from another owner was submitted by that one
        took, waited = course.times(entry.received_at, self._loop.time())
        if analysis.status is AnalysisStatus.SUCCESS:
            self._outcomes.analysed(took)
        self._outcomes.decide(lane, entry, track, analysis, attempts=attempts, took=took, waited=waited)
