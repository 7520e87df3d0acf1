"""Whether calls may start at all: closed by a cause that every track would meet alike, opened by a probe.

- A fault with `holds` closes it. While it is closed nothing starts except one probe, an ordinary track, at a time;
  the pause between probes is fixed, since each costs one request of the quota and buys only what was due anyway.
- Only a call that *started* after the closing can open it: replies to earlier calls prove nothing about a key that
  was refused in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.faults import FaultKind


@dataclass(frozen=True, slots=True)
class Held:
    """Why nothing starts, since when (monotonic seconds), and when the next probe may."""

    kind: FaultKind
    detail: str
    since: float
    probe_at: float


class Admission:
    """The state of the gate; `held` is None while it is open."""

    __slots__ = ("_probe_seconds", "_probing", "held")

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._probing = False
        self.held: Held | None = None

    def __repr__(self) -> str:
        return f"<Admission {'open' if self.held is None else self.held.kind.value}>"

    def may_start(self, now: float) -> bool:
        """Whether a call may start now: always while open, as the one probe while held."""
        return self.held is None or (not self._probing and now >= self.held.probe_at)

    def started(self) -> bool:
        """A call starts; True if it is the probe."""
        self._probing = self.held is not None
        return self._probing

    def refused(self, kind: FaultKind, detail: str, now: float) -> bool:
        """A call met a cause that holds. True if this closed the gate."""
        closing = self.held is None
        since = now if self.held is None else self.held.since
        self.held = Held(kind, detail, since, now + self._probe_seconds)
        return closing  # a probe is over when its call ends, not when an earlier call is refused meanwhile

    def answered(self, started_at: float) -> Held | None:
        """A call that started then was taken by the API. Returns what this lifted, if anything."""
        if self.held is None or started_at <= self.held.since:
            return None
        lifted, self.held, self._probing = self.held, None, False
        return lifted

    def undecided(self, now: float) -> None:
        """The call of the probe has ended; where it lifted nothing, the next one may leave after the pause."""
        if self.held is not None and self._probing:
            self._probing = False
            self.held = Held(self.held.kind, self.held.detail, self.held.since, now + self._probe_seconds)
