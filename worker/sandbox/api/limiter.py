"""The documented quota: so many requests in a window of a simulated minute, stated on every reply."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may pass, and what its reply says of the quota (real seconds until the window ends)."""

    allowed: bool
    remaining: int
    reset_seconds: float


class Limiter:
    """Fixed windows from the first request on; `now` is real monotonic seconds. A limit of 0 admits everything."""

    def __init__(self, *, limit: int, time_scale: float) -> None:
        self.limit = limit
        self._window_seconds = _WINDOW_SECONDS / time_scale
        self._opened_at = -math.inf
        self._used = 0

    def admit(self, now: float) -> Admission:
        """Count a request; what is refused uses nothing up."""
        if now - self._opened_at >= self._window_seconds:
            self._opened_at, self._used = now, 0
        allowed = self._used < self.limit
        self._used += allowed
        reset_seconds = self._opened_at + self._window_seconds - now
        return Admission(allowed=allowed, remaining=self.limit - self._used, reset_seconds=reset_seconds)
