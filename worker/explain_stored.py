"""What Kafka alone tells of a partition, while its worker cannot be asked: pure, values and words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.domain.decision import rfc3339
from worker.explain_words import shown
from worker.flow.commit_point import CommitPoint, MetadataError, decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.flow.job_intent import Intent
    from worker.flow.publication import Committed

JOBS_SHOWN = 10
SETS_SHOWN = 4
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # the end of year 9999


@dataclass(frozen=True, slots=True)
class Job:
    """An analysis that is paid for: the next owner of the partition polls it."""

    offset: int
    job_id: str


@dataclass(frozen=True, slots=True)
class SetOfTracks:
    """What one job of many tracks is of, or is to be: at most so many of its offsets are undecided.

    `job_id` is None where the API may not have made it yet: the next owner of the partition repeats the request.
    """

    first_offset: int
    last_offset: int
    undecided: int
    job_id: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """One partition as Kafka keeps it; the names are the keys of the JSON.

    `watermark`: the next offset to decide, None where the group never committed. `done_above` counts what is decided
    above it, up to `highest_done`. `undecided` is at most so many, since offsets have gaps. `problem`: why the metadata
    cannot be read. `owner` is a member of the group, `group_state` in Kafka's words; None where they are not told.
    """

    topic: str
    partition: int
    watermark: int | None
    done_above: int
    highest_done: int | None
    jobs: tuple[Job, ...]
    first_offset: int
    end_offset: int
    undecided: int
    oldest_written_at: str | None
    problem: str | None
    group_state: str | None
    owner: str | None
    sets: tuple[SetOfTracks, ...] = ()


def stored(
    topic: str,
    partition: int,
    committed: Committed | None,
    *,
    span: range,
    oldest_ms: int | None,
    group_state: str | None,
    owner: str | None,
) -> Stored:
    """Join what was read. `span`: offsets that the log holds; `oldest_ms`: timestamp of the first undecided record."""
    point, problem = _point(committed)
    begin = span.start if committed is None else max(point.watermark, span.start)
    return Stored(
        topic=topic,
        partition=partition,
        watermark=None if committed is None else point.watermark,
        done_above=len(point.done),
        highest_done=max(point.done, default=None),
        jobs=tuple(Job(offset, point.jobs[offset]) for offset in sorted(point.jobs)),
        first_offset=span.start,
        end_offset=span.stop,
        undecided=max(0, span.stop - begin - len(point.done)),
        oldest_written_at=_wall_time(oldest_ms),
        problem=problem,
        group_state=group_state,
        owner=owner,
        sets=tuple(_set(intent, point) for intent in point.intents),
    )


def _set(intent: Intent, point: CommitPoint) -> SetOfTracks:
    first = max(intent.first, point.watermark)
    excluded = sum(max(0, end - max(begin, first)) for begin, end in intent.excluded)
    done = sum(1 for offset in point.done if intent.covers(offset))
    undecided = intent.last + 1 - first - excluded - done
    return SetOfTracks(intent.first, intent.last, undecided, intent.job_id)


def _point(committed: Committed | None) -> tuple[CommitPoint, str | None]:
    if committed is None:
        return CommitPoint(0), None
    try:
        return decode(committed.offset, committed.metadata), None
    except MetadataError as exc:
        return CommitPoint(committed.offset), str(exc)


def _wall_time(unix_ms: int | None) -> str | None:
    if unix_ms is None or not 0 <= unix_ms <= _LAST_TIMESTAMP_MS:
        return None
    return rfc3339(datetime.fromtimestamp(unix_ms / 1000, UTC))


def stored_text(found: Stored) -> Iterator[str]:
    """One partition in words."""
    yield f"{found.topic}/{found.partition}, as Kafka keeps it"
    if found.watermark is None:
        yield "  watermark  none: the group has never committed here"
    else:
        yield f"  watermark  {found.watermark}: all below is decided and published"
        above = f", the highest {found.highest_done}" if found.highest_done is not None else ""
        yield f"  done above {found.done_above} offsets{above}"
    if found.problem is not None:
        yield f"  problem    {shown(found.problem)}"
    yield f"  log        offsets {found.first_offset} to {found.end_offset}; {found.undecided} undecided at most"
    if found.oldest_written_at is not None:
        yield f"  oldest     undecided event written {found.oldest_written_at}"
    yield f"  jobs       {len(found.jobs)} paid for and not yet decided"
    for job in found.jobs[:JOBS_SHOWN]:
        yield f"             {job.offset}  {shown(job.job_id)}"
    if len(found.jobs) > JOBS_SHOWN:
        yield f"             and {len(found.jobs) - JOBS_SHOWN} more (--json)"
    yield from _sets(found.sets)
    yield f"  owner      {_owner(found)}"


def _sets(sets: Sequence[SetOfTracks]) -> Iterator[str]:
    if sets:
        yield f"  of many    {len(sets)} jobs of many tracks, bought or about to be"
    for each in sets[:SETS_SHOWN]:
        name = "new: its creation is repeated, and buys nothing twice" if each.job_id is None else shown(each.job_id)
        yield f"             {each.first_offset} to {each.last_offset}, {each.undecided} undecided at most"
        yield f"               {name}"
    if len(sets) > SETS_SHOWN:
        yield f"             and {len(sets) - SETS_SHOWN} more (--json)"


def _owner(found: Stored) -> str:
    if found.owner is not None:
        return shown(found.owner)
    if found.group_state is None:
        return "not told"
    empty = " (no worker is in the group)" if found.group_state == "Empty" else ""
    return f"none; the group is {shown(found.group_state)}{empty}"
