"""How fast requests may leave, and when a poll is worth one.

Pacer: requests leave evenly (GCRA, ITU-T I.371), and in any window of a minute at most the limit, wherever the server's
window begins. What the server's headers say comes first: with nothing remaining, nothing leaves before the reset; a 429
pauses everything alike.

Replicas share the limit without talking to each other. It is cut into whole requests a minute, and each of them belongs
to one partition of the input topic; a replica may send what belongs to the partitions that it holds. The parts add up
to the limit exactly, whoever holds what, and a replica keeps its own part in every window: so all together keep it.

- A part of k lets k requests leave every minute and `SLACK_SECONDS`. That is what the network may add to or take from
  the way of a request, and what a late timer may catch up (`tolerance`).
- A replica begins anew two intervals after each assignment: whoever held these partitions may have sent a moment ago.
  What it owed by its part until then it owes still, for a minute at most. That keeps the windows around a rebalance,
  too, also where all but one leave within seconds.
- Between a revocation and the next assignment nothing leaves, and nothing of a replica without partitions.
- Where there are more partitions than requests, some have none. A replica that holds only such sends at the rate that
  its number of partitions makes, below one a minute: the limit may then be overdrawn by that.
- A pacer that is told of no partitions has the whole limit.

AnalysisTime: when to poll first. It tracks the quantile of analysis time at which `LIKELY` of the jobs are done
(stochastic approximation, Robbins and Monro 1951), `PATIENT` while it is the quota that is short: a poll too early
costs a request, one too late only a slot. Each job only tells whether its first poll came too early, and at what age
it was last seen unfinished; that is all it needs. No durations are kept. It is bounded, and jobs that never end do not
count: what is learned from an API that hangs would delay every first poll long after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from worker.flow.replies import Quota

MINUTE = 60.0
SLACK_SECONDS = 0.8
LATE_SHARE, LEAST_LATE_SECONDS, MOST_LATE_SECONDS = 0.3, 0.01, 0.3  # of the key's interval; a timer is good to some ms
QUIET_INTERVALS = 2  # after an assignment
NEVER = float("inf")


class Pacer:
    """Requests per minute; 0 is no limit. `now` is monotonic seconds."""

    __slots__ = ("_due", "_held", "_interval", "_not_before", "_part", "_tolerance", "_used", "limit")

    def __init__(self, per_minute: int) -> None:
        self.limit = per_minute
        self._held = True
        self._part = float(per_minute)  # of the limit, ours
        self._interval = interval_of(self._part)
        self._tolerance = min(MOST_LATE_SECONDS, max(LEAST_LATE_SECONDS, LATE_SHARE * self._interval))
        self._due = float("-inf")  # when the next request would leave at an even pace
        self._not_before = float("-inf")
        self._used = Used()

    @property
    def allowed(self) -> float | None:
        """Requests a minute that this replica may send now; None without a limit."""
        if not self.limit:
            return None
        return self._part if self._held else 0.0

    def ready_at(self) -> float:
        """The time from which one request may leave; infinite while this replica holds no partitions."""
        if not self._interval:
            return self._not_before
        return max(self._not_before, self._due - self._tolerance) if self._held else NEVER

    def take(self, now: float) -> None:
        """One request leaves now."""
        self._due = max(now, self._due) + self._interval
        self._used.add(now)

    def used(self, now: float) -> float:
        """Requests of the last minute, as if those of each full minute had left evenly."""
        return self._used.per_minute(now)

    # The replica's part.

    def assigned(self, partitions: Collection[int], of: int, now: float) -> None:
        """These partitions are held now, of so many in all."""
        self._held = bool(partitions)
        if partitions:
            self._part = part(self.limit, partitions, of)
            self._interval = interval_of(self._part)
            owed = min(self._due, now + interval_of(1))  # what was sent a minute ago is in nobody's window
            self._due = max(owed, now + QUIET_INTERVALS * self._interval)

    def revoked(self) -> None:
        """Nothing is held now."""
        self._held = False

    # What the API says.

    def observe(self, quota: Quota | None, now: float) -> None:
        """Heed the headers of a reply."""
        if quota is not None and quota.remaining == 0 and quota.reset_seconds:
            self.pause(min(quota.reset_seconds, MINUTE), now)

    def pause(self, seconds: float, now: float) -> None:
        """Let nothing leave for so long."""
        self._not_before = max(self._not_before, now + seconds)


def part(limit: int, partitions: Collection[int], of: int) -> float:
    """Requests a minute that belong to these partitions, of so many in all; whole, unless none does."""
    whole = sum(limit * (number + 1) // of - limit * number // of for number in partitions)
    return whole or limit * len(partitions) / of


def interval_of(per_minute: float) -> float:
    """Seconds between two requests at an even pace; 0 without a limit."""
    return (MINUTE + SLACK_SECONDS) / per_minute if per_minute else 0.0


class Used:
    """Requests of this minute and of the one before."""

    __slots__ = ("_before", "_began_at", "_count")

    def __init__(self) -> None:
        self._began_at = float("-inf")
        self._before = self._count = 0

    def add(self, now: float) -> None:
        """One request leaves now."""
        self._turn(now)
        self._count += 1

    def per_minute(self, now: float) -> float:
        """What is left of the last full minute, and all of this one."""
        self._turn(now)
        return self._before * (1 - (now - self._began_at) / MINUTE) + self._count

    def _turn(self, now: float) -> None:
        if now - self._began_at >= MINUTE:
            is_next = now - self._began_at < 2 * MINUTE
            self._before = self._count if is_next else 0
            self._began_at = self._began_at + MINUTE if is_next else now
            self._count = 0


LIKELY, PATIENT = 0.85, 0.98
STEP_SHARE = 0.05


class AnalysisTime:
    """When a job is likely done, in seconds after its submission; starts at the setting."""

    __slots__ = ("_ceiling", "_floor", "_step", "seconds")

    def __init__(self, start_seconds: float, floor_seconds: float = 0.1, ceiling_seconds: float = 120.0) -> None:
        self.seconds = start_seconds
        self._floor = min(floor_seconds, start_seconds)
        self._ceiling = max(ceiling_seconds, start_seconds)
        self._step = start_seconds * STEP_SHARE

    def first_poll(self, age_seconds: float, *, done: bool, patient: bool = False) -> None:
        """A job is done. Its first poll found it so, at this age; or it was not so yet, at this age for the last time.

        Many jobs may have been accepted under one estimate, or have waited for quota. What they tell is of their age,
        so they move the estimate no further than a step from it: else each of hundreds would move it on, long before
        anything is known of where it has gone. And what is done at a much greater age says nothing of the estimate.
        """
        step = self._step
        if done:
            earlier = self.seconds - step * (1 - (PATIENT if patient else LIKELY))
            self.seconds = max(self._floor, min(self.seconds, max(age_seconds - step, earlier)))
        else:
            later = self.seconds + step * (PATIENT if patient else LIKELY)
            self.seconds = min(self._ceiling, max(self.seconds, min(age_seconds + step, later)))
