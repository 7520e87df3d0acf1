"""Spans of OpenTelemetry, of the whole pipeline in virtual time: who belongs to whom, how long, and that all end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from tests.fake_analyst import FakeAnalyst
from tests.fake_jobs import FakeJobs
from tests.pipeline.scene import Knobs, Scene
from tests.pipeline.test_bulk import BOOK
from tests.virtual_time import elapse, until, virtual
from worker.adapters.telemetry.traces import Traces
from worker.domain.trace import context
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import CallFinished, JobAccepted, RetryScheduled, TrackDecided, TracksCommitted

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import SpanContext

    from worker.domain.record import Headers, Message

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def came_with(flags: str = "01", trace_id: str = TRACE_ID) -> Headers:
    return (("traceparent", f"00-{trace_id}-{SPAN_ID}-{flags}".encode()), ("tracestate", b"vendor=1"))


class Traced:
    """A scene whose spans are kept."""

    def __init__(
        self,
        sampler: Sampler = DEFAULT_ON,
        analyst: FakeAnalyst | None = None,
        knobs: Knobs | None = None,
        jobs: FakeJobs | None = None,
        partitions: int = 1,
    ) -> None:
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        loop = asyncio.get_running_loop()
        self.traces = Traces(provider, "group", clock=lambda: round(loop.time() * 1e9))
        self.scene = Scene(partitions, analyst, knobs, jobs, self.traces)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Those that have ended, by the beginning of their names."""
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]


def own(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def span_id(span: ReadableSpan) -> str:
    return format_span_id(own(span).span_id)


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def named_by(message: Message) -> str:
    found = context(message.headers)
    assert found is not None
    return found.span_id


@virtual
async def test_a_track_is_one_span_around_its_wait_its_calls_and_its_publication() -> None:
    stage = Traced(analyst=FakeAnalyst(2, seconds=45.0))
    stage.scene.submit("track", headers=came_with())
    worker = stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    (process,) = stage.spans("process")
    assert process.kind is SpanKind.CONSUMER
    assert process.parent is not None
    assert process.parent.is_remote
    assert (format_trace_id(process.parent.trace_id), format_span_id(process.parent.span_id)) == (TRACE_ID, SPAN_ID)
    children = [span for span in stage.spans() if span is not process]
    assert {span.parent.span_id for span in children if span.parent} == {own(process).span_id}
    polls = len([fact for fact in worker.seen(CallFinished) if fact.operation == "poll"])
    assert sorted(span.name for span in children) == ["poll"] * polls + ["send approve", "submit", "wait for a turn"]
    assert {span.kind for span in children if span.name in {"submit", "poll"}} == {SpanKind.CLIENT}
    assert [span.kind for span in stage.spans("send")] == [SpanKind.PRODUCER]
    assert all(process.start_time <= span.start_time and span.end_time <= process.end_time for span in children)  # type: ignore[operator] # ended
    assert seconds(process) >= 45.0
    decided = worker.seen(TrackDecided)[0]
    attributes = process.attributes or {}
    assert attributes["track_intake.decision_id"] == decided.decision_id
    assert (attributes["messaging.kafka.offset"], attributes["track_intake.decision"]) == (0, "approve")
    assert process.status.status_code is StatusCode.UNSET


@virtual
async def test_what_waits_for_a_slot_shows_it() -> None:
    stage = Traced(analyst=FakeAnalyst(seconds=45.0), knobs=Knobs(slots=1))
    for name in ("first", "second"):
        stage.scene.submit(name)
    stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    assert [round(seconds(span)) for span in stage.spans("wait")] == [0, 45]
    assert [round(seconds(span)) for span in stage.spans("process")] == [45, 90]


@virtual
async def test_the_decision_names_the_span_that_decided_it() -> None:
    stage = Traced()
    stage.scene.submit("with", headers=came_with())
    stage.scene.submit("without")
    worker = stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    assert {named_by(message) for message in stage.scene.broker.visible} == set(map(span_id, stage.spans("process")))
    by_offset = {fact.offset: fact.trace for fact in worker.seen(TrackDecided)}
    first, second = by_offset[0], by_offset[1]
    assert first is not None
    assert second is not None
    assert (first.trace_id, first.state, first.is_remote) == (TRACE_ID, "vendor=1", False)
    assert second.trace_id != TRACE_ID
    assert [len(fact.traces) for fact in worker.seen(TracksCommitted)] == [
        len(fact.written_at_ms) for fact in worker.seen(TracksCommitted)
    ]


@virtual
async def test_a_failed_call_is_an_error_and_its_retry_goes_on_in_the_same_span() -> None:
    analyst = FakeAnalyst()
    analyst.submissions["track"].extend([Fault(FaultKind.THROTTLED, "429"), Fault(FaultKind.UNAVAILABLE, "503")])
    stage = Traced(analyst=analyst)
    stage.scene.submit("track")
    worker = stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    (process,) = stage.spans("process")
    calls = stage.spans("submit")
    assert [span.status.status_code for span in calls] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [(span.attributes or {}).get("error.type") for span in calls] == ["throttled", "unavailable", None]
    assert [event.name for event in process.events] == ["retry_scheduled"] * len(worker.seen(RetryScheduled))
    assert process.status.status_code is StatusCode.UNSET


@virtual
async def test_a_track_that_people_decide_and_a_dead_letter_are_errors() -> None:
    analyst = FakeAnalyst()
    analyst.submissions["ill"].extend([Fault(FaultKind.INVALID_REQUEST, "400")])
    stage = Traced(analyst=analyst)
    stage.scene.submit("ill")
    stage.scene.submit_raw("poison", b"{", headers=came_with())
    stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    errors = {(span.attributes or {})["error.type"]: span for span in stage.spans("process")}
    assert errors.keys() == {"failed", "not_json"}
    assert {span.status.status_code for span in errors.values()} == {StatusCode.ERROR}
    assert sorted(span.name for span in stage.spans("send")) == ["send dead-letter", "send review"]
    buried = next(message for message in stage.scene.broker.visible if message.topic == "dead-letter")
    assert named_by(buried) == SPAN_ID, "a dead letter goes out as it came"


@pytest.mark.parametrize("sampler", [DEFAULT_ON, ALWAYS_OFF])
@virtual
async def test_what_nobody_keeps_is_passed_on_as_that(sampler: Sampler) -> None:
    stage = Traced(sampler)
    stage.scene.submit("track", headers=came_with(flags="00" if sampler is DEFAULT_ON else "01"))
    stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    assert stage.spans() == []
    found = context(stage.scene.broker.visible[0].headers)
    assert found is not None
    assert (found.trace_id, found.sampled) == (TRACE_ID, False)


@virtual
async def test_a_job_is_a_trace_of_its_own_linked_with_its_tracks() -> None:
    jobs = FakeJobs()
    stage = Traced(knobs=Knobs(book=BOOK), jobs=jobs)
    for number in range(1, 201):
        stage.scene.submit(f"track-{number}", headers=came_with(trace_id=f"{number:032x}"))
    worker = stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    made = {span_id(span): span for span in stage.spans("job")}
    assert len(made) == len(worker.seen(JobAccepted)) == 2
    assert all(span.parent is None and len(span.links) == 100 for span in made.values())
    calls = [span for span in stage.spans() if span.name in {"create_job", "ask_job", "read_results"}]
    assert {format_span_id(span.parent.span_id) for span in calls if span.parent} == made.keys()
    tracks = stage.spans("process")
    assert len(tracks) == 200
    assert {format_trace_id(own(span).trace_id) for span in tracks} == {f"{number:032x}" for number in range(1, 201)}
    linked = Counter(format_span_id(link.context.span_id) for track in tracks for link in track.links)
    assert linked == dict.fromkeys(made, 100)
    assert {(span.attributes or {})["track_intake.outcome"] for span in made.values()} == {"complete"}


@virtual
async def test_a_job_of_many_is_linked_with_no_more_than_a_span_keeps() -> None:
    stage = Traced(knobs=Knobs(book=replace(BOOK, max_items=500)), jobs=FakeJobs())
    for number in range(1, 401):
        stage.scene.submit(f"track-{number}", headers=came_with(trace_id=f"{number:032x}"))
    stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    assert [(len(span.links), span.dropped_links) for span in stage.spans("job")] == [(128, 0)]


@virtual
async def test_what_a_lost_partition_had_begun_ends_and_its_next_owner_begins_anew() -> None:
    stage = Traced(analyst=FakeAnalyst(seconds=60.0), partitions=2)
    for partition in range(2):
        stage.scene.submit(f"track-{partition}", partition, headers=came_with())
    first = stage.scene.worker()
    await until(lambda: first.calls.in_flight == 2)
    stage.scene.worker()
    await stage.scene.decided()
    await stage.scene.stop()
    given_up = [span for span in stage.spans("process") if "track_intake.given_up" in (span.attributes or {})]
    decided = [span for span in stage.spans("process") if "track_intake.decision" in (span.attributes or {})]
    assert [(span.attributes or {})["track_intake.given_up"] for span in given_up] == ["moved"]
    assert sorted((span.attributes or {})["messaging.destination.partition.id"] for span in decided) == ["0", "1"]  # type: ignore[type-var] # texts
    assert repr(stage.traces) == "<Traces open=0>"


@virtual
async def test_when_a_worker_ends_so_do_its_spans() -> None:
    stage = Traced(analyst=FakeAnalyst(seconds=1000.0), knobs=Knobs(drain=1.0))
    stage.scene.submit("track")
    worker = stage.scene.worker()
    await until(lambda: worker.calls.in_flight == 1)
    await elapse(1)
    assert await stage.scene.stop() == [1]
    assert repr(stage.traces) == "<Traces open=0>"
    assert [(span.attributes or {})["track_intake.given_up"] for span in stage.spans("process")] == ["stopped"]
    await stage.traces.close()
    assert len(stage.spans("process")) == 1
