"""From a record and what is known of it to its outcome: a decision or a dead letter, told and handed to the lane."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.domain import trace
from worker.pipeline.facts import DeadLettered
from worker.pipeline.status import track_decided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from worker.domain.analysis import Analysis
    from worker.domain.decider import Decided, Decider
    from worker.domain.record import Headers, Message, Record
    from worker.domain.submission import TrackSubmitted, Unreadable
    from worker.domain.trace import TraceContext
    from worker.flow.entry import Entry
    from worker.flow.ledger import Ledger
    from worker.pipeline.ending import Group
    from worker.pipeline.facts import Observe
    from worker.pipeline.lane import Lane
    from worker.pipeline.ports import Tracer

USUAL_SECONDS = 45.0  # of an analysis, before one was seen
FREED_AT_ONCE = 100
LINKS = 128  # of a job's span to those that its tracks came with: what a span keeps by default
LEARN_SHARE = 0.05  # of the latest in the average


class Outcomes:
    """`wall` is the only clock: it dates decisions. Without a tracer spans are those that came with the records."""

    def __init__(
        self,
        decider: Decider,
        observe: Observe,
        wall: Callable[[], datetime],
        group: Group,
        tracer: Tracer | None = None,
    ) -> None:
        self.decider = decider
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()
        self._observe = observe
        self.wall = wall
        self._group = group
        self._is_freeing = False
        self.analysis_seconds = USUAL_SECONDS  # of single tracks, on average of late

    def read(self, record: Record) -> TrackSubmitted | Unreadable:
        """The event in a record, or why it is none."""
        return self.decider.read(record)

    def trace(self, entry: Entry, extension: Headers = ()) -> TraceContext | None:
        """The span that what is done for a record belongs to; begun by whoever asks first. `extension`: its event's."""
        if entry.trace is None:
            parent = trace.context(trace.carried(entry.record.headers, extension))
            age_seconds = self._loop.time() - entry.received_at
            own = self._tracer.track(entry.record, age_seconds, parent) if self._tracer is not None else None
            entry.trace = own or parent
        return entry.trace

    def trace_job(self, partition: int, first_offset: int, entries: Sequence[Entry]) -> TraceContext | None:
        """Begin the span of a job of these tracks, which go on in their own traces."""
        if self._tracer is None:
            return None
        came_with = (trace.context(trace.carried(entry.record.headers)) for entry in entries[:LINKS])
        return self._tracer.job(partition, first_offset, [each for each in came_with if each is not None])

    def analysed(self, seconds: float) -> None:
        """A single track was analysed in so many seconds."""
        self.analysis_seconds += LEARN_SHARE * (seconds - self.analysis_seconds)

    def bury(self, lane: Lane, entry: Entry, problem: Unreadable) -> None:
        """Finish a record that is no event."""
        message = self.decider.dead_letter(entry.record, problem, at=self.wall())
        span = self.trace(entry)
        code, offset = str(problem.code), entry.record.offset
        self._observe(DeadLettered(lane.partition, offset, code, problem.path, message.topic, span))
        self._finish(lane, entry, message)

    def rule(self, entry: Entry, track: TrackSubmitted, analysis: Analysis, attempts: int) -> Decided:
        """What the decision would be."""
        return self.decider.decide(entry.record, track, analysis, attempts=attempts, at=self.wall(), span=entry.trace)

    def decide(
        self,
        lane: Lane,
        entry: Entry,
        track: TrackSubmitted,
        analysis: Analysis,
        *,
        attempts: int,
        took: float,
        waited: float,
        job: TraceContext | None = None,
    ) -> None:
        """Finish a track. `took`: seconds from its first call until now, `waited`: from its receipt to that call."""
        span = self.trace(entry, track.trace)
        decided = self.rule(entry, track, analysis, attempts)
        fact = track_decided(
            entry.record,
            track.item_id,
            analysis,
            decided,
            attempts=attempts,
            analysis_seconds=took,
            queued_seconds=waited,
            trace=span,
            job_trace=job,
        )
        self._observe(fact)
        self._finish(lane, entry, decided.message)

    def _finish(self, lane: Lane, entry: Entry, message: Message) -> None:
        lane.finish(entry, message)
        if lane.ledger is not None and lane.ledger.freed and not self._is_freeing:
            self._decide_freed(lane.ledger)

    def _decide_freed(self, ledger: Ledger) -> None:
        """Decide what only waited for its predecessor: each may free the next, and the event loop has its turns."""
        self._is_freeing = True
        try:
            with self._group:  # the event loop may have called us
                self._decide_some(ledger)
        finally:
            self._is_freeing = False
        if ledger.freed:
            self._loop.call_soon(self._decide_freed, ledger)

    @staticmethod
    def _decide_some(ledger: Ledger) -> None:
        for _ in range(FREED_AT_ONCE):
            freed = ledger.freed.popleft() if ledger.freed else None
            if freed is None or freed.decide is None:
                return
            freed.decide()
