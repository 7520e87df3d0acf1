"""Every span that is begun ends once, whatever becomes of its track, its job, its partition or its worker.

Each worker of a history has spans of its own, as each process has. When all events have their outcomes, and before
anybody stops, none may be open: one that stays would stay for as long as the process lives.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fake_analyst import FakeAnalyst
from tests.fake_jobs import FakeJobs
from tests.pipeline.histories import PARTITIONS, History, Join, generations, unplanned
from tests.pipeline.job_histories import JobHistory, job_unplanned, ways
from tests.pipeline.scene import Knobs, Running, Scene
from tests.pipeline.test_bulk import BOOK
from tests.pipeline.test_bulk_webhooks import ADDRESS, event
from tests.virtual_time import elapse, run, until, virtual
from worker.adapters.telemetry.traces import Traces
from worker.domain.record import Record
from worker.domain.trace import carried, context, passed_on
from worker.flow.mode import ModeSetting
from worker.pipeline.facts import JobAccepted, JobEnded, LaneSealed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from tests.pipeline.histories import Happening
    from tests.pipeline.job_histories import Way

MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AFTERWARDS_SECONDS = 60.0


class TracedScene(Scene):
    """A scene whose workers have a Traces each."""

    def __init__(self, partitions: int, analyst: FakeAnalyst, knobs: Knobs, jobs: FakeJobs | None = None) -> None:
        super().__init__(partitions, analyst, knobs, jobs)
        self.lives: list[tuple[Running, Traces, InMemorySpanExporter]] = []

    def worker(self, **changes: object) -> Running:
        provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
        loop = asyncio.get_running_loop()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        self.traces = traces = Traces(provider, "group", clock=lambda: round(loop.time() * 1e9))
        running = super().worker(**changes)
        self.lives.append((running, traces, exporter))
        return running

    async def decided(self, seconds: float = 600.0) -> None:
        await super().decided(seconds)
        await elapse(AFTERWARDS_SECONDS)
        alive = [traces for running, traces, _ in self.lives if not (running.source.dead or running.task.done())]
        assert [repr(traces) for traces in alive] == ["<Traces open=0>"] * len(alive)

    def check_ended_once(self) -> None:
        for _, _, exporter in self.lives:
            spans = [span.context.span_id for span in exporter.get_finished_spans() if span.context]
            assert len(spans) == len(set(spans))


async def unfold(history: History, scene: TracedScene, happenings: Sequence[Happening]) -> None:
    history.scene = scene
    await Join().happen(history)
    for happening in happenings:
        await happening.happen(history)
    await history.end()
    scene.check_ended_once()


@MANY
@given(generations, st.lists(unplanned, min_size=5, max_size=40))
def test_in_every_history_of_single_tracks(generation: int, happenings: list[Happening]) -> None:
    async def history() -> None:
        scene = TracedScene(PARTITIONS, FakeAnalyst(generation, seconds=1.5), Knobs())
        await unfold(History(scene), scene, happenings)

    run(history())


@MANY
@given(st.sampled_from(ModeSetting).flatmap(ways), st.lists(job_unplanned, min_size=4, max_size=25))
def test_in_every_history_of_jobs(way: Way, happenings: list[Happening]) -> None:
    async def history() -> None:
        jobs = JobHistory(way)
        scene = TracedScene(PARTITIONS, jobs.scene.analyst, jobs.scene.knobs, jobs.jobs)
        await unfold(jobs, scene, happenings)

    run(history())


@virtual
async def test_a_job_of_which_webhooks_and_a_commit_leave_nothing_says_that_it_has_ended() -> None:
    jobs = FakeJobs(seconds=1000.0)
    scene = TracedScene(1, FakeAnalyst(), Knobs(book=BOOK, webhook_url=ADDRESS), jobs)
    for number in range(3):
        scene.submit(f"track-{number}")
    worker = scene.worker()
    assert worker.bulk is not None
    await until(lambda: worker.seen(JobAccepted))
    for number in range(3):
        worker.bulk.notice(0, event(f"0-{number}"))
    told_at = asyncio.get_running_loop().time()
    await until(lambda: worker.seen(JobEnded))
    assert asyncio.get_running_loop().time() - told_at < 1.0, "with the commit, not when it would have been asked for"
    (ended,) = worker.seen(JobEnded)
    assert (ended.outcome, ended.tracks_left) == ("complete", 0)
    await scene.decided()
    assert jobs.requests.keys() == {"create"}


def test_a_fact_told_twice_or_too_late_ends_nothing_twice() -> None:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider, "group")
    job = traces.job(0, 0, [])
    for _ in range(2):
        traces(JobEnded(0, "complete", 0, 1.0, None, job))
        traces(LaneSealed(0, "moved", 0))
    assert len(exporter.get_finished_spans()) == 1


def test_a_clock_that_is_set_back_makes_no_span_of_less_than_no_time() -> None:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    times = iter([10**18, 10**18 - 3600 * 10**9])
    traces = Traces(provider, "group", clock=lambda: next(times))
    traces(JobEnded(0, "complete", 0, 1.0, None, traces.job(0, 0, [])))
    (span,) = exporter.get_finished_spans()
    assert span.start_time == span.end_time == 10**18


def test_a_disabled_sdk_leaves_headers_as_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    traces = Traces(TracerProvider(shutdown_on_exit=False), "group")
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = (("TraceParent", parent), ("ce_traceparent", parent), ("tracestate", b"a=1,a=2"), ("b3", b"1"))
    found = context(carried(headers))
    assert traces.track(Record("track-submitted", 0, 1, 0, None, b"", headers), 1.0, found) is None
    assert traces.track(Record("track-submitted", 0, 2, 0, None, b"", ()), 1.0, None) is None
    assert traces.job(0, 0, []) is None
    assert passed_on(carried(headers), found) == headers
