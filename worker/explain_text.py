"""An explanation in words, for a terminal of 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.explain_jobs import jobs_overview, jobs_text
from worker.explain_words import MEANINGS, due, ranges, seconds, shown, table
from worker.pipeline.explanation import WaitsFor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.pipeline.explanation import Cause, Commits, Explanation, Partition, Process, Waiting
    from worker.pipeline.statuses import QuotaStatus

_ITEM_BYTES = 24


def as_text(explanation: Explanation, *, in_detail: bool) -> str:
    """Everything of one partition, or a line for each of many; then the process."""
    lines = [f"{explanation.at}, worker {explanation.process.state}", ""]
    if in_detail:
        for partition in explanation.partitions:
            lines += [*_partition(partition), ""]
    else:
        lines += [*_overview(explanation.partitions), ""]
    return "\n".join([*lines, *_process(explanation.process)]) + "\n"


# One partition.


def _partition(partition: Partition) -> Iterator[str]:
    name, holder = f"{partition.topic}/{partition.partition}", partition.holder
    if holder is None:
        where = "is being opened" if partition.watermark is None else f"nothing waits below {partition.next_offset}"
        yield f"{name}: {where}"
    else:
        yield f"{name}: offset {holder.offset} holds the watermark"
        yield f"  held for   {seconds(partition.watermark_seconds or 0.0)}, since {partition.watermark_at}"
        yield from _record(holder, partition)
    if partition.jobs is not None:
        yield from jobs_text(partition.jobs)
    for paused in partition.paused:
        lasting = "" if paused.since_seconds is None else f" for {seconds(paused.since_seconds)}"
        yield f"  paused     {_what(paused.what)}{lasting}: {paused.why}"
        yield f"             waits for {MEANINGS[paused.why]}"
        if paused.detail:
            yield f"             {shown(paused.detail)}"
    yield f"  commits    {_commits(partition.commits)}"
    if partition.commits.error is not None:
        yield f"             last error: {shown(partition.commits.error)}"
    yield f"  buffers    {partition.buffered_records} records, {partition.buffered_bytes} bytes"
    above = "" if partition.done_above is None else f"; {partition.done_above} offsets done above the watermark"
    yield f"  metadata   {partition.metadata_used:.0%} used{above}"
    if len(partition.records) > 1:
        yield ""
        yield from table(_RECORD_HEAD, [_row(record) for record in partition.records])


def _what(what: str) -> str:
    return "fetching and starting" if what == "both" else what


def _record(record: Waiting, partition: Partition) -> Iterator[str]:
    item = "no event" if record.item_id is None else f'item "{shown(record.item_id)}"'
    coming = "" if record.due_seconds is None else f", due {due(record.due_seconds)}"
    yield f"  waits for  {record.waits_for}, for {seconds(record.since_seconds)} so far{coming}"
    yield f"             {MEANINGS[record.waits_for]}"
    yield f"  event      {item}, received {seconds(record.received_seconds)} ago, written {record.written_at or '?'}"
    deadline = "" if record.deadline_seconds is None else f"; deadline in {seconds(record.deadline_seconds)}"
    yield f"  attempts   {record.attempts}{deadline}"
    if record.last_error is not None:
        yield f"  last error {shown(record.last_error.kind)}: {shown(record.last_error.detail)}"
    if record.job_id is not None:
        yield f"  job        {shown(record.job_id)}"
    behind = partition.behind
    yield (
        f"  behind it  {behind.queued} queued ({behind.same_key} for their key's turn), "
        f"{behind.in_flight} in flight, {behind.retrying} retrying, {behind.unpublished} unpublished"
    )
    if behind.in_jobs or behind.behind_key:
        yield f"             {behind.in_jobs} in jobs, {behind.behind_key} with a result, behind another of their key"


def _commits(commits: Commits) -> str:
    never = "this worker has not committed yet"
    last = never if commits.committed_seconds is None else f"last one {seconds(commits.committed_seconds)} ago"
    point = "none of the group's" if commits.watermark is None else str(commits.watermark)
    parts = [f"{point} committed; {last}"]
    if commits.under_way_seconds is not None:
        parts.append(f"one under way for {seconds(commits.under_way_seconds)}")
    if commits.failures:
        parts.append(f"{commits.failures} failed in a row")
    return "; ".join(parts)


_RECORD_HEAD = ("offset", "state", "waits for", "since", "due", "attempts", "last error", "item")


def _row(record: Waiting) -> tuple[str, ...]:
    behind = f" {record.predecessor}" if record.predecessor is not None else ""
    return (
        str(record.offset),
        record.state,
        f"{record.waits_for}{behind}",
        seconds(record.since_seconds),
        due(record.due_seconds),
        str(record.attempts),
        "-" if record.last_error is None else shown(record.last_error.kind),
        "-" if record.item_id is None else shown(record.item_id, _ITEM_BYTES),
    )


# All partitions.

_OVERVIEW_HEAD = ("partition", "watermark", "held for", "waits for", "due", "attempts", "behind", "paused")


def _overview(partitions: Sequence[Partition]) -> Iterator[str]:
    busy = [each for each in partitions if each.holder or each.commits.failures or _own_pauses(each)]
    idle = sorted(each.partition for each in partitions if each not in busy)
    if busy:
        yield from table(_OVERVIEW_HEAD, [_line(each) for each in busy])
    if idle:
        yield f"Nothing waits in {'partition' if len(idle) == 1 else 'partitions'} {ranges(idle)}."
    if not partitions:
        yield "No partition is assigned to this worker."
    for each in busy:
        if each.commits.failures:
            yield f"Commits of partition {each.partition}: {_commits(each.commits)}"
            yield f"  last error: {shown(each.commits.error or '?')}"
    for why in dict.fromkeys(each.holder.waits_for for each in busy if each.holder):
        yield f"{why}: {MEANINGS[why]}"
    yield from jobs_overview(sorted(partitions, key=lambda each: each.partition))


def _own_pauses(partition: Partition) -> list[WaitsFor]:
    return [paused.why for paused in partition.paused if paused.why not in {WaitsFor.HELD, WaitsFor.OUTAGE}]


def _line(partition: Partition) -> tuple[str, ...]:
    holder, behind = partition.holder, partition.behind
    total = behind.queued + behind.in_flight + behind.retrying + behind.unpublished
    total += behind.in_jobs + behind.behind_key
    return (
        str(partition.partition),
        "-" if partition.watermark is None else str(partition.watermark),
        "-" if partition.watermark_seconds is None else seconds(partition.watermark_seconds),
        "-" if holder is None else holder.waits_for,
        due(None if holder is None else holder.due_seconds),
        "-" if holder is None else str(holder.attempts),
        str(total),
        ", ".join(dict.fromkeys(paused.why for paused in partition.paused)) or "-",
    )


# The process.


def _process(process: Process) -> Iterator[str]:
    yield "process"
    yield (
        f"  calls      {process.in_flight} in flight, {process.concurrency_limit} may be (MAX_CONCURRENCY "
        f"{process.concurrency_max}); {process.unpublished} of {process.unpublished_max} decisions wait for a commit"
    )
    if process.held is not None:
        yield from _cause("held", process.held)
    if process.outage is not None:
        yield from _cause("outage", process.outage)
        yield f"             breaker {process.breaker}"
    if process.clock_stands_seconds is not None:
        yield f"  deadlines  have stood still for {seconds(process.clock_stands_seconds)}"
    yield from _quota(process.quota)
    if process.consumer_loop_age_seconds is not None:
        yield f"  consumer   its loop turned {seconds(process.consumer_loop_age_seconds)} ago"


def _cause(name: str, cause: Cause) -> Iterator[str]:
    probe = "" if cause.next_probe_seconds is None else f"; next probe {due(cause.next_probe_seconds)}"
    yield f"  {name:<10} for {seconds(cause.since_seconds)}, since {cause.since_at}{probe}"
    yield f"             {shown(cause.reason)}: {shown(cause.detail)}"


def _quota(quota: QuotaStatus) -> Iterator[str]:
    if quota.limit_per_minute is None:
        limit = "no limit of our own"
    else:
        allowed = quota.allowed_per_minute or 0.0
        limit = f"{allowed:.1f} allowed ({quota.share:.0%} of {quota.limit_per_minute})"
    ready = "not before an assignment" if quota.ready_in_seconds is None else due(quota.ready_in_seconds)
    yield f"  quota      {quota.used_per_minute:.1f} requests in the last minute, {limit}"
    yield f"             next request {ready}; {quota.waiting_polls} polls wait"
    if quota.api_remaining is not None:
        renewed = "" if quota.api_reset_seconds is None else f", renewed in {seconds(quota.api_reset_seconds)}"
        yield f"             the API said last: {quota.api_remaining} of {quota.api_limit or '?'} left{renewed}"
    if quota.retries_left is not None:
        yield f"  retries    {quota.retries_left:.1f} left"
