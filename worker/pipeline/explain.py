"""Why each partition stands where it stands: from the state of its lane, and of what all share, to plain values.

- It reads and changes nothing, not even a timer: asking must not make anything start.
- A record waits for what is its own (a retry, a reply, its predecessor) before what is its partition's (a rebalance,
  doubt, dead letters, space) before what is the process's (the operator, an outage, commits, a slot, quota).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from worker.domain.decision import rfc3339
from worker.domain.submission import Unreadable
from worker.flow.commit_point import decode
from worker.flow.entry import Stage, State
from worker.pipeline.explain_jobs import call_due, deadline_of, gathering, goes_in_job, job_with, jobs_of
from worker.pipeline.explanation import Behind, Commits, Explanation, LastError, Partition, Paused, Waiting, WaitsFor
from worker.pipeline.pauses import pauses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from worker.flow.entry import Entry
    from worker.flow.ledger import Ledger
    from worker.pipeline.explanation import Process
    from worker.pipeline.lane import Lane
    from worker.pipeline.standing import Standing

_BEHIND = frozenset({WaitsFor.PREDECESSOR, WaitsFor.KEY})  # another record, which is named
FIRST_RECORDS = 10  # shown of one partition
_LAST_TIMESTAMP_MS = 253_402_300_799_999  # the end of year 9999
_STATES: Mapping[State, Literal["queued", "in_flight", "retrying", "in_job", "behind_key", "unpublished"]] = {
    State.BLOCKED: "queued",
    State.READY: "queued",
    State.RUNNING: "in_flight",
    State.WAITING: "retrying",
    State.GATHERED: "in_job",
    State.HELD: "behind_key",
    State.FINISHED: "unpublished",
}
_STAGES: Mapping[Stage, WaitsFor] = {
    Stage.QUEUED: WaitsFor.CALL,  # it has its slot, and its task has not run yet
    Stage.CALL: WaitsFor.CALL,
    Stage.NEXT_POLL: WaitsFor.NEXT_POLL,
    Stage.QUOTA: WaitsFor.QUOTA,
    Stage.RETRY: WaitsFor.RETRY,
    Stage.RETRY_BUDGET: WaitsFor.RETRY_BUDGET,
    Stage.ASIDE: WaitsFor.HELD,
    Stage.JOB: WaitsFor.JOB,
    Stage.KEY: WaitsFor.KEY,
    Stage.PUBLICATION: WaitsFor.PUBLICATION,
}


def explain(lanes: Iterable[Lane], standing: Standing, process: Process, only: int | None = None) -> Explanation:
    """All partitions, the worst first; or `only` this one (none where it is not among them), in more detail."""
    chosen = [lane for lane in lanes if only is None or lane.partition == only]
    draining = process.state == "draining"
    found = [_partition(lane, standing, draining=draining, in_detail=only is not None) for lane in chosen]
    return Explanation(rfc3339(standing.at), process, tuple(sorted(found, key=_badness)))


def _badness(partition: Partition) -> tuple[bool, bool, float, int]:
    """Stopped ones first, then those that cannot commit, then by how long the watermark has stood."""
    stopped = any(paused.why is WaitsFor.DEAD_LETTERS for paused in partition.paused)
    seconds = partition.watermark_seconds or 0.0
    if partition.watermark is None:
        seconds = max((paused.since_seconds or 0.0 for paused in partition.paused), default=0.0)
    return not stopped, not partition.commits.failures, -seconds, partition.partition


def _partition(lane: Lane, standing: Standing, *, draining: bool, in_detail: bool) -> Partition:
    ledger, paused = lane.ledger, tuple(pauses(lane, standing, draining=draining))
    holder = ledger.oldest if ledger is not None else None
    since = None if holder is None else max(holder.received_at, lane.writer.progress.moved_at)
    shown = _Shown(lane, standing, paused, _heads(ledger) if in_detail and ledger is not None else {})
    records = islice(ledger.entries(), FIRST_RECORDS) if in_detail and ledger is not None else ()
    return Partition(
        topic=lane.topic,
        partition=lane.partition,
        watermark=None if ledger is None else ledger.watermark,
        watermark_seconds=None if since is None else standing.ago(since),
        watermark_at=None if since is None else standing.wall_time(since),
        next_offset=None if ledger is None else ledger.next_offset,
        highest_completed=None if ledger is None else ledger.highest_completed,
        done_above=_done_above(lane) if in_detail else None,
        holder=None if holder is None else shown.waiting(holder),
        behind=_behind(ledger, holder),
        buffered_records=0 if ledger is None else ledger.buffered,
        buffered_bytes=0 if ledger is None else ledger.buffered_bytes,
        metadata_used=0.0 if ledger is None else ledger.metadata_used,
        paused=paused,
        commits=_commits(lane, standing),
        records=tuple(map(shown.waiting, records)),
        jobs=jobs_of(lane, standing, in_detail=in_detail),
    )


def _done_above(lane: Lane) -> int:
    committed = lane.writer.committed
    return 0 if committed is None else len(decode(committed.offset, committed.metadata).done)


def _commits(lane: Lane, standing: Standing) -> Commits:
    writer, progress = lane.writer, lane.writer.progress
    return Commits(
        watermark=None if writer.committed is None else writer.committed.offset,
        committed_seconds=None if progress.committed_at is None else standing.ago(progress.committed_at),
        under_way_seconds=None if progress.busy_since is None else standing.ago(progress.busy_since),
        failures=progress.failures,
        error=progress.error,
    )


def _behind(ledger: Ledger | None, holder: Entry | None) -> Behind:
    if ledger is None:
        return Behind(0, 0, 0, 0, 0)
    counts = {state: ledger.count(state) - (holder is not None and holder.state is state) for state in State}
    return Behind(
        queued=counts[State.READY] + counts[State.BLOCKED],
        same_key=counts[State.BLOCKED],
        in_flight=counts[State.RUNNING],
        retrying=counts[State.WAITING],
        unpublished=counts[State.FINISHED],
        in_jobs=counts[State.GATHERED],
        behind_key=counts[State.HELD],
    )


def _heads(ledger: Ledger) -> dict[bytes, int]:
    """The offset of each key whose turn it is: the first that has not finished."""
    heads: dict[bytes, int] = {}
    for entry in ledger.entries():
        if entry.record.key is not None and entry.state is not State.FINISHED:
            heads.setdefault(entry.record.key, entry.record.offset)
    return heads


@dataclass(frozen=True, slots=True)
class _Shown:
    """How the records of one partition are shown."""

    lane: Lane
    standing: Standing
    paused: tuple[Paused, ...]
    heads: Mapping[bytes, int]

    def waiting(self, entry: Entry) -> Waiting:
        """One record."""
        (waits_for, due), course, standing = self._waits_for(entry), entry.course, self.standing
        job = job_with(self.lane, entry)
        job_id = entry.job_id if job is None else job.intent.job_id
        attempts = entry.jobs_failed if course is None else course.attempts
        fault = None if course is None else course.last_fault
        return Waiting(
            offset=entry.record.offset,
            item_id=self._item_id(entry),
            state=_STATES[entry.state],
            waits_for=waits_for,
            since_seconds=standing.ago(entry.since),
            due_seconds=due,
            predecessor=self.heads.get(entry.record.key or b"") if waits_for in _BEHIND else None,
            attempts=attempts + 1 if job is not None and job_id is not None else max(attempts, job_id is not None),
            last_error=None if fault is None else LastError(fault.kind.value, fault.detail),
            job_id=job_id,
            deadline_seconds=self._deadline(entry) if job is None else deadline_of(job, standing),
            received_seconds=standing.ago(entry.received_at),
            written_at=_wall_time(entry.record.timestamp_ms),
        )

    def _waits_for(self, entry: Entry) -> tuple[WaitsFor, float | None]:
        """What comes next, and in how many seconds, where that is known."""
        lane, standing = self.lane, self.standing
        match entry.state:
            case State.READY | State.BLOCKED if goes_in_job(lane, entry) and lane.may_start:
                return gathering(lane, entry, standing)
            case State.BLOCKED if not goes_in_job(lane, entry):
                return WaitsFor.PREDECESSOR, None
            case State.READY | State.BLOCKED:
                why = next((each.why for each in self.paused if each.what != "fetching"), standing.next)
                return why, standing.due(why)
            case State.GATHERED:  # its stage is older, where an earlier owner has gathered it
                return WaitsFor.JOB, call_due(lane, entry, standing)
            case _:
                why = _STAGES[entry.stage]
                return why, standing.due(why) if entry.until is None else standing.ahead(entry.until)

    def _item_id(self, entry: Entry) -> str | None:
        track = self.standing.decider.read(entry.record)
        return None if isinstance(track, Unreadable) else track.item_id

    def _deadline(self, entry: Entry) -> float | None:
        if entry.state in {State.FINISHED, State.HELD} or entry.course is None or entry.course.first_call_at is None:
            return None
        return max(0.0, entry.course.deadline - self.standing.service.counted(self.standing.now))


def _wall_time(unix_ms: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(unix_ms / 1000, UTC)) if 0 <= unix_ms <= _LAST_TIMESTAMP_MS else None
