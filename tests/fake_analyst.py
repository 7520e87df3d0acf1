"""The analysis API in memory: what was bought, how long it takes, and what it answers by script.

A call is taken when it arrives, whatever becomes of the caller: a cancelled submission was bought all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from tests.virtual_time import elapse
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.flow.faults import FAULTS, FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Quota, Reply, Running

if TYPE_CHECKING:
    from worker.domain.submission import TrackSubmitted

WINDOW_SECONDS = 60.0
HUMAN = Analysis(AnalysisStatus.SUCCESS, TierValue.HUMAN, TierValue.HUMAN, TierValue.HUMAN)
Answer = Fault | Exception


@dataclass(frozen=True, slots=True)
class Call:
    """One request that arrived."""

    at: float
    operation: Literal["submit", "poll"]
    item_id: str


class FixedWindows:
    """So many requests between two full minutes of the server's clock; the first one begins at `phase`."""

    def __init__(self, per_minute: int, phase: float = 0.0) -> None:
        self._per_minute, self._phase = per_minute, phase
        self._used: Counter[int] = Counter()

    def take(self, now: float) -> Quota | None:
        """Count a request; the headers of its reply, with `remaining` negative where it is refused."""
        if not self._per_minute:
            return None
        window, into = divmod(now - self._phase, WINDOW_SECONDS)
        self._used[int(window)] += 1
        return Quota(self._per_minute, self._per_minute - self._used[int(window)], WINDOW_SECONDS - into)


class FakeAnalyst:
    """One API for all workers of a test. `seconds`: the analysis; `slow`: the same for single items."""

    def __init__(self, generation: int = 1, *, seconds: float = 1.0, per_minute: int = 0, phase: float = 0.0) -> None:
        self.generation = generation
        self.seconds = seconds
        self.slow: dict[str, float] = {}
        self.submissions: dict[str, deque[Answer]] = defaultdict(deque)  # by item: answered once each, then a result
        self.polls: dict[str, deque[Answer]] = defaultdict(deque)
        self.refusing: Fault | None = None  # every call, for as long as it stands
        self.refusing_submissions: Fault | None = None
        self.purchases: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.throttled = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._windows = FixedWindows(per_minute, phase)
        self._jobs: dict[str, tuple[str, float]] = {}  # id -> item, done at

    async def submit(self, track: TrackSubmitted) -> Reply:
        quota, refusal = self._arrive("submit", track.item_id, self.submissions[track.item_id])
        if isinstance(refusal, Exception):
            raise refusal
        if refusal is None or FAULTS[refusal.kind].may_be_billed:
            self.purchases[track.item_id] += 1
        if refusal is not None:
            await elapse(0.05)
            return Reply(refusal, quota)
        if self.generation == 1:
            await self._in_flight(self._seconds(track.item_id))
            return Reply(Finished(HUMAN), quota)
        await elapse(0.05)
        return Reply(Accepted(self._accept(track.item_id)), quota)

    async def poll(self, job_id: str) -> Reply:
        item_id, done_at = self._jobs.get(job_id, ("", 0.0))
        quota, refusal = self._arrive("poll", item_id, self.polls[item_id])
        await elapse(0.05)
        if isinstance(refusal, Exception):
            raise refusal
        if refusal is not None:
            return Reply(refusal, quota)
        if job_id not in self._jobs:
            return Reply(Fault(FaultKind.JOB_UNKNOWN, "404"), quota)
        done = asyncio.get_running_loop().time() >= done_at
        return Reply(Finished(HUMAN) if done else Running(), quota)

    def asked(self, operation: Literal["submit", "poll"]) -> list[float]:
        """When such requests arrived."""
        return [call.at for call in self.calls if call.operation == operation]

    def forget_jobs(self) -> None:
        """Lose every accepted job."""
        self._jobs.clear()

    def _arrive(
        self, operation: Literal["submit", "poll"], item_id: str, script: deque[Answer]
    ) -> tuple[Quota | None, Answer | None]:
        now = asyncio.get_running_loop().time()
        self.calls.append(Call(now, operation, item_id))
        quota = self._windows.take(now)
        if quota is not None and quota.remaining is not None and quota.remaining < 0:
            self.throttled += 1
            return Quota(quota.limit, 0, quota.reset_seconds), Fault(FaultKind.THROTTLED, "429")
        refusing = self.refusing or (self.refusing_submissions if operation == "submit" else None)
        return quota, refusing or (script.popleft() if script else None)

    def _accept(self, item_id: str) -> str:
        job_id = str(UUID(int=len(self._jobs) + 1))
        self._jobs[job_id] = (item_id, asyncio.get_running_loop().time() + self._seconds(item_id))
        return job_id

    def _seconds(self, item_id: str) -> float:
        return self.slow.get(item_id, self.seconds)

    async def _in_flight(self, seconds: float) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await elapse(seconds)
        finally:
            self.in_flight -= 1
