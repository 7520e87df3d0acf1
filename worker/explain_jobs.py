"""Jobs of many tracks in words, for a terminal of 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.explain_words import JOB_MEANINGS, due, seconds, shown, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.pipeline.explanation import Jobs, OpenJob, Partition

_HEAD = ("partition", "mode", "direct calls need", "jobs above", "open jobs", "tracks in jobs", "oldest job")
_CALLS = {"create": "its creation", "ask": "a question how far it is", "read": "its results"}


def jobs_text(jobs: Jobs) -> Iterator[str]:
    """One partition's jobs, in detail."""
    yield (
        f"  mode       {jobs.mode}: direct calls need {seconds(jobs.estimate_seconds)} for what waits, "
        f"jobs begin above {seconds(jobs.above_seconds)}"
    )
    coming = "" if jobs.next_seconds is None else f", gathered {_at_the_latest(jobs.next_seconds)}"
    yield f"  jobs       {jobs.open} open, {jobs.tracks} tracks in them; the next of {jobs.next_size} at most{coming}"
    for job in jobs.jobs:
        yield from _job(job)


def _at_the_latest(value: float) -> str:
    return f"{due(value)} at the latest" if value else "now"


def _job(job: OpenJob) -> Iterator[str]:
    name = "new" if job.job_id is None else shown(job.job_id)
    deadline = "" if job.deadline_seconds is None else f"; deadline in {seconds(job.deadline_seconds)}"
    yield f"  open job   {name}"
    yield f"             offsets {job.first_offset} to {job.last_offset}: {job.tracks} tracks without a result"
    yield f"             here for {seconds(job.age_seconds)}{deadline}"
    coming = "" if job.due_seconds is None else f", due {due(job.due_seconds)}"
    yield f"             waits for {job.waits_for}{coming}{_call(job)}"
    yield f"             {JOB_MEANINGS[job.waits_for]}"
    if job.detail:
        yield f"             last fault: {shown(job.detail)}"


def _call(job: OpenJob) -> str:
    if job.call is None:
        return ""
    page = "" if job.page is None else f", page {job.page}"
    return f"; its next call: {_CALLS[job.call]}{page}"


def jobs_overview(partitions: Sequence[Partition]) -> Iterator[str]:
    """A line for each partition that works by jobs, or has any; nothing where none does."""
    rows = [
        _row(each.partition, each.jobs)
        for each in partitions
        if each.jobs and (each.jobs.open or each.jobs.mode == "bulk")
    ]
    if rows:
        yield ""
        yield from table(_HEAD, rows)


def _row(partition: int, jobs: Jobs) -> tuple[str, ...]:
    return (
        str(partition),
        jobs.mode,
        seconds(jobs.estimate_seconds),
        seconds(jobs.above_seconds),
        str(jobs.open),
        str(jobs.tracks),
        "-" if jobs.oldest_seconds is None else seconds(jobs.oldest_seconds),
    )
