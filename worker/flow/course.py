"""One track's way through the API: what to do after each reply. Pure: `now` and `chance` (0-1) are arguments.

- The clock of the deadline starts with the first call, not with the wait for a slot or for quota.
- A fault is treated as its row in `faults.FAULTS` says. Polls are free of charge: they repeat until the deadline.
- A fault that is the operator's uses up nothing: no attempt, and the deadline starts anew afterwards. Only a track that
  is refused again and again while others are taken ends as failed: the refusal is its own (a firewall in the way, say).
- Whatever cannot be had any more ends as an Analysis with status failed or timeout, which every policy sends to a
  human. There is no third way out.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.domain.analysis import Analysis, AnalysisStatus
from worker.flow.faults import FAULTS, FaultKind, Repeat
from worker.flow.replies import Accepted, Fault, Finished, Quota, Reply, Running


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of one record. `max_attempts` counts submissions; `unknown_repeats` those that may buy again."""

    max_attempts: int = 5
    base_seconds: float = 1.0
    max_seconds: float = 60.0
    unknown_repeats: int = 1
    max_closings: int = 3
    deadline_seconds: float = 900.0
    poll_interval_seconds: float = 5.0
    poll_growth: float = 1.5
    poll_max_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Decide:
    """The way ends here."""

    analysis: Analysis


@dataclass(frozen=True, slots=True)
class PollIn:
    """Ask for the job after this long; the scan is in flight and keeps its slot. `first`: it was just accepted."""

    seconds: float
    first: bool = False


@dataclass(frozen=True, slots=True)
class SubmitIn:
    """Submit again after this long, without a slot meanwhile. `may_buy_again`: an earlier one may be billed."""

    seconds: float
    kind: FaultKind
    may_buy_again: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop admission: the operator's problem. The record goes back to the queue as it was."""

    kind: FaultKind
    detail: str


Step = Decide | PollIn | SubmitIn | Hold


def full_jitter(cap_seconds: float, chance: float) -> float:
    """Anywhere up to the cap: spreads retries that began together (AWS Architecture Blog, 2015)."""
    return cap_seconds * chance


def half_jitter(cap_seconds: float, chance: float) -> float:
    """Between half the cap and the cap: for servers that asked for a pause."""
    return cap_seconds * (1 + chance) / 2


class Course:
    """The retry state of one record."""

    __slots__ = (
        "attempts",
        "began_at",
        "closings",
        "deadline",
        "failures",
        "first_call_at",
        "job_id",
        "last_fault",
        "policy",
        "polls",
        "pushed_back",
        "unknown_repeats",
    )

    def __init__(self, policy: RetryPolicy, job_id: str | None = None) -> None:
        self.policy = policy
        self.job_id = job_id
        self.attempts = 0  # submissions made
        self.failures = 0  # submissions that failed and count against max_attempts
        self.closings = 0  # times this track alone closed an open gate
        self.pushed_back = 0  # calls that were throttled in a row
        self.began_at = 0.0  # the first call, on the clock that never stands
        self.polls = 0  # since the job was accepted, or faults among them
        self.unknown_repeats = 0
        self.first_call_at: float | None = None
        self.deadline = float("inf")
        self.last_fault: Fault | None = None

    def call_started(self, now: float, at: float = 0.0) -> None:
        """A submission or a poll leaves now; `at` is the same on a clock that never stands."""
        if self.first_call_at is None:
            self.first_call_at = now
            self.began_at = at
            self.deadline = now + self.policy.deadline_seconds
        self.attempts += self.job_id is None

    def times(self, received_at: float, at: float) -> tuple[float, float]:
        """Seconds from the first call until now, and from the receipt to the first call: on the clock of `at`."""
        began_at = at if self.first_call_at is None else self.began_at
        return at - began_at, began_at - received_at

    def follow(self, reply: Reply, now: float, chance: float, first_poll_seconds: float) -> Step:
        """What comes after this reply."""
        match reply.result:
            case Finished(analysis):
                self.last_fault = None  # an answer, also where the analysis has failed
                return Decide(analysis)
            case Accepted(job_id):
                self.job_id, self.polls, self.pushed_back = job_id, 0, 0
                # Never as late as the deadline: no poll would ever teach that it was too late.
                return self._poll_in(min(first_poll_seconds, (self.deadline - now) / 2), now, first=True)
            case Running():
                self.polls, self.pushed_back = self.polls + 1, 0
                return self._poll_in(self._growing(self.polls - 1), now)
            case Fault() as fault:
                return self._after(fault, reply.quota, now, chance)

    def closed_the_gate(self) -> Decide | None:
        """Count a fault that holds, met while others were taken; after some repeats it is the track's own."""
        self.closings += 1
        if self.closings < self.policy.max_closings or self.last_fault is None:
            return None
        return self._fail(self.last_fault)

    def forgive(self) -> None:
        """Take back the last failure: it was the service's as a whole."""
        self.failures = max(0, self.failures - 1)

    def expire(self) -> Decide:
        """The deadline has come."""
        detail = "no result before the deadline"
        if self.last_fault is not None:
            detail += f"; last: {self.last_fault.detail}"
        return Decide(Analysis(AnalysisStatus.TIMEOUT, error=detail, job_id=self.job_id))

    def _after(self, fault: Fault, quota: Quota | None, now: float, chance: float) -> Step:
        self.last_fault = fault
        row = FAULTS[fault.kind]
        if row.holds:
            self.first_call_at, self.deadline = None, float("inf")
            return Hold(fault.kind, fault.detail)
        if row.repeat is Repeat.NEVER:
            return self._fail(fault)
        if self.job_id is not None and fault.kind is not FaultKind.JOB_UNKNOWN:
            return self._poll_in(self._backoff(fault, quota, chance), now)
        self.job_id = None
        return self._submit_again(fault, quota, now, chance)

    def _submit_again(self, fault: Fault, quota: Quota | None, now: float, chance: float) -> Step:
        row = FAULTS[fault.kind]
        self.failures += row.repeat is not Repeat.FREELY
        if self.failures >= self.policy.max_attempts:
            return self._fail(fault)
        if row.repeat is Repeat.ONCE_UNKNOWN:
            if self.unknown_repeats >= self.policy.unknown_repeats:
                return self._fail(fault)
            self.unknown_repeats += 1
        delay = self._backoff(fault, quota, chance)
        if now + delay >= self.deadline:
            return self.expire()
        return SubmitIn(delay, fault.kind, may_buy_again=row.may_be_billed)

    def _backoff(self, fault: Fault, quota: Quota | None, chance: float) -> float:
        if fault.kind in (FaultKind.THROTTLED, FaultKind.UNAVAILABLE):
            self.pushed_back += 1
            floor = max(fault.retry_after_seconds or 0.0, _reset_seconds(quota))
            pause = half_jitter(self._cap(self.pushed_back), chance)
            return max(floor + full_jitter(self.policy.base_seconds, chance), pause)
        if self.job_id is not None:
            self.polls += 1
            return half_jitter(self._growing(self.polls), chance)
        return full_jitter(self._cap(self.failures), chance)

    def _cap(self, failures: int) -> float:
        return min(self.policy.max_seconds, self.policy.base_seconds * 2.0 ** min(failures - 1, 30))

    def _growing(self, polls: int) -> float:
        interval = self.policy.poll_interval_seconds * self.policy.poll_growth ** min(polls, 30)
        return min(interval, max(self.policy.poll_max_seconds, self.policy.poll_interval_seconds))

    def _poll_in(self, seconds: float, now: float, *, first: bool = False) -> Step:
        if now >= self.deadline:
            return self.expire()
        return PollIn(min(seconds, self.deadline - now), first)

    def _fail(self, fault: Fault) -> Decide:
        return Decide(Analysis(AnalysisStatus.FAILED, error=fault.detail, job_id=self.job_id))


def _reset_seconds(quota: Quota | None) -> float:
    if quota is None or quota.remaining != 0 or quota.reset_seconds is None:
        return 0.0
    return max(0.0, quota.reset_seconds)
