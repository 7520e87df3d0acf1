"""Whether this process has stood still: suspended, starved, or stopped and continued."""

from __future__ import annotations

from collections import deque

TICKS = 8  # beats in the time after which a standstill counts
REMEMBERED = 128  # beats: more than a minute, so that no scrape misses one


class Pulse:
    """Beats as long as the event loop turns. `now` is the loop's time.

    Who asks before the first beat after a standstill is told of it, whatever callbacks the loop runs first.
    """

    __slots__ = ("_beat_at", "_late", "_limit_seconds", "interval_seconds")

    def __init__(self, limit_seconds: float, now: float) -> None:
        self._limit_seconds = limit_seconds
        self._beat_at = now
        self.interval_seconds = limit_seconds / TICKS
        self._late: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def lag_seconds(self) -> float:
        """How late a beat was, at worst of those remembered."""
        return max(self._late, default=0.0)

    def is_late(self, now: float) -> bool:
        """Whether the loop has stood still, and nobody has drawn the consequences yet."""
        return now > self._beat_at + self.interval_seconds + self._limit_seconds

    def beat(self, now: float) -> bool:
        """The loop turns. True where it stood still since the last beat."""
        late = self.is_late(now)
        self._late.append(max(0.0, now - self._beat_at - self.interval_seconds))
        self._beat_at = now
        return late
