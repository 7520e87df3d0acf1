"""Direct calls or jobs, per lane: which of them clears what is waiting there sooner. Pure: `now` is an argument.

- Direct for a trickle: each track is decided as soon as its own analysis is done. Jobs for a backlog: ten thousand
  tracks take a dozen requests, but the first decision takes as long as a job.
- Jobs begin when direct calls would need longer for what is waiting than `bulk_above_seconds`, and longer than a job of
  it. They end when direct calls would need less than half of that.
- Between two changes lies `min_dwell_seconds` at least. What swings between the half and the whole changes nothing.
- While nothing may leave at all (no partitions, no quota) nothing is known, and nothing changes.
- What a job needs is learned from jobs: an average of the last few, of their seconds and of their tracks. A smaller job
  needs its share of that, but hardly less than a job was thought to need before any was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RETURN_SHARE: Final = 0.5
LEARN_SHARE: Final = 0.3  # of the latest job in the average
JOB_SECONDS: Final = 120.0  # before one was seen


class Mode(StrEnum):
    """How a lane's tracks are analysed. Bounded: safe as a metric label."""

    DIRECT = "direct"
    BULK = "bulk"


class ModeSetting(StrEnum):
    """What the operator wants."""

    DIRECT = "direct"
    BULK = "bulk"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ModePolicy:
    """Bounds of the choice."""

    setting: ModeSetting = ModeSetting.AUTO
    bulk_above_seconds: float = 300.0
    min_dwell_seconds: float = 60.0


def direct_rate(
    *,
    slots: float,
    analysis_seconds: float,
    requests_per_minute: float | None,
    requests_per_track: float,
    lanes: int,
) -> float:
    """Tracks a second that direct calls can decide in one of so many lanes with work.

    `slots`: analyses at once, in the whole replica. `requests_per_minute`: the replica's part; None is no limit.
    """
    rate = slots / max(analysis_seconds, 0.001)
    if requests_per_minute is not None:
        rate = min(rate, requests_per_minute / 60 / max(requests_per_track, 1.0))
    return rate / max(1, lanes)


class JobTime:
    """What a job needs from its creation to its last result; one for all lanes of a replica."""

    __slots__ = ("_least", "_seconds", "_tracks")

    def __init__(self, start_seconds: float = JOB_SECONDS) -> None:
        self._least = self._seconds = start_seconds
        self._tracks = 0.0  # none seen

    def __repr__(self) -> str:
        return f"<JobTime {self._seconds:.1f}s for {self._tracks:.0f} tracks>"

    def learn(self, seconds: float, tracks: int) -> None:
        """A job of so many tracks was worked off, in so many seconds."""
        share = LEARN_SHARE if self._tracks else 1.0
        self._seconds = (1 - share) * self._seconds + share * seconds
        self._tracks = (1 - share) * self._tracks + share * tracks

    def seconds(self, tracks: int) -> float:
        """Seconds that a job of so many tracks is thought to need; a larger one than those seen is cut into such."""
        if not self._tracks:
            return self._least
        return max(min(self._least, self._seconds), self._seconds * min(1.0, tracks / self._tracks))


class ModeChooser:
    """One lane's mode. What `decide` went by last: `estimate_seconds` by direct calls, against `above_seconds`."""

    __slots__ = ("_job", "_policy", "_until", "above_seconds", "estimate_seconds", "mode")

    def __init__(self, policy: ModePolicy, job: JobTime) -> None:
        self._policy, self._job = policy, job
        self._until = float("-inf")  # the mode stays as it is
        self.mode = Mode.BULK if policy.setting is ModeSetting.BULK else Mode.DIRECT
        self.estimate_seconds = 0.0
        self.above_seconds = max(policy.bulk_above_seconds, job.seconds(0))

    def __repr__(self) -> str:
        return f"<ModeChooser {self.mode.value} {self.estimate_seconds:.0f}s of {self.above_seconds:.0f}s>"

    def decide(self, now: float, waiting: int, direct_per_second: float) -> Mode:
        """Choose for so many records that wait in the lane, buffered and still in the topic."""
        if waiting and direct_per_second <= 0:
            return self.mode
        self.estimate_seconds = waiting / direct_per_second if waiting else 0.0
        self.above_seconds = max(self._policy.bulk_above_seconds, self._job.seconds(waiting))
        wanted = self._wanted()
        if self._policy.setting is ModeSetting.AUTO and wanted is not self.mode and now >= self._until:
            self.mode, self._until = wanted, now + self._policy.min_dwell_seconds
        return self.mode

    def _wanted(self) -> Mode:
        if self.mode is Mode.DIRECT:
            return Mode.BULK if self.estimate_seconds > self.above_seconds else Mode.DIRECT
        return Mode.DIRECT if self.estimate_seconds < self.above_seconds * RETURN_SHARE else Mode.BULK
