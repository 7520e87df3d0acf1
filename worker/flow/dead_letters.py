"""When a partition stops burying: what is wrong then is the topic's format or our schema, not the records.

- What counts is whether a record could be read as an event, in the order in which the records are first looked at. Not
  its decision: that comes a minute later and a burial at once, so by time of outcome any few burials look like a run.
- It stops with the record that makes a run of `consecutive` burials, or with which more than `share` of the last
  `window` records are buried. Fewer records than a window have no share: there only runs count. So a readable record
  stops it only where it completes the first window.
- It stops for good: only a new rule (a restart, a new assignment, an operator's word) begins again, with nothing seen.
- The last record is buried, too: at most `consecutive` in a row ever are, and of each window after the first at most
  its share and one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """Bounds of one partition. `share` 1 and `consecutive` 0 each switch their rule off."""

    share: float = 0.5
    window: int = 100
    consecutive: int = 50


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why nothing more is buried: so many of the last `records`, the last `in_a_row` without any that could be read."""

    buried: int
    records: int
    in_a_row: int


class StopRule:
    """One partition's. `stopped` is None while it goes on."""

    __slots__ = ("_in_a_row", "_last", "_policy", "_seen", "stopped")

    def __init__(self, policy: StopPolicy) -> None:
        self._policy = policy
        self._last = 0  # one bit a record, the newest lowest; 1 is buried
        self._seen = 0
        self._in_a_row = 0
        self.stopped: Stopped | None = None

    def __repr__(self) -> str:
        word = "stopped" if self.stopped else "going"
        return f"<StopRule {word} buried={self._last.bit_count()}/{self._seen} in_a_row={self._in_a_row}>"

    def read(self) -> bool:
        """A record was an event. True if the partition stops, or has stopped."""
        return self._saw(buried=False)

    def buried(self) -> bool:
        """A record was none and is buried. True if the partition stops, or has stopped."""
        return self._saw(buried=True)

    def _saw(self, *, buried: bool) -> bool:
        if self.stopped is None:
            self._seen = min(self._policy.window, self._seen + 1)
            self._last = (self._last << 1 | buried) & ((1 << self._policy.window) - 1)
            self._in_a_row = self._in_a_row + 1 if buried else 0
            if self._is_beyond():
                self.stopped = Stopped(self._last.bit_count(), self._seen, self._in_a_row)
        return self.stopped is not None

    def _is_beyond(self) -> bool:
        policy = self._policy
        if policy.consecutive and self._in_a_row >= policy.consecutive:
            return True
        return self._seen == policy.window and self._last.bit_count() > policy.share * policy.window
