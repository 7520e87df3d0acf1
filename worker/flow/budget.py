"""The retry budget: how much of what is sent may be sent again, for the whole process.

- A first submission earns a share of a retry; time earns a small floor, so that quiet traffic may retry, too. A retry
  costs one and earns nothing: retries of retries cannot feed themselves.
- What is earned and not spent is kept up to the burst. So in any stretch of time, and not only from the start,
  retries <= burst + share x calls + floor x minutes.
- Whoever finds it empty waits; nothing is given up for want of budget. The wait is what the floor alone would need:
  calls made meanwhile can only shorten it.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60.0
# Sums of floats miss a whole by less. It is no gift: the balance goes below zero by as much, and is paid back.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class RetryAllowance:
    """`share` of a retry for each call, `floor_per_minute` for none, at most `burst` (1 or more) of them saved up."""

    share: float = 0.2
    floor_per_minute: float = 10.0
    burst: float = 10.0


class RetryBudget:
    """See the module's rules. `now` is monotonic seconds."""

    __slots__ = ("_allowance", "_at", "_per_second", "_saved")

    def __init__(self, allowance: RetryAllowance, now: float) -> None:
        self._allowance = allowance
        self._per_second = allowance.floor_per_minute / MINUTE
        self._saved = allowance.burst
        self._at = now  # when `_saved` was true

    def __repr__(self) -> str:
        return f"<RetryBudget saved={self.saved(self._at):.2f}/{self._allowance.burst:g} at={self._at:.3f}>"

    def saved(self, now: float) -> float:
        """Retries that may leave now; the fraction is on its way to the next."""
        return min(self._allowance.burst, self._saved + (now - self._at) * self._per_second)

    def call(self, now: float) -> None:
        """A first submission leaves. Retries and polls are none."""
        self._saved = self.saved(now) + self._allowance.share
        self._at = now

    def may_retry(self, now: float) -> bool:
        """Whether one retry may leave now."""
        return self.saved(now) >= 1 - ROUNDING

    def retry(self, now: float) -> None:
        """A retry leaves (after `may_retry`)."""
        self._saved = self.saved(now) - 1
        self._at = now

    def wait_seconds(self, now: float, ahead: int = 0) -> float:
        """How long until a retry may leave, after so many others and if no call is made; infinite without a floor."""
        missing = 1 + ahead - self.saved(now)
        if missing <= ROUNDING:
            return 0.0
        return missing / self._per_second if self._per_second else float("inf")
