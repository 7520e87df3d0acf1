"""The one writer of a lane: its publisher of the moment, the commit point it has written, and how doubt is settled.

- An outcome is kept until its transaction has committed. After any failure a new publisher settles what became of
  the old one's transaction, and the commit point is read: where it is what we tried to commit, the batch is done;
  where it is what we had committed before, the same batch is published again; anything else was written by another
  owner, and the partition is lost. So no analysis is bought twice because a transaction failed, and no doubt about a
  commit becomes a repeated decision.
- A fence comes from another owner or from a transaction time-out, and only our assignment tells which: without one,
  nothing is settled.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from worker.flow.commit_point import CommitPoint, decode, encode
from worker.flow.publication import Committed, FencedError, PublishFailedError, SourceFailedError
from worker.pipeline.facts import CommitFinished, TracksCommitted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Literal

    from worker.flow.entry import Batch
    from worker.pipeline.facts import Observe
    from worker.pipeline.ports import Publisher, Source

Answer = TypeVar("Answer")
RECOVERY_SECONDS = 1.0  # pause before a new publisher: long enough for a fence to show as a rebalance
LATE_SECONDS = 0.05  # before the commit point is read again where the broker may not show the last one yet


class Published(Enum):
    """How a publication ended."""

    COMMITTED = "committed"
    LOST = "lost"  # another owner has committed
    ENDED = "ended"  # the lane was sealed meanwhile


class Progress:
    """How the commits of one partition go. Times are the loop's, None: never, or not now; only its writer writes it."""

    __slots__ = ("busy_since", "committed_at", "error", "failures", "moved_at")

    def __init__(self) -> None:
        self.committed_at: float | None = None  # by this writer
        self.moved_at = float("-inf")  # when the committed offset last changed
        self.busy_since: float | None = None  # of the publication that is under way
        self.failures = 0  # in a row
        self.error: str | None = None  # of the last of them

    def began(self, now: float) -> None:
        """The commit point was read."""
        self.moved_at = now
        self.went_well()

    def failed(self, error: str) -> None:
        """Kafka did not do what it was asked for."""
        self.failures += 1
        self.error = error

    def went_well(self) -> None:
        """It does again."""
        self.failures, self.error = 0, None

    def committed(self, now: float, *, moved: bool) -> None:
        """A transaction of ours has committed."""
        self.committed_at = now
        self.moved_at = now if moved else self.moved_at
        self.went_well()


class Writer:
    """See the module's rules. `on_failure` is called whenever a publication has failed and is to be settled."""

    def __init__(
        self,
        partition: int,
        *,
        source: Source,
        new_publisher: Callable[[int], Publisher],
        observe: Observe,
        on_failure: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._source = source
        self._new_publisher = new_publisher
        self._observe = observe
        self._on_failure = on_failure
        self._publisher: Publisher | None = None
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()
        self._fenced = False
        self.assigned = asyncio.Event()
        self.committed: Committed | None = None
        self._committed_before: Committed | object | None = object()  # equal to nothing that could be read
        self.progress = Progress()

    def __repr__(self) -> str:
        return f"<Writer {self._partition} committed={self.committed} fenced={self._fenced} ended={self._end.is_set()}>"

    @property
    def is_stranded(self) -> bool:
        """Fenced and without an assignment: there is nothing to wait for until one comes."""
        return self._fenced and not self.assigned.is_set()

    def end(self) -> None:
        """Settle nothing more; what is under way returns ENDED."""
        self._end.set()
        self.assigned.set()
        for wait in self._waits:
            wait.reschedule(self._loop.time())

    async def close(self) -> None:
        """Give up the publisher."""
        if self._publisher is not None:
            await self._publisher.close()

    async def start(self) -> CommitPoint | None:
        """Become the partition's writer; returns where the last one left, None if ended meanwhile."""
        start = await self._insisting(self._read_start)
        self.progress.began(self._loop.time())
        return start

    async def _read_start(self) -> CommitPoint:
        self.committed = committed = await self._take_over()
        if committed is not None:
            return decode(committed.offset, committed.metadata)
        return CommitPoint(await self._until_ended(self._source.seek(self._partition, None)))

    async def is_still_ours(self) -> bool:
        """Whether the commit point is the one we wrote. Asks until Kafka answers, or until ended.

        A broker may show what our last transaction committed a moment late. Only the last one: a transaction cannot
        begin before its predecessor has ended everywhere. And nobody but us ever wrote the one before the last.
        """
        found = await self._insisting(self._read_committed)
        while found != self.committed and found == self._committed_before and not self._end.is_set():
            await asyncio.sleep(LATE_SECONDS)
            found = await self._insisting(self._read_committed)
        self.progress.went_well()
        return found == self.committed

    async def publish(self, batch: Batch) -> Published:
        """Publish and commit the batch, whatever it takes."""
        wanted = Committed(batch.commit.watermark, encode(batch.commit))
        self.progress.busy_since = began = self._loop.time()
        if self._publisher is not None and await self._attempt(self._publisher, batch, wanted):
            outcome = Published.COMMITTED
        else:
            outcome = await self._settle(batch, wanted)
        self.progress.busy_since = None
        if outcome is Published.COMMITTED:
            moved = self.committed is None or self.committed.offset != wanted.offset
            self.progress.committed(self._loop.time(), moved=moved)
            self._committed_before, self.committed = self.committed, wanted
            if batch.entries:
                written = tuple(entry.record.timestamp_ms for entry in batch.entries)
                traces = tuple(entry.trace for entry in batch.entries)
                self._observe(TracksCommitted(self._partition, written, traces, self._loop.time() - began))
        return outcome

    async def _attempt(self, publisher: Publisher, batch: Batch, wanted: Committed) -> bool:
        started, error = self._loop.time(), None
        outcome: Literal["committed", "failed", "fenced"] = "committed"
        try:
            await publisher.publish(batch.messages, wanted)
        except FencedError as exc:
            outcome, error = "fenced", str(exc)
        except PublishFailedError as exc:
            outcome, error = "failed", str(exc)
        if error is not None:
            self.progress.failed(error)
        self._fenced = outcome == "fenced"
        seconds = self._loop.time() - started
        self._observe(CommitFinished(self._partition, outcome, len(batch.messages), seconds, error))
        return outcome == "committed"

    async def _settle(self, batch: Batch, wanted: Committed) -> Published:
        """Find out what became of a publication that failed, and repeat it until it is known to be committed."""
        while not self._end.is_set():
            self._on_failure()
            await asyncio.sleep(RECOVERY_SECONDS)
            if self._fenced:
                await self.assigned.wait()
            committed = await self._insisting(self._take_over)
            self._fenced = False
            if self._end.is_set():
                break
            if committed == wanted:
                return Published.COMMITTED
            if committed != self.committed:
                return Published.LOST
            if self._publisher is not None and await self._attempt(self._publisher, batch, wanted):
                return Published.COMMITTED
        return Published.ENDED

    async def _take_over(self) -> Committed | None:
        """Replace the publisher by a new one, which settles the old one's transaction; then read the commit point."""
        if self._publisher is not None:
            await self._publisher.close()
        if self._end.is_set():  # sealed while the old one closed: a new one would fence the next owner
            return None
        self._publisher = self._new_publisher(self._partition)
        await self._publisher.start()  # to its own bound: aiokafka, cancelled here, would leave a connection open
        return await self._read_committed()

    async def _read_committed(self) -> Committed | None:
        return await self._until_ended(self._source.committed(self._partition))

    async def _until_ended(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for what the source was asked, but not beyond our end; then raise TimeoutError.

        It may never come: a client that was closed meanwhile, since the process stops, asks again until it gives up.
        """
        async with asyncio.timeout(0 if self._end.is_set() else None) as wait:
            self._waits.add(wait)
            try:
                return await answer
            finally:
                self._waits.discard(wait)

    async def _insisting(self, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Ask Kafka until it answers; None when ended."""
        while not self._end.is_set():
            try:
                return await ask()
            except TimeoutError:
                if not self._end.is_set():
                    raise
            except (PublishFailedError, FencedError, SourceFailedError) as exc:
                self.progress.failed(str(exc))
                self._observe(CommitFinished(self._partition, "failed", 0, 0.0, str(exc)))
                await asyncio.sleep(RECOVERY_SECONDS)
        return None
