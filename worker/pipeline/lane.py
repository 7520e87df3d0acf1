"""One assignment of one partition: its ledger, its writer, and its own end.

- Only `_publish` uses the writer, under the lock; revocation and shutdown hurry it, never bypass it.
- Suspended (between revocation and assignment) a lane starts nothing, but what runs goes on and is published.
- A lane in doubt (the process stood still) starts nothing until a transaction of its own, empty if need be, has
  committed: a fence says no before a call is paid for.
- A lane that comes back is readmitted only if the commit point is still the one it wrote: otherwise another owner has
  been here, and a new lane begins from what that one left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.flow.dead_letters import StopRule
from worker.flow.entry import Stage
from worker.flow.ledger import Ledger
from worker.flow.mode import Mode
from worker.pipeline.ending import is_asked_to_end
from worker.pipeline.facts import LaneSealed, PartitionStopped, RecordsReceived
from worker.pipeline.writer import Published, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from worker.domain.record import Message, Record
    from worker.flow.dead_letters import StopPolicy
    from worker.flow.entry import Entry, Limits
    from worker.flow.job_book import JobBook
    from worker.flow.mode import ModeChooser
    from worker.pipeline.facts import Observe
    from worker.pipeline.ports import Publisher, Source


class Lane:
    """See the module's rules.

    `on_lost` is called once if another owner has taken the partition, `on_room` whenever something more may start.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        *,
        source: Source,
        new_publisher: Callable[[int], Publisher],
        limits: Limits,
        commit_interval_seconds: float,
        stop_policy: StopPolicy,
        new_book: Callable[[int, Ledger], JobBook] | None,
        observe: Observe,
        on_lost: Callable[[Lane], None],
        on_room: Callable[[], None],
    ) -> None:
        self.topic, self.partition = topic, partition
        self._source = source
        self.limits = limits
        self._interval = commit_interval_seconds
        self._observe = observe
        self._on_lost, self._on_room = on_lost, on_room
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._work, self._hurry, self._settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._doubts = self._proved = 0  # in doubt while they differ
        self._next_publication_at = float("-inf")
        self._stay: object | None = None  # of the current assignment; a deferred step checks that its own still stands
        self._high_records = self._high_bytes = 1
        self.writer = Writer(
            partition, source=source, new_publisher=new_publisher, observe=observe, on_failure=self._settled.set
        )
        self.burials = StopRule(stop_policy)
        self._new_book = new_book
        self.ledger: Ledger | None = None
        self.book: JobBook | None = None  # of jobs of many tracks, where there are such
        self.mode = Mode.DIRECT
        self.chooser: ModeChooser | None = None  # what the mode goes by, where there is a choice
        self.paused, self.flowing, self.sealed = True, False, False
        # Since when it stands still, where it does: all of it, its fetching, in doubt, stopped.
        self.suspended_at = self.paused_at = self.doubted_at = self.stopped_at = self._loop.time()

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
        except asyncio.CancelledError as exc:
            if is_asked_to_end():
                raise
            # Its task group would take it for an end that somebody asked for.
            raise RuntimeError(f"partition {self.partition} was cancelled by nobody") from exc
        finally:
            await self.writer.close()

    async def _open(self) -> None:
        """Become the partition's writer, and begin where the last one left."""
        self._stay = stay = object()
        self.writer.assigned.set()
        start = await self.writer.start()
        if start is None or self._stay is not stay:
            return
        self.ledger = Ledger(start, self.limits, with_intents=self._new_book is not None)
        self.book = self._new_book(self.partition, self.ledger) if self._new_book is not None else None
        if self.writer.committed is None and start.watermark > 0:  # with "latest" a crash now would skip some
            self.doubt()
        await self._flow()

    async def _flow(self) -> None:
        if self.ledger is None or self.sealed:
            return
        await self._source.seek(self.partition, self.ledger.next_offset)
        self._source.resume(self.partition)
        self.paused, self.flowing = False, True
        self.changed()
        self._on_room()

    def suspend(self, *, assigned: bool = False) -> None:
        """Start nothing more: we stop, or (not assigned) the partition may go elsewhere. What runs goes on."""
        if self.flowing:
            self.suspended_at = self._loop.time()
        self._stay, self.flowing, self.paused = None, False, True
        self._source.pause(self.partition)
        if not assigned:
            self.writer.assigned.clear()
        self._hurry.set()
        self._settled.set()

    async def readmit(self) -> None:
        """The partition came back: go on, unless another owner has committed in between."""
        self._stay = stay = object()
        self.writer.assigned.set()
        async with self._lock:
            ours = await self.writer.is_still_ours()
            if self._stay is not stay or self.sealed:
                return
            if ours:
                await self._flow()
            else:
                self._lose()

    def seal(self, cause: Literal["moved", "fenced", "stopped"]) -> None:
        """End: completions from now on are no-ops; the publication in progress fails or is nobody's."""
        if self.sealed:
            return
        self.sealed, self.flowing = True, False
        dropped = self.ledger.seal() if self.ledger is not None else 0
        self._observe(LaneSealed(self.partition, cause, dropped))
        self.writer.end()
        for waited_for in (self._work, self._hurry, self._settled):
            waited_for.set()

    def _lose(self) -> None:
        self.seal("fenced")
        self._on_lost(self)

    # Records and their outcomes.

    def bound(self, records: int, size_bytes: int) -> None:
        """Set how much may wait here; fetching pauses above it and resumes below half of it."""
        self._high_records, self._high_bytes = records, size_bytes

    @property
    def marks(self) -> tuple[int, int]:
        """Records and bytes at which fetching pauses."""
        return self._high_records, self._high_bytes

    @property
    def in_doubt(self) -> bool:
        """Whether it has yet to prove that the partition is still ours."""
        return self._proved < self._doubts

    def receive(self, records: Sequence[Record]) -> None:
        """Register fetched records."""
        if self.ledger is None or not self.flowing:
            return  # fetched under an older assignment: the seek of the new one reads them again
        self.ledger.receive(records, self._loop.time())
        self._observe(RecordsReceived(self.partition, len(records), sum(record.size_bytes for record in records)))
        if self._is_full(self.ledger) and not self.ledger.purchases.awaits(self.ledger.next_offset):
            self._source.pause(self.partition)
            self.paused_at = self.paused_at if self.paused else self._loop.time()
            self.paused = True

    def _is_full(self, ledger: Ledger) -> bool:
        return ledger.buffered >= self._high_records or ledger.buffered_bytes >= self._high_bytes

    @property
    def may_start(self) -> bool:
        """Whether anything of this partition may start now, one by one or in a job."""
        return self.flowing and not (self.in_doubt or self.burials.stopped or self.publish_error)

    @property
    def publish_error(self) -> str | None:
        """Why nothing of this partition can be published, where that has failed more than once in a row."""
        progress = self.writer.progress
        return progress.error if progress.failures > 1 else None

    def start(self) -> Entry | None:
        """The next record to be analysed."""
        if self.ledger is None or not self.may_start:
            return None
        entry = self.ledger.start(only_alone=self.mode is Mode.BULK)
        self._relieve()
        return entry

    def doubt(self) -> None:
        """Prove that the partition is ours before going on: the process stood still for long enough to lose it."""
        if self.ledger is not None and not self.sealed:
            self.doubted_at = self.doubted_at if self.in_doubt else self._loop.time()
            self._doubts += 1
            self._work.set()
            self._hurry.set()

    def saw(self, *, readable: bool) -> None:
        """A record that starts is an event, or is none and is buried; too many of those stop the partition."""
        if readable:
            self.burials.read()
        elif self.burials.buried() and self.burials.stopped is not None:
            stopped, self.stopped_at = self.burials.stopped, self._loop.time()
            self._observe(PartitionStopped(self.partition, stopped.buried, stopped.records, stopped.in_a_row))

    def finish(self, entry: Entry, message: Message) -> None:
        """An outcome is ready to be published; ignored if the lane has been sealed."""
        if self.ledger is not None and self.ledger.finish(entry, message):
            entry.note(Stage.PUBLICATION, self._loop.time())
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
        while self.is_unsettled:
            self._settled.clear()
            await self._settled.wait()

    @property
    def is_unsettled(self) -> bool:
        """Whether another owner would do again what runs or waits here."""
        if self.sealed or self.ledger is None or self.writer.is_stranded:
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
            batch = self.ledger.snapshot(empty=self.in_doubt) if self.ledger is not None else None
            if batch is None or self.ledger is None:
                return
            self._next_publication_at = self._loop.time() + self._interval
            outcome = await self.writer.publish(batch)
            if outcome is Published.LOST:
                self._lose()
            elif outcome is Published.COMMITTED and not self.sealed:
                self.ledger.committed(batch)
                self._proved = doubts
                self._relieve()
                self.changed()
                self._on_room()
