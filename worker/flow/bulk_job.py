"""One job's way through the API: which call is due when, and what each answer means. Pure, like `course`.

- One call at a time. The creation may leave only when its intent is committed: its owner sees to that. It repeats as
  `JOB_FAULTS` says, always the same request under the same key; what is free to repeat only the deadline ends.
- Questions leave when the job should be done at its own pace, and a little later. Before it has a pace, and where it
  falls short of it, the pause grows with the job's age: a few questions, whatever the job takes.
- Results are read page by page, from the first, once the job has ended, and only as long as tracks lack theirs: a short
  page need not be the last, an empty one is. What a complete job still lacks then is read again after a pause, a few
  times; in the end it has none. A job that failed has its results read once: those tracks were bought.
- The deadline begins when the first call leaves; anew after a fault that is the operator's. It does not end the job at
  the API, only our waiting, and its owner sees to it.
- After a turn in `ENDS` no call is due any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from worker.domain.jobs import JobState, JobStatus
from worker.flow.course import full_jitter, half_jitter
from worker.flow.faults import FaultKind, Repeat
from worker.flow.job_faults import JOB_FAULTS, JobOperation
from worker.flow.job_intent import Aim, fits_an_intent
from worker.flow.job_replies import JobRefused
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from worker.flow.job_intent import Intent
    from worker.flow.job_replies import JobReply, PageEnd
    from worker.flow.replies import Quota

NEVER = float("inf")
ALLOWANCE = 1.05  # of the time that it should still need: a question too early costs another one
LEAST_SHARE, BLIND_SHARE = 0.1, 0.5  # of the job's age, between two questions: with a pace, and without one
MOST_LINES = 2  # times its tracks: an API may give the same page again and again


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """Bounds of one job. `max_attempts`: faults in a row that count. `rounds`: readings of a complete job's results.

    `max_closings`: times that this job alone may close an open gate before its refusal is its own.
    """

    deadline_seconds: float = 6 * 3600.0
    max_attempts: int = 5
    max_closings: int = 3
    base_seconds: float = 1.0
    max_seconds: float = 60.0
    poll_seconds: float = 20.0
    poll_max_seconds: float = 600.0
    per_page: int = 1000
    rounds: int = 4


class CallKind(Enum):
    """Which call is due."""

    CREATE = "create"
    ASK = "ask"
    READ = "read"


class Turn(Enum):
    """What an answer means for the job. Bounded: safe as a metric label."""

    REPEATS = "repeats"  # the same call is due again, later
    ACCEPTED = "accepted"
    REFUSED = "refused"  # there is no job
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"  # its results are read first
    NEXT_PAGE = "next_page"
    READ_TO_THE_END = "read_to_the_end"  # all is settled, or the job failed and has no more
    LOST = "lost"  # the API does not know it any more
    HOPELESS = "hopeless"  # it was bought, or may be, and nothing more can be had of it


ENDS: Final = frozenset({Turn.REFUSED, Turn.READ_TO_THE_END, Turn.LOST, Turn.HOPELESS})
_ENDED: Final = {JobStatus.COMPLETE: Turn.COMPLETE, JobStatus.FAILED: Turn.FAILED}


class Job:
    """See the module's rules. Times are seconds of one monotonic clock; `chance` is 0-1.

    `intent` is what is to be committed: the job's id takes the key's place when it is accepted. `expected_seconds`:
    from then on until the first question, within the policy's bounds; one that was taken over is asked for at once.
    `may_exist`: an earlier owner left the intent.
    """

    __slots__ = (
        *("busy", "deadline", "detail", "ended", "intent", "next_at", "over", "page", "policy", "questions", "rounds"),
        "since",
        *("_began_at", "_closings", "_expected_seconds", "_failures", "_faults", "_lines", "_may_exist", "_seen"),
    )

    def __init__(
        self, intent: Intent, policy: JobPolicy, *, expected_seconds: float = 0.0, may_exist: bool = False
    ) -> None:
        self.intent = intent
        self.policy = policy
        self.next_at = float("-inf")
        self.deadline = NEVER
        self.busy = False
        self.over = False
        self.ended: JobStatus | None = None
        self.page, self.rounds, self.questions = 1, 0, 0
        self.since: float | None = None  # loop time: first seen by its owner, then accepted; its driver notes it
        self.detail = ""  # of the last fault or refusal: safe to publish
        taken_over = intent.aim is Aim.FETCH
        self._expected_seconds = 0.0 if taken_over else expected_seconds
        self._may_exist = taken_over or may_exist
        self._began_at: float | None = None  # when this owner first heard of it
        self._seen = (0.0, 0)  # when it had no more processed than this
        self._failures = self._faults = 0  # in a row: those that count, and all
        self._lines = 0  # of this round
        self._closings = 0

    def __repr__(self) -> str:
        intent, due = self.intent, self.due
        return f"<Job {intent.first}-{intent.last} {intent.job_id or 'new'} {due.value if due else 'no call due'}>"

    @property
    def due(self) -> CallKind | None:
        """The call that comes next, at `next_at`; None with one under way, or at the end."""
        if self.busy or self.over:
            return None
        if self.intent.aim is Aim.CREATE:
            return CallKind.CREATE
        return CallKind.READ if self.ended is not None else CallKind.ASK

    def call_started(self, now: float) -> None:
        """The call that is due leaves now."""
        self.questions += self.due is CallKind.ASK
        self.busy = True
        if self.deadline == NEVER:
            self.deadline = now + self.policy.deadline_seconds

    def call_dropped(self) -> None:
        """The call that was under way was given up here: it is due again."""
        self.busy = False

    def end(self, status: JobStatus, now: float) -> None:
        """The API is done with it, so it says unasked: its results are to be read, at once."""
        if self.ended is None and status is not JobStatus.RUNNING:
            self.ended, self.next_at = status, now

    # Answers.

    def answered(self, reply: JobReply, now: float, chance: float) -> Turn:
        """Follow the answer to a creation or a question."""
        self.busy = False
        creating = self.intent.aim is Aim.CREATE
        match reply.result:
            case JobState(job_id) if creating and not fits_an_intent(job_id):
                fault = Fault(FaultKind.PROTOCOL_ERROR, "the job's id is too long to be remembered")
                return self._faulted(JobOperation.CREATE, fault, reply.quota, now, chance)
            case JobState() as state:
                self._failures = self._faults = self._closings = 0
                return self._accepted(state, now) if creating else self._told(state, now)
            case JobRefused(detail) if creating:
                self.detail = detail
                return self._over(Turn.REFUSED)
            case JobRefused(detail):
                fault = Fault(FaultKind.INVALID_REQUEST, detail)
                return self._faulted(JobOperation.READ, fault, reply.quota, now, chance)
            case Fault() as fault:
                operation = JobOperation.CREATE if creating else JobOperation.READ
                return self._faulted(operation, fault, reply.quota, now, chance)

    def _accepted(self, state: JobState, now: float) -> Turn:
        self.intent, self._may_exist = replace(self.intent, aim=Aim.FETCH, key=b"", job_id=state.job_id), True
        self._told(state, now)
        return Turn.ACCEPTED

    def _told(self, state: JobState, now: float) -> Turn:
        self.end(state.status, now)
        if self.ended is not None:  # perhaps unasked, while this answer was on its way
            return _ENDED[self.ended]
        self.next_at = now + self._pause(state, now)
        return Turn.RUNNING

    def _pause(self, state: JobState, now: float) -> float:
        policy, processed = self.policy, state.processed or 0
        if self._began_at is None:
            self._began_at, self._seen = now, (now, processed)
            return min(max(self._expected_seconds, policy.poll_seconds), policy.poll_max_seconds)
        age, (seen_at, seen) = now - self._began_at, self._seen
        if processed > seen and state.total:
            left = max(0, state.total - processed) * (now - seen_at) / (processed - seen)
            wanted = max(left * ALLOWANCE, age * LEAST_SHARE)
        else:
            self._seen = (now, processed)
            wanted = age * BLIND_SHARE
        return min(max(wanted, policy.poll_seconds), policy.poll_max_seconds)

    def page_read(self, end: PageEnd, unsettled: int, now: float, chance: float) -> Turn:
        """Follow the end of a page whose results are settled; so many tracks of the job lack theirs still."""
        self.busy = False
        if not unsettled:
            return self._over(Turn.READ_TO_THE_END)
        if end.fault is not None:
            return self._page_failed(end.fault, end.quota, now, chance)
        self._failures = self._faults = self._closings = 0
        self._lines += end.lines
        if end.lines and self._lines <= MOST_LINES * (self.intent.last - self.intent.first + 1):
            self.page, self.next_at = self.page + 1, now
            return Turn.NEXT_PAGE
        return self._round_ended(now)

    def _page_failed(self, fault: Fault, quota: Quota | None, now: float, chance: float) -> Turn:
        repeat = JOB_FAULTS[JobOperation.READ][fault.kind].repeat
        if repeat is Repeat.NEVER or (repeat is Repeat.ATTEMPTS and self.page > 1):  # how an API may say: no such page
            self.detail = fault.detail
            return self._round_ended(now)
        return self._faulted(JobOperation.READ, fault, quota, now, chance)

    def _round_ended(self, now: float) -> Turn:
        self.page, self._lines, self.rounds = 1, 0, self.rounds + 1
        if self.ended is JobStatus.FAILED:
            return self._over(Turn.READ_TO_THE_END)
        if self.rounds >= self.policy.rounds:
            self.detail = "the job is complete and has no result for this track"
            return self._over(Turn.HOPELESS)
        self.next_at = now + min(self.policy.poll_seconds * 2.0**self.rounds, self.policy.poll_max_seconds)
        return Turn.REPEATS

    def closed_the_gate(self) -> Turn | None:
        """Count a fault that holds, met while other calls were taken; after some repeats it is the job's own.

        (A firewall that dislikes one address among ten thousand, say.)
        """
        self._closings += 1
        if self._closings < self.policy.max_closings:
            return None
        return self._over(Turn.HOPELESS if self._may_exist else Turn.REFUSED)

    def _over(self, turn: Turn) -> Turn:
        self.over = True
        return turn

    # Faults.

    def _faulted(self, operation: JobOperation, fault: Fault, quota: Quota | None, now: float, chance: float) -> Turn:
        self.detail = fault.detail
        row = JOB_FAULTS[operation][fault.kind]
        if row.repeat is Repeat.NEVER and operation is JobOperation.CREATE:
            return self._over(Turn.REFUSED)
        self._may_exist = self._may_exist or row.may_exist
        self._faults += 1
        self._failures += row.repeat is Repeat.ATTEMPTS
        if self._failures >= self.policy.max_attempts:
            return self._over(Turn.LOST if fault.kind is FaultKind.JOB_UNKNOWN else Turn.HOPELESS)
        if row.holds:
            self.deadline = NEVER
        refused = row.repeat is Repeat.NEVER  # a question: perhaps only for now, and the job goes on
        self.next_at = now + (self.policy.poll_max_seconds if refused else self._backoff(fault, quota, chance))
        return Turn.REPEATS

    def _backoff(self, fault: Fault, quota: Quota | None, chance: float) -> float:
        policy = self.policy
        cap = min(policy.max_seconds, policy.base_seconds * 2.0 ** min(self._faults, 30))
        asked = fault.retry_after_seconds or 0.0
        if quota is not None and quota.remaining == 0:
            asked = max(asked, quota.reset_seconds or 0.0)
        return max(asked + full_jitter(policy.base_seconds, chance), half_jitter(cap, chance))
