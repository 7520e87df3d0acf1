"""What all partitions share at one moment, and so: why nothing, or nothing more, starts anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from worker.domain.decision import rfc3339
from worker.pipeline.explanation import Cause, Process, WaitsFor

if TYPE_CHECKING:
    from datetime import datetime

    from worker.domain.decider import Decider
    from worker.flow.admission import Held
    from worker.flow.service import Service
    from worker.pipeline.gate import Gate
    from worker.pipeline.job_tracks import Reading
    from worker.pipeline.statuses import WorkerStatus


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether one more call may start. `now` is the loop's time, `at` the same moment on the wall."""

    now: float
    at: datetime
    decider: Decider
    service: Service
    gate: Gate
    in_flight: int
    unpublished: int
    max_unpublished: int
    reading: Reading | None = None  # of jobs' pages, where there are such

    def ago(self, moment: float) -> float:
        """Seconds since then."""
        return max(0.0, self.now - moment)

    def ahead(self, moment: float | None) -> float | None:
        """Seconds until then; 0 where it has passed."""
        return None if moment is None or moment == inf else max(0.0, moment - self.now)

    def wall_time(self, moment: float) -> str:
        """The same moment, for people and logs."""
        return rfc3339(self.at - timedelta(seconds=self.ago(moment)))

    @property
    def stop(self) -> WaitsFor | None:
        """What stops every start, in the whole process: the operator's cause, an outage, or too much unpublished."""
        if self.service.held is not None:
            return WaitsFor.HELD
        if not self.service.may_start(self.now, 0):  # with nothing in flight only the breaker says no
            return WaitsFor.OUTAGE
        return WaitsFor.COMMITS if self.unpublished >= self.max_unpublished else None

    @property
    def next(self) -> WaitsFor:
        """What a record waits for that nothing of its own or of its partition keeps."""
        if self.stop is not None:
            return self.stop
        if self.in_flight >= self.service.limit:
            return WaitsFor.SLOT
        return WaitsFor.QUOTA if self.gate.is_short else WaitsFor.TURN

    def due(self, waits_for: WaitsFor) -> float | None:
        """Seconds until that may come, as far as it has a time that all share."""
        match waits_for:
            case WaitsFor.HELD | WaitsFor.OUTAGE:
                return self.ahead(self.service.probe_at)
            case WaitsFor.QUOTA:
                return self.ahead(self.gate.ready_at)
            case _:
                return None

    def process(self, status: WorkerStatus) -> Process:
        """What the process as a whole waits for, and how much of its bounds is in use."""
        service = self.service
        return Process(
            state=status.state,
            held=self._cause(service.held, service.probe_at),
            outage=self._cause(service.outage, None if service.held else service.probe_at),
            breaker=service.breaker_state,
            clock_stands_seconds=None if service.stopped_at is None else self.ago(service.stopped_at),
            in_flight=self.in_flight,
            concurrency_limit=service.limit,
            concurrency_max=service.max_limit,
            unpublished=self.unpublished,
            unpublished_max=self.max_unpublished,
            quota=status.quota,
            consumer_loop_age_seconds=status.fetch_age_seconds,
        )

    def _cause(self, held: Held | None, probe_at: float | None) -> Cause | None:
        if held is None:
            return None
        since = self.wall_time(held.since)
        return Cause(held.kind.value, held.detail, self.ago(held.since), since, self.ahead(probe_at))
