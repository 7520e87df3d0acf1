"""How fast requests may leave, and when a poll is worth one.

Pacer: requests leave evenly (GCRA, ITU-T I.371). In any window of a minute at most the limit leaves, wherever the
server's window begins: the rate is lowered by the burst that is allowed. What the server's headers say comes first:
with nothing remaining, nothing leaves before the reset; a 429 pauses everything alike.

AnalysisTime: when to poll first. It tracks the quantile of analysis time at which `LIKELY` of the jobs are done
(stochastic approximation, Robbins and Monro 1951): each first poll only tells whether the job was done by then, and
that is all it needs. No durations are kept. It is bounded: where nothing is ever done, the API hangs, and what is
learned from that would delay every first poll long after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.replies import Quota

MINUTE = 60.0
BURST_SHARE = 100  # one hundredth of the limit may leave at once, at least one request


class Pacer:
    """Requests per minute; 0 is no limit. `now` is monotonic seconds."""

    __slots__ = ("_interval", "_not_before", "_tolerance", "_virtual")

    def __init__(self, per_minute: int) -> None:
        burst = max(1, per_minute // BURST_SHARE)
        self._interval = MINUTE / max(1, per_minute - burst) if per_minute else 0.0
        self._tolerance = self._interval * (burst - 1)
        self._virtual = float("-inf")  # when the next request would be due at an even pace
        self._not_before = float("-inf")

    def ready_at(self) -> float:
        """The time from which one request may leave."""
        return max(self._not_before, self._virtual - self._tolerance) if self._interval else self._not_before

    def take(self, now: float) -> None:
        """One request leaves now."""
        self._virtual = max(now, self._virtual) + self._interval

    def observe(self, quota: Quota | None, now: float) -> None:
        """Heed the headers of a reply."""
        if quota is not None and quota.remaining == 0 and quota.reset_seconds:
            self.pause(min(quota.reset_seconds, MINUTE), now)

    def pause(self, seconds: float, now: float) -> None:
        """Let nothing leave for so long."""
        self._not_before = max(self._not_before, now + seconds)


LIKELY = 0.85
STEP_SHARE = 0.1


class AnalysisTime:
    """When a job is likely done, in seconds after its submission; starts at the setting."""

    __slots__ = ("_ceiling", "_floor", "_step", "seconds")

    def __init__(self, start_seconds: float, floor_seconds: float = 0.1, ceiling_seconds: float = 120.0) -> None:
        self.seconds = start_seconds
        self._floor = min(floor_seconds, start_seconds)
        self._ceiling = max(ceiling_seconds, start_seconds)
        self._step = start_seconds * STEP_SHARE

    def first_poll(self, age_seconds: float, *, done: bool) -> None:
        """A first poll found a job of this age done, or not yet.

        Many jobs may have been accepted under one estimate. What they tell is of that age, so the estimate stays within
        a step of it: else each of hundreds would move it on, long before anything is known of where it has gone.
        """
        moved = self.seconds + self._step * (LIKELY - done)
        near = min(age_seconds + self._step, max(age_seconds - self._step, moved))
        self.seconds = min(self._ceiling, max(self._floor, near))
