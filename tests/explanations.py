"""Explanations made by hand, for whoever shows them."""

from __future__ import annotations

from dataclasses import replace

from worker.pipeline.explanation import (
    Behind,
    Cause,
    Commits,
    Explanation,
    Jobs,
    JobWaitsFor,
    LastError,
    OpenJob,
    Partition,
    Paused,
    Process,
    Waiting,
    WaitsFor,
)
from worker.pipeline.statuses import QuotaStatus

AT = "2026-05-01T03:12:44.000Z"
COMMITS = Commits(watermark=4812, committed_seconds=0.21, under_way_seconds=None, failures=0, error=None)
QUOTA = QuotaStatus(
    limit_per_minute=60,
    share=0.25,
    allowed_per_minute=15.0,
    used_per_minute=14.0,
    waiting_polls=3,
    ready_in_seconds=1.4,
    api_limit=60,
    api_remaining=2,
    api_reset_seconds=14.0,
    retries_left=8.3,
)
PROCESS = Process(
    state="running",
    held=None,
    outage=None,
    breaker="closed",
    clock_stands_seconds=None,
    in_flight=12,
    concurrency_limit=64,
    concurrency_max=64,
    unpublished=3,
    unpublished_max=64,
    quota=QUOTA,
    consumer_loop_age_seconds=0.12,
)
OUT = replace(
    PROCESS,
    outage=Cause("unavailable", "HTTP 503", 600.0, "2026-05-01T03:02:44.000Z", 12.0),
    breaker="open",
    clock_stands_seconds=600.0,
)

JOB = OpenJob(
    job_id="0b0e4d0c-7b5e-4c39-9c3e-4a8f0a0f1a11",
    first_offset=4812,
    last_offset=14_811,
    tracks=9988,
    age_seconds=754.0,
    waits_for=JobWaitsFor.TIME,
    call="ask",
    page=None,
    due_seconds=120.0,
    deadline_seconds=20_846.0,
    detail="HTTP 503",
)
NEW = replace(
    JOB,
    job_id=None,
    first_offset=14_812,
    last_offset=24_811,
    tracks=10_000,
    age_seconds=0.4,
    waits_for=JobWaitsFor.INTENT,
    call="create",
    due_seconds=None,
    deadline_seconds=None,
    detail="",
)
JOBS = Jobs(
    mode="bulk",
    estimate_seconds=99_999.0,
    above_seconds=300.0,
    open=2,
    tracks=19_988,
    oldest_seconds=754.0,
    next_size=10_000,
    next_seconds=None,
    jobs=(JOB, NEW),
)


def waiting(offset: int = 4812, waits_for: WaitsFor = WaitsFor.RETRY) -> Waiting:
    """A record that failed three times."""
    return Waiting(
        offset=offset,
        item_id="track-77",
        state="retrying",
        waits_for=waits_for,
        since_seconds=12.0,
        due_seconds=23.4,
        predecessor=None,
        attempts=3,
        last_error=LastError("unavailable", "HTTP 503"),
        job_id=None,
        deadline_seconds=176.0,
        received_seconds=844.0,
        written_at="2026-05-01T02:58:11.000Z",
    )


def partition(number: int = 3, holder: Waiting | None = None, *paused: Paused) -> Partition:
    """A partition in which nothing waits, or with a holder of its watermark."""
    return Partition(
        topic="track-submitted",
        partition=number,
        watermark=4812,
        watermark_seconds=None if holder is None else 724.0,
        watermark_at=None if holder is None else "2026-05-01T03:00:40.000Z",
        next_offset=5320,
        highest_completed=4960,
        done_above=None,
        holder=holder,
        behind=Behind(0, 0, 0, 0, 0) if holder is None else Behind(311, 90, 12, 3, 6),
        buffered_records=327,
        buffered_bytes=81_750,
        metadata_used=0.31,
        paused=paused,
        commits=COMMITS,
        records=(),
    )


def explanation(*partitions: Partition, process: Process = PROCESS) -> Explanation:
    """All of a worker."""
    return Explanation(AT, process, partitions)
