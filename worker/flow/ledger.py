"""What has become of every record of one partition: the one owner of that state, and the rules it decides.

- A record is known as incomplete before anything else can see it, and stays so until the transaction that publishes
  its outcome has committed. "Finished" alone moves no watermark.
- The watermark is the lowest incomplete offset; with none, the offset after the last one *delivered*. Offsets have
  gaps (transaction markers, compaction), so nothing is ever computed between two records.
- A record found in the committed done set is never started again. One delivered twice is ignored the second time.
- Records with the same key start one at a time, in offset order; the next may start when its predecessor has
  *finished* (outcomes are published in the order in which they finished). A null key is a key of its own.
- Of what may start, the lowest offset starts first: it holds the watermark.
- Nothing starts beyond the window above the watermark, nor while the commit metadata is three quarters full, nor
  while too much is finished and unpublished: what is started can always be recorded.
- A snapshot changes nothing. Only `committed` does, and only for the snapshot it is given: a publication that failed
  leaves everything as it was, and the same outcomes are published again.
- A sealed ledger ignores completions: the partition is somebody else's.

Not thread-safe; no clock of its own: `now` is monotonic seconds, passed in.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from worker.flow import commit_point
from worker.flow.commit_point import BUDGET_BYTES, CommitPoint
from worker.flow.entry import Batch, Entry, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.domain.record import Message, Record
    from worker.flow.entry import Limits

ADMIT_BELOW = 0.75  # share of the metadata budget in use at which nothing more starts


class Ledger:
    """See the module's rules. `start` is the partition's committed state."""

    def __init__(self, start: CommitPoint, limits: Limits) -> None:
        self._limits = limits
        self._done = set(start.done)
        self._jobs = dict(start.jobs)  # of records not yet delivered again; then they live in their entries
        self._open: dict[int, Entry] = {}
        self._order: deque[int] = deque()  # offsets in delivery order; may begin with offsets no longer open
        self._ready: list[int] = []
        self._keys: dict[bytes, deque[Entry]] = {}
        self._finished: deque[Entry] = deque()
        self._counts = dict.fromkeys(State, 0)
        self._job_bytes = sum(map(commit_point.job_bytes, start.jobs.values()))
        self._jobless_running = 0
        self._jobs_version = self._jobs_committed = 0
        self._committed = start.watermark
        self._highest_done = max(start.done, default=start.watermark - 1)
        self.next_offset = start.watermark
        self.buffered_bytes = 0
        self.sealed = False

    def __repr__(self) -> str:
        counts = " ".join(f"{state.value}={count}" for state, count in self._counts.items() if count)
        return f"<Ledger watermark={self.watermark} next={self.next_offset} {counts}>"

    # What stands here now.

    def count(self, state: State) -> int:
        """Incomplete records in this state."""
        return self._counts[state]

    @property
    def buffered(self) -> int:
        """Records that wait for a call or are in one. What only waits for its commit does not count."""
        return len(self._open) - self._counts[State.FINISHED]

    @property
    def watermark(self) -> int:
        """The lowest incomplete offset, or the offset after the last one delivered."""
        while self._order and self._order[0] not in self._open:
            self._order.popleft()
        return self._order[0] if self._order else self.next_offset

    @property
    def oldest(self) -> Entry | None:
        """The record that holds the watermark."""
        return self._open.get(self.watermark)

    @property
    def highest_completed(self) -> int | None:
        """The highest offset whose decision is published and committed; None if that is nowhere above the start."""
        return self._highest_done if self._highest_done >= 0 else None

    @property
    def metadata_used(self) -> float:
        """Upper bound of the share of the commit metadata in use, with what is running reserved for."""
        span = max(0, self._highest_done + 1 - self._committed, self.next_offset - self._committed)
        done = commit_point.done_bytes(len(self._done) + self._counts[State.FINISHED], min(span, self._limits.window))
        reserve = self._jobless_running * self._limits.job_reserve_bytes
        return (done + self._job_bytes + reserve) / BUDGET_BYTES

    @property
    def in_purchase(self) -> int:
        """Running records whose purchase nobody but this process knows of: no job id, so no other owner could go on."""
        return self._jobless_running

    @property
    def unpublished(self) -> bool:
        """Whether a transaction is due: outcomes to publish, or jobs to record or to forget."""
        return bool(self._finished) or self._jobs_version != self._jobs_committed

    def entries(self) -> Iterator[Entry]:
        """Every incomplete record, lowest offset first."""
        return iter(self._open.values())

    # What comes in.

    def receive(self, records: Iterable[Record], now: float) -> None:
        """Register delivered records as incomplete, except those already done or already known."""
        for record in records:
            offset = record.offset
            if offset < self.next_offset:
                continue
            self.next_offset = offset + 1
            if offset not in self._done:
                self._register(Entry(record, now, self._jobs.pop(offset, None)))
        for offset in [offset for offset in self._jobs if offset < self.next_offset]:  # compacted: never to be decided
            self._job_bytes -= commit_point.job_bytes(self._jobs.pop(offset))
            self._jobs_version += 1

    def _register(self, entry: Entry) -> None:
        offset, key = entry.record.offset, entry.record.key
        self._open[offset] = entry
        self._order.append(offset)
        self._counts[State.BLOCKED] += 1
        self.buffered_bytes += entry.size_bytes
        if key is not None:
            queue = self._keys.setdefault(key, deque())
            queue.append(entry)
            if len(queue) > 1:
                return
        self._make_ready(entry)

    # What starts and what becomes of it.

    def start(self) -> Entry | None:
        """Take the lowest startable record into RUNNING; None where nothing may start now."""
        if not self._may_start():
            return None
        entry = self._open[heapq.heappop(self._ready)]
        self._move(entry, State.RUNNING)
        self._jobless_running += entry.job_id is None
        return entry

    def _may_start(self) -> bool:
        return bool(
            not self.sealed
            and self._ready
            and self._ready[0] < self.watermark + self._limits.window
            and self._counts[State.FINISHED] < self._limits.unpublished
            and self._has_space_for(self._open[self._ready[0]])
        )

    def _has_space_for(self, entry: Entry) -> bool:
        """Whether the metadata bears one more.

        What is paid for already may always go on; and where nothing runs, one may: the full metadata belongs to
        records behind this one, and waiting for them would be for ever.
        """
        return entry.job_id is not None or self._counts[State.RUNNING] == 0 or self.metadata_used < ADMIT_BELOW

    def note_job(self, entry: Entry, job_id: str | None) -> None:
        """Record the job that was bought for a running record, or (None) that it is lost."""
        if self._is_stale(entry, State.RUNNING):
            return
        self._jobless_running += (job_id is None) - (entry.job_id is None)
        self._forget_job(entry)
        if job_id is not None:
            entry.job_id = job_id
            self._job_bytes += commit_point.job_bytes(job_id)
            self._jobs_version += 1

    def wait(self, entry: Entry) -> None:
        """RUNNING -> WAITING: its next attempt comes later; the slot is free."""
        if not self._is_stale(entry, State.RUNNING):
            self._leave_running(entry, State.WAITING)

    def resume(self, entry: Entry) -> None:
        """WAITING or RUNNING -> READY: it may start (again)."""
        if entry.state is State.WAITING and not self._is_stale(entry, State.WAITING):
            self._make_ready(entry)
        elif not self._is_stale(entry, State.RUNNING):
            self._leave_running(entry, State.BLOCKED)
            self._make_ready(entry)

    def finish(self, entry: Entry, message: Message) -> bool:
        """RUNNING -> FINISHED with the message to publish; False if the completion came too late to count."""
        if self._is_stale(entry, State.RUNNING):
            return False
        entry.message = message
        self.buffered_bytes += message.size_bytes - entry.size_bytes
        entry.size_bytes = message.size_bytes
        self._leave_running(entry, State.FINISHED)
        self._finished.append(entry)
        self._release_key(entry)
        return True

    def _leave_running(self, entry: Entry, state: State) -> None:
        self._jobless_running -= entry.job_id is None
        self._move(entry, state)

    def _release_key(self, entry: Entry) -> None:
        key = entry.record.key
        if key is None:
            return
        queue = self._keys[key]
        queue.popleft()
        if queue:
            self._make_ready(queue[0])
        else:
            del self._keys[key]

    def _make_ready(self, entry: Entry) -> None:
        self._move(entry, State.READY)
        heapq.heappush(self._ready, entry.record.offset)

    def _move(self, entry: Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _is_stale(self, entry: Entry, state: State) -> bool:
        return self.sealed or entry.state is not state or self._open.get(entry.record.offset) is not entry

    def _forget_job(self, entry: Entry) -> None:
        if entry.job_id is not None:
            self._job_bytes -= commit_point.job_bytes(entry.job_id)
            self._jobs_version += 1
            entry.job_id = None

    # What is published and committed.

    def snapshot(self, *, empty: bool = False) -> Batch | None:
        """What the next transaction is to publish; None with nothing to say, unless `empty`. Changes nothing."""
        if self.sealed or not (self.unpublished or empty):
            return None
        entries = tuple(self._take())
        published = {entry.record.offset for entry in entries}
        watermark = self._watermark_without(published)
        done = frozenset(offset for offset in self._done | published if offset >= watermark)
        return Batch(
            entries,
            tuple(entry.message for entry in entries if entry.message is not None),
            CommitPoint(watermark, done, self._jobs_without(published)),
            self._jobs_version,
        )

    def _take(self) -> Iterator[Entry]:
        """Finished records in the order in which they finished, within the bounds of one transaction."""
        size = 0
        for entry in islice(self._finished, self._limits.batch_records):
            size += entry.size_bytes
            if size > self._limits.batch_bytes and size > entry.size_bytes:
                return
            yield entry

    def _watermark_without(self, published: set[int]) -> int:
        for offset in self._order:
            if offset in self._open and offset not in published:
                return offset
        return self.next_offset

    def _jobs_without(self, published: set[int]) -> dict[int, str]:
        if self._job_bytes == 0:
            return {}
        jobs = {offset: job_id for offset, job_id in self._jobs.items() if offset >= self.next_offset}
        for offset, entry in self._open.items():
            if entry.job_id is not None and offset not in published:
                jobs[offset] = entry.job_id
        return jobs

    def committed(self, batch: Batch) -> None:
        """The batch's transaction has committed: its records are done."""
        for entry in batch.entries:
            self._finished.popleft()
            self._counts[State.FINISHED] -= 1
            self.buffered_bytes -= entry.size_bytes
            if entry.job_id is not None:  # the same commit dropped it from the metadata
                self._job_bytes -= commit_point.job_bytes(entry.job_id)
            del self._open[entry.record.offset]
        self._committed = batch.commit.watermark
        self._done = {offset for offset in batch.commit.done if offset >= self.watermark}
        self._highest_done = max((self._highest_done, *(entry.record.offset for entry in batch.entries)))
        self._jobs_committed = batch.jobs_version

    def seal(self) -> int:
        """End: nothing starts, finishes or commits any more. Returns how many records were running."""
        self.sealed = True
        return self._counts[State.RUNNING]
