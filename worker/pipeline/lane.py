"""One assignment of one partition: its ledger, its publisher, its commit point, and its own end.

- One writer: only `_publish` uses the publisher, under the lock; revocation and shutdown hurry it, never bypass it.
- An outcome is kept until its transaction has committed. After any failure a new publisher settles what became of
  the old one's transaction, and the commit point is read: where it is what we tried to commit, the batch is done;
  where it is what we had committed before, the same batch is published again; anything else was written by another
  owner, and this lane ends as fenced. So no analysis is bought twice because a transaction failed, and no doubt about
  a commit becomes a repeated decision.
- Suspended (between revocation and assignment) a lane starts nothing, but what runs goes on and is published.
- A lane in doubt (the process stood still) starts nothing until a transaction of its own, empty if need be, has
  committed: a fence says no before a call is paid for.
- A lane that comes back is readmitted only if the commit point is still the one it wrote: otherwise another owner has
  been here, and a new lane begins from what that one left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from worker.flow.commit_point import CommitPoint, decode, encode
from worker.flow.ledger import Ledger
from worker.flow.publication import Committed, FencedError, PublishFailedError, SourceFailedError
from worker.pipeline.facts import CommitFinished, LaneSealed, RecordsReceived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Literal

    from worker.domain.record import Message, Record
    from worker.flow.entry import Batch, Entry, Limits
    from worker.pipeline.facts import Observe
    from worker.pipeline.ports import Publisher, Source

Answer = TypeVar("Answer")
RECOVERY_SECONDS = 1.0  # pause before a new publisher: long enough for a fence to show as a rebalance


class Lane:
    """See the module's rules. `on_lost` is called once if another owner has taken the partition."""

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        source: Source,
        new_publisher: Callable[[int], Publisher],
        limits: Limits,
        commit_interval_seconds: float,
        observe: Observe,
        on_lost: Callable[[Lane], None],
    ) -> None:
        self.topic, self.partition = topic, partition
        self._source, self._new_publisher = source, new_publisher
        self._publisher: Publisher | None = None
        self._limits, self._interval = limits, commit_interval_seconds
        self._observe, self._on_lost = observe, on_lost
        self._loop = asyncio.get_running_loop()
        self._lock, self._fenced = asyncio.Lock(), False
        self._work, self._hurry = asyncio.Event(), asyncio.Event()
        self._settled, self._assigned = asyncio.Event(), asyncio.Event()
        self._doubts = self._proved = 0  # in doubt while they differ
        self._next_publication_at = float("-inf")
        self.committed: Committed | None = None
        self._stay: object | None = None  # of the current assignment; a deferred step checks that its own still stands
        self._high_records = self._high_bytes = 1
        self.ledger: Ledger | None = None
        self.paused, self.flowing, self.sealed = True, False, False

    def __repr__(self) -> str:
        return f"<Lane {self.topic}/{self.partition} flowing={self.flowing} {self.ledger!r}>"

    # Life: open, publish until sealed.

    async def run(self) -> None:
        """Open the partition and publish until the lane is sealed."""
        try:
            await self._open()
            while not self.sealed:
                await self._due()
                await self._publish()
        finally:
            if self._publisher is not None:
                await self._publisher.close()

    async def _open(self) -> None:
        """Become the partition's writer, and begin where the last one left."""
        self._stay = stay = object()
        self._assigned.set()
        start = await self._insisting(self._read_start)
        if start is None or self._stay is not stay:
            return
        self.ledger = Ledger(start, self._limits)
        if self.committed is None and start.watermark > 0:  # commit it first: with "latest" a crash would skip some
            self.doubt()
        await self._flow()

    async def _read_start(self) -> CommitPoint:
        self.committed = committed = await self._take_over()
        if committed is not None:
            return decode(committed.offset, committed.metadata)
        return CommitPoint(await self._source.seek(self.partition, None))

    async def _take_over(self) -> Committed | None:
        """Replace the publisher by a new one, which settles the old one's transaction; then read the commit point."""
        if self._publisher is not None:
            await self._publisher.close()
        self._publisher = self._new_publisher(self.partition)
        await self._publisher.start()
        return await self._source.committed(self.partition)

    async def _insisting(self, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Ask Kafka until it answers; None when the lane has been sealed meanwhile."""
        while not self.sealed:
            try:
                return await ask()
            except (PublishFailedError, FencedError, SourceFailedError) as exc:
                self._observe(CommitFinished(self.partition, "failed", 0, 0.0, str(exc)))
            await asyncio.sleep(RECOVERY_SECONDS)
        return None

    async def _flow(self) -> None:
        if self.ledger is None or self.sealed:
            return
        await self._source.seek(self.partition, self.ledger.next_offset)
        self._source.resume(self.partition)
        self.paused, self.flowing = False, True
        self.changed()

    def suspend(self, *, assigned: bool = False) -> None:
        """Start nothing more: we stop, or (not assigned) the partition may go elsewhere. What runs goes on."""
        self._stay, self.flowing, self.paused = None, False, True
        self._source.pause(self.partition)
        if not assigned:
            self._assigned.clear()
        self._hurry.set()
        self._settled.set()

    async def readmit(self) -> None:
        """The partition came back: go on, unless another owner has committed in between."""
        self._stay = stay = object()
        self._assigned.set()
        async with self._lock:
            committed = await self._insisting(lambda: self._source.committed(self.partition))
            if self._stay is not stay or self.sealed:
                return
            if committed != self.committed:
                self._lose()
                return
            await self._flow()

    def seal(self, cause: Literal["moved", "fenced", "stopped"]) -> None:
        """End: completions from now on are no-ops; the publication in progress fails or is nobody's."""
        if self.sealed:
            return
        self.sealed, self.flowing = True, False
        dropped = self.ledger.seal() if self.ledger is not None else 0
        self._observe(LaneSealed(self.partition, cause, dropped))
        for waited_for in (self._work, self._hurry, self._settled, self._assigned):
            waited_for.set()

    def _lose(self) -> None:
        self.seal("fenced")
        self._on_lost(self)

    # Records and their outcomes.

    def bound(self, records: int, size_bytes: int) -> None:
        """Set how much may wait here; fetching pauses above it and resumes below half of it."""
        self._high_records, self._high_bytes = records, size_bytes

    def receive(self, records: Sequence[Record]) -> None:
        """Register fetched records."""
        if self.ledger is None or not self.flowing:
            return  # fetched under an older assignment: the seek of the new one reads them again
        self.ledger.receive(records, self._loop.time())
        self._observe(RecordsReceived(self.partition, len(records), sum(record.size_bytes for record in records)))
        if self.ledger.buffered >= self._high_records or self.ledger.buffered_bytes >= self._high_bytes:
            self._source.pause(self.partition)
            self.paused = True

    def start(self) -> Entry | None:
        """The next record to be analysed."""
        if self.ledger is None or not self.flowing or self._proved < self._doubts:
            return None
        entry = self.ledger.start()
        self._relieve()
        return entry

    def doubt(self) -> None:
        """Prove that the partition is ours before going on: the process stood still for long enough to lose it."""
        if self.ledger is not None and not self.sealed:
            self._doubts += 1
            self._work.set()
            self._hurry.set()

    def finish(self, entry: Entry, message: Message) -> None:
        """An outcome is ready to be published; ignored if the lane has been sealed."""
        if self.ledger is not None and self.ledger.finish(entry, message):
            self.changed()

    def changed(self) -> None:
        """The ledger may have something to commit, or nothing left to wait for."""
        if self.ledger is None or self.sealed:
            return
        if self.ledger.unpublished:
            self._work.set()
        elif self.ledger.in_purchase == 0:
            self._settled.set()

    def _relieve(self) -> None:
        ledger = self.ledger
        if not self.paused or not self.flowing or ledger is None:
            return
        if ledger.buffered <= self._high_records // 2 and ledger.buffered_bytes <= self._high_bytes // 2:
            self._source.resume(self.partition)
            self.paused = False

    # Publication.

    async def settled(self) -> None:
        """Wait until nothing runs that only this process knows of, and all outcomes are published.

        A job that was accepted and recorded in the commit metadata need not be waited for: the next owner polls it.
        A suspended lane that was fenced has nothing to wait for: only a new assignment can settle it.
        """
        while self._is_unsettled():
            self._settled.clear()
            await self._settled.wait()

    def _is_unsettled(self) -> bool:
        if self.sealed or self.ledger is None or (self._fenced and not self._assigned.is_set()):
            return False
        return self.ledger.in_purchase > 0 or self.ledger.unpublished

    async def _due(self) -> None:
        await self._work.wait()
        self._work.clear()
        delay = self._next_publication_at - self._loop.time()
        if self.flowing:
            self._hurry.clear()
        if delay > 0 and not self._hurry.is_set():
            try:
                async with asyncio.timeout(delay):  # 3.11's wait_for can swallow a cancellation
                    await self._hurry.wait()
            except TimeoutError:
                return

    async def _publish(self) -> None:
        async with self._lock:
            doubts = self._doubts
            batch = self.ledger.snapshot(empty=self._proved < doubts) if self.ledger is not None else None
            if batch is None or self._publisher is None:
                return
            self._next_publication_at = self._loop.time() + self._interval
            wanted = Committed(batch.commit.watermark, encode(batch.commit))
            if await self._attempt(self._publisher, batch, wanted) or await self._settle(batch, wanted):
                self._apply(batch, wanted, doubts)

    async def _attempt(self, publisher: Publisher, batch: Batch, wanted: Committed) -> bool:
        started, error = self._loop.time(), None
        outcome: Literal["committed", "failed", "fenced"] = "committed"
        try:
            await publisher.publish(batch.messages, wanted)
        except FencedError as exc:
            outcome, error = "fenced", str(exc)
        except PublishFailedError as exc:
            outcome, error = "failed", str(exc)
        self._fenced = outcome == "fenced"
        seconds = self._loop.time() - started
        self._observe(CommitFinished(self.partition, outcome, len(batch.messages), seconds, error))
        return outcome == "committed"

    async def _settle(self, batch: Batch, wanted: Committed) -> bool:
        """Find out what became of a publication that failed, and repeat it until it is known to be committed."""
        while not self.sealed:
            self._settled.set()
            await asyncio.sleep(RECOVERY_SECONDS)
            if self._fenced:  # by another owner, or by a transaction time-out: only our assignment tells which
                await self._assigned.wait()
            committed = await self._insisting(self._take_over)
            self._fenced = False
            if self.sealed or committed == wanted:
                return not self.sealed
            if committed != self.committed:
                self._lose()
                return False
            if self._publisher is not None and await self._attempt(self._publisher, batch, wanted):
                return True
        return False

    def _apply(self, batch: Batch, wanted: Committed, doubts: int) -> None:
        if self.ledger is None or self.sealed:
            return
        self.ledger.committed(batch)
        self._proved = doubts
        self.committed = wanted
        self._relieve()
        self.changed()
