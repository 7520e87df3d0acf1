"""Exemplars: what a scraper that asks for OpenMetrics sees of traces that somebody keeps, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.adapters.sample_facts import DECIDED, TRACE, telemetry
from worker.pipeline import facts as f

if TYPE_CHECKING:
    from worker.domain.trace import TraceContext

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TIMED = {
    "track_intake_analysis_duration_seconds",
    "track_intake_queue_wait_seconds",
    "track_intake_track_age_seconds",
    "track_intake_api_call_duration_seconds",
    "track_intake_job_duration_seconds",
}


def exemplars(trace: TraceContext | None, accept: str = OPENMETRICS) -> dict[str, set[str]]:
    """Trace ids by metric, after one of each fact that is timed."""
    told, _ = telemetry("error")
    for fact in (
        replace(DECIDED, trace=trace),
        f.TracksCommitted(3, (0,), (trace,), 0.1),
        f.CallFinished("submit", "finished", 45.0, 3, 101, trace),
        f.JobEnded(3, "complete", 0, 60.0, None, trace),
    ):
        told(fact)
    body, content_type = told.exposition(accept)
    if "openmetrics" not in content_type:
        assert b" # {" not in body
        return {}
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(body.decode()):  # type: ignore[no-untyped-call] # the library's parser is untyped
        for sample in family.samples:
            if sample.exemplar is not None:
                found.setdefault(family.name, set()).add(sample.exemplar.labels["trace_id"])
    return found


def test_each_duration_names_a_trace_where_openmetrics_is_asked_for() -> None:
    assert exemplars(TRACE) == {name: {TRACE.trace_id} for name in TIMED}


@pytest.mark.parametrize("trace", [None, replace(TRACE, flags=0)])
def test_a_trace_that_nobody_keeps_is_not_named(trace: TraceContext | None) -> None:
    assert exemplars(trace) == {}


def test_the_older_format_has_none() -> None:
    assert exemplars(TRACE, accept="text/plain; version=0.0.4") == {}
