"""A source and publishers in memory that obey the rules of the real ones, in virtual time.

- The broker itself is in fake_broker.py.
- A failure of any kind ends a publisher: using it again is its owner's bug, an AssertionError.
- The group (fake_group.py) is eager: every change of members revokes everything, waits for all who answer within
  the rebalance time-out, and hands all partitions out anew by range, paused, positions reset to what is committed. A
  member that was expelled goes on fetching until it learns it (lost=True).
- Broker calls of a process that was killed never return, and change nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.fake_broker import TRANSACTION_SECONDS, Step, Way
from tests.virtual_time import elapse
from worker.flow.publication import Committed, FencedError, PublishFailedError, SourceFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from tests.fake_broker import FakeBroker
    from worker.domain.record import Message, Record
    from worker.pipeline.ports import Rebalanced

STEP_SECONDS = 0.002
AWAY_SECONDS = 3.0  # a call to a broker that is away gives up
FETCH_SECONDS = 0.5
FETCH_RECORDS = 40
HEARTBEAT_SECONDS = 0.3


class FakePublisher:
    """The transactional writer of one partition; `source` is the process it lives and dies with."""

    def __init__(self, broker: FakeBroker, source: FakeSource, partition: int) -> None:
        self._broker, self._source, self._partition = broker, source, partition
        self._epoch: int | None = None
        self._failed = False

    async def start(self) -> None:
        await self._source.reach(PublishFailedError)
        self._epoch = self._broker.initialise(self._partition)

    async def publish(self, messages: Sequence[Message], commit: Committed) -> None:
        assert self._epoch is not None, "started first"
        assert not self._failed, "a failure of any kind ends a publisher"
        self._failed = True
        faults = self._broker.faults[self._partition]
        step, way = faults.popleft() if faults else (None, None)
        for each in Step:
            await self._do(each, way if each is step else None, tuple(messages), commit)
        self._failed = False

    async def _do(self, step: Step, way: Way | None, messages: tuple[Message, ...], commit: Committed) -> None:
        await self._source.reach(PublishFailedError)
        if way is Way.STALLS:
            await elapse(TRANSACTION_SECONDS + 1)
        if way is Way.FAILS:
            raise PublishFailedError(f"KafkaError at {step}")
        self._apply(step, messages, commit)
        if way is Way.REPLY_LOST:
            raise PublishFailedError(f"TimeoutError at {step}")
        if way is Way.FENCED_AFTER:
            raise FencedError("ProducerFenced")

    def _apply(self, step: Step, messages: tuple[Message, ...], commit: Committed) -> None:
        broker, transactional, epoch = self._broker, self._partition, self._epoch
        assert epoch is not None
        if step is Step.BEGIN:
            broker.begin(transactional, epoch)
            return
        broker.check(transactional, epoch)
        if step is Step.SEND:
            broker.open[transactional].messages = messages
        elif step is Step.OFFSETS:
            broker.open[transactional].commit = commit
        else:
            broker.commit(transactional, epoch)

    async def close(self) -> None:
        """Abort what is open; a broker that is away aborts it by its own time-out."""
        broker, opened = self._broker, self._broker.open.get(self._partition)
        if opened is not None and opened.epoch == self._epoch and not broker.away and not self._source.dead:
            opened.expiry.cancel()
            del broker.open[self._partition]


class FakeSource:
    """One member of the group, and the network of its process."""

    def __init__(self, broker: FakeBroker, name: str = "member") -> None:
        self.name, self.partitions = name, broker.partitions
        self.owned: frozenset[int] = frozenset()
        self.paused: set[int] = set()
        self.dead = False  # its process was killed
        self.stopped = False  # it left the group
        self.joining = False  # between a revocation and the next assignment nothing is fetched
        self.lost = False  # it was expelled and does not know it yet
        self.gone = asyncio.Event()
        self.rebalanced: Rebalanced | None = None
        self._broker = broker
        self._positions: dict[int, int] = {}
        self._fault: BaseException | None = None

    def __repr__(self) -> str:
        return f"<FakeSource {self.name} {sorted(self.owned)}>"

    async def reach(self, error: type[Exception]) -> None:
        """Go to the broker; where it is away, wait for nothing and raise."""
        await elapse(STEP_SECONDS)
        if self.dead:
            await asyncio.get_running_loop().create_future()
        if self._broker.away:
            await elapse(AWAY_SECONDS)
            raise error("the broker is away")

    async def start(self, rebalanced: Rebalanced) -> None:
        self.rebalanced = rebalanced
        self._broker.group.join(self)

    async def stop(self) -> None:
        self._broker.group.leave(self)
        await elapse(STEP_SECONDS)

    async def fetch(self) -> Sequence[tuple[int, Sequence[Record]]]:
        await elapse(STEP_SECONDS)
        batches = []
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                while not (batches := self._take()):
                    self._broker.arrived.clear()
                    await self._broker.arrived.wait()
        except TimeoutError:
            pass
        if self._fault is not None:
            raise self._fault
        return batches

    def _take(self) -> list[tuple[int, Sequence[Record]]]:
        if self._broker.away or self.dead or self.joining:
            return []
        wanted = sorted(self._positions.keys() & self.owned - self.paused)
        found = [(partition, self._next(partition)) for partition in wanted]
        return [(partition, records) for partition, records in found if records]

    def _next(self, partition: int) -> Sequence[Record]:
        position = self._positions[partition]
        records = [record for record in self._broker.input[partition] if record.offset >= position][:FETCH_RECORDS]
        if records:
            self._positions[partition] = records[-1].offset + 1
        return records

    async def committed(self, partition: int) -> Committed | None:
        await self.reach(SourceFailedError)
        return self._broker.shown(partition)

    async def seek(self, partition: int, offset: int | None) -> int:
        if offset is None:
            await self.reach(SourceFailedError)
        if partition not in self.owned:
            raise SourceFailedError("cannot seek: not assigned")
        self._positions[partition] = offset or 0
        self._broker.arrived.set()
        return offset or 0

    def end(self, partition: int) -> int | None:
        log = self._broker.input[partition]
        return log[-1].offset + 1 if log else 0

    def pause(self, partition: int) -> None:
        if partition in self.owned:
            self.paused.add(partition)

    def resume(self, partition: int) -> None:
        if partition in self.owned:
            self.paused.discard(partition)
            self._broker.arrived.set()

    # Called by the group.

    async def revoke(self) -> None:
        """A heartbeat tells of the rebalance; what the owner is told is awaited. Nobody is told twice."""
        await elapse(HEARTBEAT_SECONDS)
        if self.dead:
            await asyncio.get_running_loop().create_future()
        if self.joining:
            return
        lost, self.lost, self.joining = self.lost, False, True
        if self.rebalanced is not None and self.owned and not self.stopped:
            await self._guarded(self.rebalanced.revoked(sorted(self.owned), lost=lost))

    async def assign(self, partitions: Collection[int]) -> None:
        """Take a new assignment: everything is paused before anything else happens."""
        await elapse(STEP_SECONDS)
        if self.dead or self.stopped or self.rebalanced is None:
            return
        self.owned, self.paused, self.joining = frozenset(partitions), set(partitions), False
        committed = self._broker.committed
        self._positions = {each: committed[each].offset if each in committed else 0 for each in partitions}
        await self._guarded(self.rebalanced.assigned(sorted(partitions)))

    async def _guarded(self, callback: Awaitable[None]) -> None:
        try:
            await callback
        except BaseException as exc:
            self._fault = self._fault or exc
            raise
