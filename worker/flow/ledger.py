"""What has become of every record of one partition: the one owner of that state, and the rules it decides.

- A record is known as incomplete before anything else can see it, and stays so until the transaction that publishes
  its outcome has committed. "Finished" alone moves no watermark.
- The watermark is the lowest incomplete offset; with none, the offset after the last one *delivered*. Offsets have
  gaps (transaction markers, compaction), so nothing is ever computed between two records.
- A record found in the committed done set is never started again. One delivered twice is ignored the second time.
- Records of one key keep their order (`states`): outcomes are published in the order in which they finished.
- Nothing starts beyond the window above the watermark, nor while the commit metadata is three quarters full, nor
  while too much is finished and unpublished: what is started can always be recorded.
- An intent stays in the commit point until all of its records are done by that same commit; a record that an intent
  claims starts in no other way.
- A snapshot changes nothing. Only `committed` does, and only for the snapshot it is given: a publication that failed
  leaves everything as it was, and the same outcomes are published again.
- A sealed ledger ignores completions: the partition is somebody else's.

Not thread-safe; no clock of its own: `now` is monotonic seconds, passed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from worker.flow import commit_point
from worker.flow.commit_point import BUDGET_BYTES, CommitPoint
from worker.flow.entry import Batch, Entry, State
from worker.flow.purchases import Purchases
from worker.flow.states import States

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from worker.domain.record import Message, Record
    from worker.flow.entry import Limits
    from worker.flow.job_intent import Intent

ADMIT_BELOW = 0.75  # share of the metadata budget in use at which nothing more starts


class Ledger:
    """See the module's rules. `start` is the partition's committed state.

    Without `with_intents` those found are dropped: nobody here could do anything for them.
    """

    def __init__(self, start: CommitPoint, limits: Limits, *, with_intents: bool = True) -> None:
        self.limits = limits
        self.states = States()
        self.purchases = Purchases(start if with_intents else replace(start, intents=()))
        self._done = set(start.done)
        self._open = self.states.entries
        self._order: deque[int] = deque()  # offsets in delivery order; may begin with offsets no longer open
        self._finished: deque[Entry] = deque()
        self.freed: deque[Entry] = deque()  # HELD, and to be decided now
        self._committed = start.watermark
        self._highest_done = max(start.done, default=start.watermark - 1)
        self.next_offset = start.watermark
        self.sealed = False

    def __repr__(self) -> str:
        return f"<Ledger watermark={self.watermark} next={self.next_offset} {self.states!r}>"

    # What stands here now.

    def count(self, state: State) -> int:
        """Incomplete records in this state."""
        return self.states.count(state)

    @property
    def buffered(self) -> int:
        """Records that wait for a call or are in one. What only waits for its commit does not count."""
        return len(self._open) - self.count(State.FINISHED)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the records that wait, and of the outcomes of those that do not any more."""
        return self.states.buffered_bytes

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
    def done_above(self) -> int:
        """Offsets that are committed as done one by one, above the watermark."""
        return len(self._done)

    @property
    def metadata_used(self) -> float:
        """Upper bound of the share of the commit metadata in use, with what is running reserved for."""
        span = max(0, self._highest_done + 1 - self._committed, self.next_offset - self._committed)
        done = commit_point.done_bytes(len(self._done) + self.count(State.FINISHED), min(span, self.limits.window))
        reserve = self.states.jobless_running * self.limits.job_reserve_bytes
        return (done + self.purchases.size_bytes + reserve) / BUDGET_BYTES

    @property
    def in_purchase(self) -> int:
        """Running records whose purchase nobody but this process knows of: no job id, so no other owner could go on."""
        return self.states.jobless_running

    @property
    def unpublished(self) -> bool:
        """Whether a transaction is due: outcomes to publish, or jobs and intents to record or to forget."""
        return bool(self._finished) or self.purchases.version != self.purchases.committed

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
                self._order.append(offset)
                entry = Entry(record, now, self.purchases.deliver(offset))
                self.states.add(entry, gathered=self.purchases.claims(offset))
        self.purchases.delivered_below(self.next_offset)

    # What starts and what becomes of it.

    def start(self, *, only_alone: bool = False) -> Entry | None:
        """Take the lowest startable record into RUNNING; None where nothing may start now.

        `only_alone`: all others are left for a job of many tracks.
        """
        entry = self.states.lowest(only_alone=only_alone)
        if entry is None or not self._may_start(entry):
            return None
        self.states.run(entry)
        return entry

    def _may_start(self, entry: Entry) -> bool:
        return bool(
            not self.sealed
            and self.is_in_window(entry)
            and self.count(State.FINISHED) < self.limits.unpublished
            and self._has_space_for(entry)
        )

    def is_in_window(self, entry: Entry) -> bool:
        """Whether the done set could speak of it."""
        return entry.record.offset < self.watermark + self.limits.window

    def _has_space_for(self, entry: Entry) -> bool:
        """Whether the metadata bears one more.

        What is paid for already may always go on; and where nothing runs, one may: the full metadata belongs to
        records behind this one, and waiting for them would be for ever.
        """
        return entry.job_id is not None or self.count(State.RUNNING) == 0 or self.metadata_used < ADMIT_BELOW

    def note_job(self, entry: Entry, job_id: str | None) -> None:
        """Record the job that was bought for a running record, or (None) that it is lost."""
        if not self._is_stale(entry, State.RUNNING):
            self.states.jobless_running += (job_id is None) - (entry.job_id is None)
            self.purchases.bought(entry, job_id)

    def wait(self, entry: Entry) -> None:
        """RUNNING -> WAITING: its next attempt comes later; the slot is free."""
        if not self._is_stale(entry, State.RUNNING):
            self.states.wait(entry)

    def resume(self, entry: Entry) -> None:
        """WAITING or RUNNING -> READY: it may start (again)."""
        if not self._is_stale(entry, State.WAITING, State.RUNNING):
            self.states.resume(entry)

    def finish(self, entry: Entry, message: Message) -> bool:
        """RUNNING, GATHERED or HELD -> FINISHED with the message to publish; the first of its key only.

        False if the completion came too late to count.
        """
        if self._is_stale(entry, State.RUNNING, State.GATHERED, State.HELD):
            return False
        freed = self.states.finish(entry, message)
        if freed is not None:
            self.freed.append(freed)
        self._finished.append(entry)
        return True

    def _is_stale(self, entry: Entry, *states: State) -> bool:
        return self.sealed or not self.states.has(entry, *states)

    # What is published and committed.

    def snapshot(self, *, empty: bool = False) -> Batch | None:
        """What the next transaction is to publish; None with nothing to say, unless `empty`. Changes nothing."""
        if self.sealed or not (self.unpublished or empty):
            return None
        entries = tuple(self._take())
        published = {entry.record.offset for entry in entries}
        watermark = self._watermark_without(published)
        point = CommitPoint(
            watermark,
            frozenset(offset for offset in self._done | published if offset >= watermark),
            self.purchases.jobs(self._open, self.next_offset, without=published),
            self._intents_without(published),
        )
        messages = tuple(entry.message for entry in entries if entry.message is not None)
        return Batch(entries, messages, point, self.purchases.version)

    def _take(self) -> Iterator[Entry]:
        """Finished records in the order in which they finished, within the bounds of one transaction."""
        size = 0
        for entry in islice(self._finished, self.limits.batch_records):
            size += entry.size_bytes
            if size > self.limits.batch_bytes and size > entry.size_bytes:
                return
            yield entry

    def _watermark_without(self, published: set[int]) -> int:
        for offset in self._order:
            if offset in self._open and offset not in published:
                return offset
        return self.next_offset

    def _intents_without(self, published: Collection[int]) -> tuple[Intent, ...]:
        return tuple(intent for intent in self.purchases.intents if self.is_open(intent, published))

    def is_open(self, intent: Intent, published: Collection[int] = ()) -> bool:
        """Whether the set has records that are not done, or not delivered yet."""
        undone = (offset for offset in self._open if offset not in published)
        return intent.last >= self.next_offset or any(map(intent.covers, undone))

    def committed(self, batch: Batch) -> None:
        """The batch's transaction has committed: its records are done."""
        for entry in batch.entries:
            self._finished.popleft()
            self.purchases.decided(entry)
            self.states.remove(entry)
        self._committed = batch.commit.watermark
        self._done = {offset for offset in batch.commit.done if offset >= self.watermark}
        self._highest_done = max((self._highest_done, *(entry.record.offset for entry in batch.entries)))
        self.purchases.keep(self._intents_without(()))
        self.purchases.committed = batch.jobs_version

    def seal(self) -> int:
        """End: nothing starts, finishes or commits any more. Returns how many records' purchase only we knew of."""
        self.sealed = True
        self.freed.clear()
        return self.in_purchase
