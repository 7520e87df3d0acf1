"""What is known of the API as a service, and so: whether one more call may start, and whether time counts.

- Three causes can say no: the operator's (`Admission`: the key, the account, the address), an outage (`Breaker`), and
  load (`AdaptiveLimit`). Each is its own module; here they are asked, and told of each reply, in one place.
- Deadlines are measured on a clock that stands while admission is stopped: an outage of an hour does not send an hour
  of the catalogue to manual review. With `OutagePolicy.REVIEW` an outage stops nothing: tracks use up their attempts
  and their time, and people decide.
- A refusal of a submission is lifted by a submission only: polls cost nothing, and may be allowed where scans are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from worker.flow.breaker import SPEAKS, Speech, State
from worker.flow.concurrency import OVERLOADED
from worker.flow.faults import FAULTS, FaultKind, Repeat

if TYPE_CHECKING:
    from worker.flow.admission import Admission, Held
    from worker.flow.breaker import Breaker, Ticket
    from worker.flow.concurrency import AdaptiveLimit
    from worker.flow.replies import Fault

_TOOK_THE_CALL = frozenset({FaultKind.INVALID_REQUEST, FaultKind.JOB_UNKNOWN, FaultKind.PROTOCOL_ERROR})


class OutagePolicy(StrEnum):
    """What becomes of tracks while the service is out."""

    WAIT = "wait"
    REVIEW = "review"


class Change(StrEnum):
    """What a reply has changed for all tracks."""

    HELD = "held"
    RESUMED = "resumed"
    OUTAGE_BEGAN = "outage_began"
    OUTAGE_ENDED = "outage_ended"


@dataclass(frozen=True, slots=True)
class Leave:
    """One track's leave to call, until it holds no slot any more."""

    ticket: Ticket
    probe: bool  # for the operator's cause


class Service:
    """See the module's rules. `now` is monotonic seconds."""

    __slots__ = ("_admission", "_breaker", "_limit", "_policy", "_refused_submission", "_stood_seconds", "_stopped_at")

    def __init__(self, admission: Admission, breaker: Breaker, limit: AdaptiveLimit, policy: OutagePolicy) -> None:
        self._admission = admission
        self._breaker = breaker
        self._limit = limit
        self._policy = policy
        self._refused_submission = False
        self._stood_seconds = 0.0
        self._stopped_at: float | None = None

    def __repr__(self) -> str:
        return f"<Service {self._admission!r} {self._breaker!r} {self._limit!r}>"

    @property
    def held(self) -> Held | None:
        """The operator's cause, while there is one."""
        return self._admission.held

    @property
    def outage(self) -> Held | None:
        """The outage, until the service has recovered."""
        return self._breaker.outage

    @property
    def breaker_state(self) -> str:
        """closed, open or half_open."""
        return self._breaker.state.value

    @property
    def limit(self) -> int:
        """Analyses that may be in flight."""
        return self._limit.limit

    @property
    def max_limit(self) -> int:
        """The most that `limit` can be."""
        return self._limit.max_limit

    @property
    def probe_at(self) -> float | None:
        """When the next probe may start, where nothing else may."""
        if self._admission.held is not None:
            return self._admission.held.probe_at
        return self._breaker.probe_at if self._waits else None

    @property
    def _waits(self) -> bool:
        return self._policy is OutagePolicy.WAIT

    @property
    def stopped_at(self) -> float | None:
        """Since when the clock of the deadlines stands, where it does."""
        return self._stopped_at

    def counted(self, now: float) -> float:
        """The clock of the deadlines: it stands while admission is stopped."""
        standing = 0.0 if self._stopped_at is None else now - self._stopped_at
        return now - self._stood_seconds - standing

    def may_start(self, now: float, in_flight: int, overdue: int = 0) -> bool:
        """Whether one more track may take a slot. Jobs that are `overdue` say nothing of load.

        A probe needs no slot: what holds them may be jobs that never end.
        """
        if not self._admission.may_start(now) or (self._waits and not self._breaker.may_start(now)):
            return False
        has_slot = in_flight - overdue < self._limit.limit and in_flight < self._limit.max_limit
        return has_slot or self._is_stopped

    def start(self) -> Leave:
        """A track takes a slot (after `may_start`)."""
        return Leave(self._breaker.start(), self._admission.started())

    def heard(
        self, leave: Leave, fault: Fault | None, started_at: float, now: float, *, is_poll: bool
    ) -> tuple[Change, Held] | None:
        """A call that started then was answered, or met a fault. Returns what that changed."""
        if fault is not None and self._tells_of_load(fault.kind):
            self._limit.overloaded(started_at, now)
        change = self._judge(leave, fault, started_at, now, is_poll=is_poll)
        self._keep_clock(now)
        return change

    def _tells_of_load(self, kind: FaultKind) -> bool:
        """Not what a probe meets in an outage: the service is out, not busy."""
        return kind in OVERLOADED and (self._breaker.outage is None or SPEAKS[kind] is not Speech.FAILURE)

    def _judge(
        self, leave: Leave, fault: Fault | None, started_at: float, now: float, *, is_poll: bool
    ) -> tuple[Change, Held] | None:
        if fault is not None and FAULTS[fault.kind].holds:
            self._refused_submission = self._refused_submission or not is_poll
            closing = self._admission.refused(fault.kind, fault.detail, now)
            return (Change.HELD, self._admission.held) if closing and self._admission.held else None
        speech = Speech.ANSWER if fault is None else SPEAKS[fault.kind]
        if fault is not None and speech is Speech.FAILURE:
            began = self._breaker.failed(leave.ticket, fault.kind, fault.detail, now)
            return (Change.OUTAGE_BEGAN, self._breaker.outage) if began and self._breaker.outage else None
        ended = self._breaker.answered(leave.ticket, now) if speech is Speech.ANSWER else None
        if ended is not None:
            return Change.OUTAGE_ENDED, ended
        if (fault is not None and fault.kind not in _TOOK_THE_CALL) or (is_poll and self._refused_submission):
            return None
        lifted = self._admission.answered(started_at)
        if lifted is None:
            return None
        self._refused_submission = False
        return Change.RESUMED, lifted

    def analysed(self, started_at: float, now: float, in_flight: int) -> None:
        """An analysis that was submitted then is here."""
        self._limit.answered(started_at, now, in_flight)

    def ended(self, leave: Leave, now: float) -> None:
        """The track gives its slot back."""
        self._breaker.undecided(leave.ticket, now)
        if leave.probe:
            self._admission.undecided(now)
        self._keep_clock(now)

    def forgives(self, kind: FaultKind) -> bool:
        """Whether this fault is put down to the outage and not to the track: it waits, and uses nothing up.

        Not where a repeat may buy again: those keep their own small bound in an outage, too.
        """
        row, out = FAULTS[kind], self._waits and self._breaker.outage is not None
        return out and SPEAKS[kind] is Speech.FAILURE and row.repeat is Repeat.ATTEMPTS and not row.may_be_billed

    @property
    def _is_stopped(self) -> bool:
        """Whether nothing starts but probes."""
        return self._admission.held is not None or (self._waits and self._breaker.state is State.OPEN)

    def _keep_clock(self, now: float) -> None:
        stopped = self._is_stopped
        if stopped and self._stopped_at is None:
            self._stopped_at = now
        elif not stopped and self._stopped_at is not None:
            self._stood_seconds += now - self._stopped_at
            self._stopped_at = None
