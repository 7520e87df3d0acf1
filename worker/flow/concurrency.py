"""How many analyses may be in flight: between 1 and the setting, on the signals that the API gives.

- A sign of overload (`OVERLOADED`: 429, 503, time-outs) multiplies the limit by `decrease`. At most once a round trip:
  signs and latencies of calls that started before the last decrease tell of a load that is no more. Where calls are
  short and analyses long (generation 2), not before analyses have had some time to end, `COOLING_SECONDS` at most: else
  a second of 503s takes the limit to 1, and it grows back by rounds of 45 s.
- Latencies are judged by rounds of as many answers as the limit was when the round began. A round that is slower than
  the baseline by more than the tolerance means a queue: by Little's law limit x baseline / latency is what the service
  can do at once, and the limit goes a little below that, so that the baseline is seen again without a queue.
- The mean of few samples is uncertain: for it the tolerance is wider.
- The baseline is learned where the limit is no cause: unused, in the round after a decrease (the rest), and slowly at
  the maximum. Else it would follow the queue that we make, and the limit with it, without end. If from one rest to the
  next latency fell by less than half of what the limit did (in ratios), the service is slower for reasons of its own:
  that is the new baseline, and the limit goes back.
- The limit grows only while it is used: by one an answer (doubling a round) up to where it last stood safely, then by
  its square root a round, less as latency nears the tolerance.
- An outage takes the limit down but not the memory of it: decreases with no answer between them are one event.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from worker.flow.faults import FaultKind

OVERLOADED = frozenset({FaultKind.THROTTLED, FaultKind.UNAVAILABLE, FaultKind.OUTCOME_UNKNOWN})
USED_SHARE = 0.8  # of the limit in flight: from there on the limit, not the traffic, is what bounds
CERTAIN_SAMPLES = 10  # 45 s +- 30 % averaged over ten is good to 5 %: a seventh of the tolerance
BELOW_CAPACITY = 0.9
LEAST_FACTOR = 0.5
COOLING_SECONDS = 10.0
BASELINE_WEIGHT = 0.25  # of a round in the baseline, once that is certain
DRIFT_WEIGHT = 0.05  # the same at the maximum: at its own pace a service changes within hours, a queue within rounds


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """Up to `tolerance` (a ratio, above 1) and `slack_seconds` (above 0) a slower round means nothing."""

    max_limit: int
    enabled: bool = True
    start: int = 10
    decrease: float = 0.7
    tolerance: float = 1.4
    slack_seconds: float = 0.5


class AdaptiveLimit:
    """See the module's rules. `now` is monotonic seconds."""

    __slots__ = (
        "_answered_since",
        "_baseline",
        "_baseline_samples",
        "_decreased_at",
        "_fast_until",
        "_limit",
        "_policy",
        "_resting",
        "_rests",
        "_round",
    )

    def __init__(self, policy: LimitPolicy) -> None:
        self._policy = policy
        self._limit = float(min(policy.start, policy.max_limit) if policy.enabled else policy.max_limit)
        self._fast_until = float(policy.max_limit)
        self._baseline = 0.0
        self._baseline_samples = 0
        self._decreased_at = float("-inf")
        self._answered_since = False
        self._resting = False  # this round began with a decrease
        self._rests: tuple[float, float] | None = None  # limit and latency of the resting round just before this one
        self._round = Round(self.limit)

    def __repr__(self) -> str:
        seconds = f"latency={self._round.mean:.3f}s baseline={self._baseline:.3f}s"
        return f"<AdaptiveLimit {self.limit}/{self._policy.max_limit} {seconds}>"

    @property
    def limit(self) -> int:
        """Analyses that may be in flight now."""
        return int(self._limit)

    @property
    def max_limit(self) -> int:
        """The most that it can be."""
        return self._policy.max_limit

    def answered(self, started_at: float, now: float, in_flight: int) -> None:
        """An analysis that started then is here; so many were in flight, this one included."""
        if not self._policy.enabled or started_at <= self._decreased_at:
            return
        self._answered_since = True
        used = in_flight >= USED_SHARE * self.limit
        self._round.add(now - started_at, used=used)
        if used and self._limit < self._fast_until:
            self._set(min(self._limit + 1, self._fast_until))
        if self._round.is_full:
            self._judge(self._round, now)
            self._begin_round()

    def overloaded(self, started_at: float, now: float) -> None:
        """A call that started then met a sign of overload."""
        cooling = min(COOLING_SECONDS, self._baseline)
        if self._policy.enabled and started_at > self._decreased_at + cooling:
            self._decrease(self._policy.decrease, now)
            self._rests = None
            self._begin_round()

    def _decrease(self, factor: float, now: float) -> None:
        safe = max(1.0, self._limit * factor)
        if self._answered_since:
            self._fast_until = safe
        self._set(safe)
        self._decreased_at = now
        self._answered_since = False
        self._resting = True

    def _begin_round(self) -> None:
        # What comes of a rest is learned: it has to be certain, even where the limit is small and it takes long.
        self._round = Round(max(self.limit, CERTAIN_SAMPLES) if self._resting else self.limit)

    def _judge(self, done: Round, now: float) -> None:
        rested, self._resting = self._resting, False
        earlier, self._rests = self._rests, (self._limit, done.mean) if rested else None
        if not self._baseline_samples:
            self._learn(done, BASELINE_WEIGHT)
        elif done.mean <= self._tolerated(done.samples):
            self._keep(done, rested=rested)
        elif rested and earlier is not None and done.mean > earlier[1] * sqrt(self._limit / earlier[0]):
            self._baseline, self._baseline_samples = done.mean, done.samples
            self._fast_until = earlier[0]
        else:
            factor = BELOW_CAPACITY * self._baseline / done.mean
            self._decrease(max(LEAST_FACTOR, factor), now)

    def _keep(self, done: Round, *, rested: bool) -> None:
        highest = self._tolerated(done.samples)
        room = min(1.0, (highest - done.mean) / (highest - self._baseline))
        is_no_cause = rested or not done.was_used
        if done.was_used and self._limit >= self._fast_until:
            self._set(self._limit + room * sqrt(self._limit))
        if is_no_cause or self._baseline_samples < CERTAIN_SAMPLES:
            self._learn(done, BASELINE_WEIGHT)
        elif self._limit >= self._policy.max_limit:
            self._learn(done, DRIFT_WEIGHT)

    def _learn(self, done: Round, weight: float) -> None:
        self._baseline_samples += done.samples
        if self._baseline_samples - done.samples < CERTAIN_SAMPLES:
            weight = max(weight, done.samples / self._baseline_samples)
        self._baseline += weight * (done.mean - self._baseline)

    def _tolerated(self, samples: int) -> float:
        """The slowest mean of so many samples that means nothing."""
        certain = min(CERTAIN_SAMPLES, samples)
        above = (self._policy.tolerance - 1) * sqrt(CERTAIN_SAMPLES / certain)
        return self._baseline * (1 + above) + self._policy.slack_seconds

    def _set(self, limit: float) -> None:
        self._limit = min(float(self._policy.max_limit), limit)


class Round:
    """Latencies of as many answers as the limit was when it began."""

    __slots__ = ("_seconds", "_size", "_used", "samples")

    def __init__(self, size: int) -> None:
        self._size = size
        self._seconds = 0.0
        self._used = 0
        self.samples = 0

    def add(self, seconds: float, *, used: bool) -> None:
        """One answer took so long."""
        self._seconds += seconds
        self._used += used
        self.samples += 1

    @property
    def is_full(self) -> bool:
        """Whether it may be judged."""
        return self.samples >= self._size

    @property
    def was_used(self) -> bool:
        """Whether the limit was what bounded, most of the time."""
        return 2 * self._used >= self.samples

    @property
    def mean(self) -> float:
        """Seconds, 0 before the first."""
        return self._seconds / self.samples if self.samples else 0.0
