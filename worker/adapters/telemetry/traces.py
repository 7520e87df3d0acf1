"""Facts to OpenTelemetry spans: one for each track, around those of its waits, its calls and its publication.

- A track's span is the child of the one that its record came with, and what the decision's headers name.
- A job's span is a trace of its own: it belongs to thousands of tracks. Links tie it to what (some of) its tracks came
  with, and each of its tracks to it.
- What was begun again, after a crash or by another owner, has spans of its own: they tell what was done, not what was
  decided.
- Spans never change what is decided: the SDK exports them in a thread of its own, and drops what it cannot keep.

Names and attributes follow the semantic conventions for messaging and HTTP clients where there are such.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from worker.domain.trace import TraceContext
from worker.pipeline import facts as f

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AnyValue, Attributes

    from worker.domain.record import Record

QUEUE_SIZE = 8192  # spans, unless the environment says: a page of a job ends two thousand at once
FLUSH_SECONDS = 5.0  # for the last spans, when the worker ends
_NANO = 1_000_000_000
_WENT_WELL = frozenset({"finished", "accepted", "running", "answered"})


@dataclass(slots=True)
class _Open:
    """A span that has not ended; `began` is Unix nanoseconds. `topic`: where its outcome goes, once there is one."""

    span: Span
    span_id: str
    context: Context
    partition: int
    began: int
    topic: str = ""


def provider(service_version: str, instance: str | None) -> TracerProvider:
    """Spans go out by OTLP over HTTP; the SDK's own OTEL_ variables say where, which and how many at a time."""
    ours = {"service.name": "track-intake", "service.version": service_version}
    named = {"service.instance.id": instance} if instance is not None else {}
    resource = Resource.create({**ours, **named}).merge(OTELResourceDetector().detect())
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    queue_size = None if os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) else QUEUE_SIZE
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue_size))
    return made


class Traces:
    """See the module's rules; the pipeline's Tracer, and a reader of its facts. `group`: the consumer group."""

    def __init__(self, provider: TracerProvider, group: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("track-intake")
        self._group = group
        self._clock = clock
        self._spans: dict[str, _Open] = {}  # by span id; those alone that somebody keeps
        self._handlers: Mapping[type, Callable[[Any], None]] = {
            f.CallFinished: self._call_finished,
            f.QuotaWaited: self._quota_waited,
            f.RetryScheduled: self._retry_scheduled,
            f.BoughtAgain: self._bought_again,
            f.JobAccepted: self._job_accepted,
            f.JobEnded: self._job_ended,
            f.TrackDecided: self._track_decided,
            f.DeadLettered: self._dead_lettered,
            f.TracksCommitted: self._tracks_committed,
            f.LaneSealed: self._lane_sealed,
        }

    def __repr__(self) -> str:
        return f"<Traces open={len(self._spans)}>"

    def __call__(self, fact: f.Fact) -> None:
        """Draw one fact."""
        if handler := self._handlers.get(type(fact)):
            handler(fact)

    # The pipeline's Tracer.

    def track(self, record: Record, age_seconds: float, parent: TraceContext | None) -> TraceContext | None:
        """Begin the span of a track that was received so long ago. None: not traced."""
        attributes: dict[str, AnyValue] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.consumer.group.name": self._group,
            "messaging.kafka.offset": record.offset,
        }
        began = self._clock() - _nano(age_seconds)
        around = set_span_in_context(NonRecordingSpan(_span_context(parent))) if parent is not None else None
        name = f"process {record.topic}"
        span = self._tracer.start_span(name, around, SpanKind.CONSUMER, attributes, start_time=began)
        return self._opened(span, record.partition, began)

    def job(self, partition: int, first_offset: int, tracks: Sequence[TraceContext]) -> TraceContext | None:
        """Begin the span of a job, in a trace of its own; `tracks`: what some of its tracks came with."""
        began = self._clock()
        attributes = {"track_intake.partition": partition, "track_intake.first_offset": first_offset}
        links = [Link(_span_context(track)) for track in tracks]
        span = self._tracer.start_span("job", None, SpanKind.INTERNAL, attributes, links, began)
        return self._opened(span, partition, began)

    def _opened(self, span: Span, partition: int, began: int) -> TraceContext | None:
        own = span.get_span_context()
        if not own.is_valid or own.is_remote:  # OTEL_SDK_DISABLED: there is none, or it is the sender's
            return None
        context = TraceContext(
            format_trace_id(own.trace_id),
            format_span_id(own.span_id),
            int(own.trace_flags),
            own.trace_state.to_header() or None,
        )
        if span.is_recording():
            self._spans[context.span_id] = _Open(span, context.span_id, set_span_in_context(span), partition, began)
        return context

    # Facts.

    def _of(self, trace: TraceContext | None) -> _Open | None:
        return self._spans.get(trace.span_id) if trace is not None else None

    def _child(
        self,
        parent: _Open,
        name: str,
        seconds: float,
        kind: SpanKind,
        attributes: Attributes = None,
        *,
        error_type: str | None = None,
    ) -> None:
        """Draw what has lasted for so long, until now."""
        now = self._clock()
        span = self._tracer.start_span(name, parent.context, kind, attributes, start_time=now - _nano(seconds))
        if error_type is not None:
            _failed(span, error_type)
        span.end(now)

    def _call_finished(self, fact: f.CallFinished) -> None:
        if (parent := self._of(fact.trace)) is not None:
            outcome = {"track_intake.outcome": fact.outcome}
            error_type = None if fact.outcome in _WENT_WELL else fact.outcome
            self._child(parent, fact.operation, fact.seconds, SpanKind.CLIENT, outcome, error_type=error_type)

    def _quota_waited(self, fact: f.QuotaWaited) -> None:
        if (parent := self._of(fact.trace)) is not None:
            self._child(parent, "wait for quota", fact.seconds, SpanKind.INTERNAL)

    def _retry_scheduled(self, fact: f.RetryScheduled) -> None:
        if (open_ := self._of(fact.trace)) is not None:
            attributes: dict[str, AnyValue] = {
                "error.type": fact.kind,
                "track_intake.attempts": fact.attempts,
                "track_intake.delay_seconds": fact.delay_seconds,
            }
            open_.span.add_event("retry_scheduled", attributes, self._clock())

    def _bought_again(self, fact: f.BoughtAgain) -> None:
        if (open_ := self._of(fact.trace)) is not None:
            attributes: dict[str, AnyValue] = {"track_intake.cause": fact.cause, "track_intake.tracks": fact.tracks}
            open_.span.add_event("analysis_bought_again", attributes, self._clock())

    def _job_accepted(self, fact: f.JobAccepted) -> None:
        if (open_ := self._of(fact.trace)) is not None:
            open_.span.set_attributes({"track_intake.job_id": fact.job_id, "track_intake.tracks": fact.tracks})

    def _job_ended(self, fact: f.JobEnded) -> None:
        if (open_ := self._of(fact.trace)) is None:
            return
        open_.span.set_attributes({"track_intake.outcome": fact.outcome, "track_intake.tracks_left": fact.tracks_left})
        if fact.outcome != "complete":
            _failed(open_.span, fact.outcome)
        self._end(open_)

    def _track_decided(self, fact: f.TrackDecided) -> None:
        if (open_ := self._of(fact.trace)) is None:
            return
        attributes: dict[str, AnyValue] = {
            "track_intake.decision_id": fact.decision_id,
            "track_intake.item_id": fact.item_id,
            "track_intake.decision": fact.decision,
            "track_intake.policy": fact.policy,
            "track_intake.attempts": fact.attempts,
        }
        optional = {"track_intake.reason": fact.reason, "track_intake.job_id": fact.job_id}
        open_.span.set_attributes(attributes | {name: value for name, value in optional.items() if value is not None})
        if fact.status != "success":
            _failed(open_.span, fact.status)
        if fact.job_trace is not None and fact.job_trace.sampled:
            open_.span.add_link(_span_context(fact.job_trace))
        else:
            waited = self._tracer.start_span("wait for a turn", open_.context, start_time=open_.began)
            waited.end(open_.began + _nano(fact.queued_seconds))
        open_.topic = fact.output_topic

    def _dead_lettered(self, fact: f.DeadLettered) -> None:
        if (open_ := self._of(fact.trace)) is not None:
            _failed(open_.span, fact.code)
            open_.topic = fact.output_topic

    def _tracks_committed(self, fact: f.TracksCommitted) -> None:
        for trace in fact.traces:
            if (open_ := self._of(trace)) is None:
                continue
            attributes = {
                "messaging.system": "kafka",
                "messaging.operation.type": "send",
                "messaging.operation.name": "send",
                "messaging.destination.name": open_.topic,
            }
            self._child(open_, f"send {open_.topic}", fact.seconds, SpanKind.PRODUCER, attributes)
            self._end(open_)

    def _lane_sealed(self, fact: f.LaneSealed) -> None:
        """What it had begun is nobody's any more: the next owner begins anew."""
        for open_ in list(self._spans.values()):
            if open_.partition == fact.partition:
                open_.span.set_attribute("track_intake.given_up", fact.cause)
                self._end(open_)

    def _end(self, open_: _Open) -> None:
        del self._spans[open_.span_id]
        open_.span.end(max(open_.began, self._clock()))  # the clock may have been set back

    # End.

    async def close(self) -> None:
        """End what is open, and wait a little for the exporter to send the last spans; a collector may be away."""
        for open_ in list(self._spans.values()):
            self._end(open_)
        flushed, loop = asyncio.Event(), asyncio.get_running_loop()

        def flush() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(flushed.set)

        threading.Thread(target=flush, name="flush-spans", daemon=True).start()  # an executor's would be joined at exit
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await flushed.wait()
        except TimeoutError:
            return


def _nano(seconds: float) -> int:
    return round(seconds * _NANO)


def _failed(span: Span, error_type: str) -> None:
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", error_type)


def _span_context(trace: TraceContext) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), trace.is_remote, TraceFlags(trace.flags), state)
