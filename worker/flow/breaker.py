"""The circuit breaker: whether the service as a whole is there. It judges the service, never a track.

- `SPEAKS` says which faults tell of the service. One that does not (429, or a track refused for what it is) counts as
  an answer; one that came from something in front of it tells nothing.
- Closed, it opens on so many failures in a row, or when failures reach a share of enough replies in a sliding window.
  The window is kept in buckets: whatever the rate, its memory is the same.
- Open, nothing starts except one probe, an ordinary track, at a time. The pause before the next grows with each that
  fails, up to a bound. A probe that told nothing (its partition went, say) costs a pause, but lengthens none.
- Half-open, after a probe that was answered, so many may wait for their first reply at once; each first reply doubles
  that. Beyond the concurrency it is closed. Doubling needs few answers: a service that always fails one call in fifty
  must be able to get there, since any failure on the way opens again.
- Who started before the last opening says nothing, late success and late failure alike. That is told by a ticket, not
  by times: a track has many calls, and the polls of earlier tracks go on while it is open.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from worker.flow.admission import Held
from worker.flow.faults import FaultKind


class Speech(StrEnum):
    """What a fault tells of the service."""

    FAILURE = "failure"
    ANSWER = "answer"
    NOTHING = "nothing"


SPEAKS: dict[FaultKind, Speech] = {
    FaultKind.CONNECT_FAILED: Speech.FAILURE,
    FaultKind.UNAVAILABLE: Speech.FAILURE,
    FaultKind.SERVER_ERROR: Speech.FAILURE,
    FaultKind.OUTCOME_UNKNOWN: Speech.FAILURE,
    FaultKind.NOT_JSON: Speech.FAILURE,
    FaultKind.THROTTLED: Speech.ANSWER,
    FaultKind.PROTOCOL_ERROR: Speech.ANSWER,
    FaultKind.INVALID_REQUEST: Speech.ANSWER,
    FaultKind.JOB_UNKNOWN: Speech.ANSWER,
    FaultKind.KEY_REFUSED: Speech.ANSWER,
    FaultKind.CREDITS_EXHAUSTED: Speech.ANSWER,
    FaultKind.CDN_REFUSED: Speech.NOTHING,
    FaultKind.MISCONFIGURED: Speech.NOTHING,
}


class State(StrEnum):
    """Bounded set: safe as a metric label."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, how to probe, how to recover. `share` (0-1] is of replies; `ramp` multiplies, above 1."""

    consecutive: int = 10
    share: float = 0.6
    min_calls: int = 20
    window_seconds: float = 30.0
    probe_seconds: float = 5.0
    probe_growth: float = 2.0
    probe_max_seconds: float = 60.0
    concurrency: int = 64
    ramp: float = 2.0


class Ticket:
    """One track's leave to call, from its start until it holds no slot any more. Only the breaker writes it."""

    __slots__ = ("awaited", "opening", "probe")

    def __init__(self, opening: int, *, awaited: bool, probe: bool) -> None:
        self.opening = opening  # how often the breaker had opened when this started
        self.awaited = awaited  # its first reply is to come, and counts against the limit until then
        self.probe = probe


class Breaker:
    """See the module's rules. Every ticket ends with `undecided`, whatever was told of it before."""

    __slots__ = ("_awaited", "_failed_in_a_row", "_limit", "_opening", "_pause", "_policy", "_recent", "outage")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._recent = Recent(policy.window_seconds)
        self._failed_in_a_row = 0
        self._opening = 0
        self._pause = policy.probe_seconds
        self._limit = 0  # 0 while open, at least 1 while half-open, meaningless while closed
        self._awaited = 0
        self.outage: Held | None = None  # from the opening until it is closed; `since` is the first opening's

    def __repr__(self) -> str:
        cause = "" if self.outage is None else f" {self.outage.kind.value} since={self.outage.since:.3f}"
        return f"<Breaker {self.state.value}{cause} awaited={self._awaited}/{self.limit} pause={self._pause:g}s>"

    @property
    def state(self) -> State:
        """Closed, open, or on the way back."""
        if self.outage is None:
            return State.CLOSED
        return State.HALF_OPEN if self._limit else State.OPEN

    @property
    def limit(self) -> int | None:
        """How many tracks may wait for their first reply at once; None while closed."""
        match self.state:
            case State.CLOSED:
                return None
            case State.OPEN:
                return 1
            case State.HALF_OPEN:
                return self._limit

    @property
    def probe_at(self) -> float | None:
        """When the next probe may start (monotonic seconds), while open and none is under way."""
        return self.outage.probe_at if self.outage and not self._limit and not self._awaited else None

    def may_start(self, now: float) -> bool:
        """Whether a track may start now."""
        if self.outage is None:
            return True
        if self._limit:
            return self._awaited < self._limit
        return not self._awaited and now >= self.outage.probe_at

    def start(self) -> Ticket:
        """A track starts (after `may_start`)."""
        ticket = Ticket(self._opening, awaited=self.outage is not None, probe=self.state is State.OPEN)
        self._awaited += ticket.awaited
        return ticket

    def answered(self, ticket: Ticket, now: float) -> Held | None:
        """The service answered. Returns the outage that this ended, if it did."""
        if ticket.opening != self._opening:
            return None
        first = self._settle(ticket)
        if self.outage is None:
            self._failed_in_a_row = 0
            self._recent.add(now, failed=False)
            return None
        return self._widen(self.outage) if first else None

    def failed(self, ticket: Ticket, kind: FaultKind, detail: str, now: float) -> bool:
        """The service failed. True if an outage began with this."""
        if ticket.opening != self._opening:
            return False
        if self.outage is not None:
            self._pause = min(self._policy.probe_max_seconds, self._pause * self._policy.probe_growth)
            self._open(Held(kind, detail, self.outage.since, now + self._pause))
            return False
        self._failed_in_a_row += 1
        self._recent.add(now, failed=True)
        if not self._is_too_much(now):
            return False
        self._open(Held(kind, detail, now, now + self._pause))
        return True

    def undecided(self, ticket: Ticket, now: float) -> None:
        """The track gives its slot back. Where nothing was told of a probe, the next one waits its time."""
        if ticket.opening != self._opening or not self._settle(ticket):
            return
        if self.outage is not None:  # half-open it means nothing, the next opening sets it
            self.outage = replace(self.outage, probe_at=now + self._pause)

    def _settle(self, ticket: Ticket) -> bool:
        first, ticket.awaited = ticket.awaited, False
        self._awaited -= first
        return first

    def _is_too_much(self, now: float) -> bool:
        if self._failed_in_a_row >= self._policy.consecutive:
            return True
        calls, failures = self._recent.count(now)
        return calls >= self._policy.min_calls and failures >= self._policy.share * calls

    def _open(self, outage: Held) -> None:
        self.outage = outage
        self._opening += 1
        self._limit = self._awaited = 0

    def _widen(self, outage: Held) -> Held | None:
        self._limit = ceil(max(1, self._limit) * self._policy.ramp)
        if self._limit <= self._policy.concurrency:
            return None
        self.outage = None
        self._pause = self._policy.probe_seconds
        self._failed_in_a_row = 0
        self._recent = Recent(self._policy.window_seconds)
        return outage


BUCKETS = 10


class Recent:
    """Replies of the last seconds, in buckets: the oldest counted is between 9 and 10 tenths of the window old."""

    __slots__ = ("_buckets", "_width")

    def __init__(self, window_seconds: float) -> None:
        self._width = window_seconds / BUCKETS
        self._buckets: deque[tuple[int, int, int]] = deque(maxlen=BUCKETS)  # number, replies, failures

    def add(self, now: float, *, failed: bool) -> None:
        """A reply came."""
        number, calls, failures = int(now // self._width), 0, 0
        if self._buckets and self._buckets[-1][0] == number:
            _, calls, failures = self._buckets.pop()
        self._buckets.append((number, calls + 1, failures + failed))

    def count(self, now: float) -> tuple[int, int]:
        """Replies, and failures among them."""
        oldest = int(now // self._width) - BUCKETS
        recent = [bucket for bucket in self._buckets if bucket[0] > oldest]
        return sum(calls for _, calls, _ in recent), sum(failures for _, _, failures in recent)
