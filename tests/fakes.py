"""A broker, a source and publishers in memory that obey the rules of the real ones, in virtual time.

- A transactional id (one per input partition) has an epoch. Initialising a producer raises it, and aborts what is
  open; whoever holds an older epoch is fenced at every step. An open transaction is aborted so by time-out, too.
- Messages and commit point of a transaction become visible together, when it commits, or never.
- A failure of any kind ends a publisher: using it again is its owner's bug, an AssertionError.
- The group (fake_group.py) is eager: every change of members revokes everything, waits for all who answer within
  the rebalance time-out, and hands all partitions out anew by range, paused, positions reset to what is committed. A
  member that was expelled goes on fetching until it learns it (lost=True).
- Broker calls of a process that was killed never return, and change nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.fake_group import FakeGroup
from tests.virtual_time import elapse
from worker.domain.record import Record
from worker.flow.publication import Committed, FencedError, PublishFailedError, SourceFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

    from worker.domain.record import Headers, Message
    from worker.pipeline.ports import Rebalanced

TOPIC = "submitted"
STEP_SECONDS = 0.002
AWAY_SECONDS = 3.0  # a call to a broker that is away gives up
FETCH_SECONDS = 0.5
FETCH_RECORDS = 40
TRANSACTION_SECONDS = 10.0
HEARTBEAT_SECONDS = 0.3
EPOCH_MS = 1_700_000_000_000


class Step(StrEnum):
    """The steps of a publication, in order."""

    BEGIN = "begin"
    SEND = "send"
    OFFSETS = "offsets"
    COMMIT = "commit"


class Way(StrEnum):
    """How a step goes wrong."""

    FAILS = "fails"  # without effect
    REPLY_LOST = "reply_lost"  # with its effect
    FENCED_AFTER = "fenced_after"  # with its effect, and the answer is that of a fence
    STALLS = "stalls"  # for longer than a transaction may be open


@dataclass(slots=True)
class Transaction:
    """An open transaction of one transactional id."""

    epoch: int
    expiry: asyncio.TimerHandle
    messages: tuple[Message, ...] = ()
    commit: Committed | None = None


class FakeBroker:
    """Input partitions, the group's commit points, transactions, and what is visible at read_committed."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.input: dict[int, list[Record]] = {partition: [] for partition in range(partitions)}
        self.committed: dict[int, Committed] = {}
        self.history: dict[int, list[Committed]] = defaultdict(list)
        self.visible: list[Message] = []
        self.epochs: dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.open: dict[int, Transaction] = {}
        self.faults: dict[int, deque[tuple[Step, Way]]] = defaultdict(deque)
        self.away = False
        self.shows_commits_after_seconds = 0.0
        self.committed_at: dict[int, float] = dict.fromkeys(range(partitions), float("-inf"))
        self.group = FakeGroup(partitions)
        self.arrived = asyncio.Event()

    def __repr__(self) -> str:
        return f"<FakeBroker visible={len(self.visible)} {self.group!r}>"

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, *, headers: Headers = (), gap: int = 0
    ) -> int:
        """Deliver one record, `gap` offsets after the last one; returns its offset."""
        log = self.input[partition]
        offset = (log[-1].offset + 1 if log else 0) + gap
        log.append(Record(TOPIC, partition, offset, EPOCH_MS + offset, key, value, headers))
        self.arrived.set()
        return offset

    def initialise(self, transactional: int) -> int:
        """Give out the next epoch; what an older one has open is aborted."""
        self.epochs[transactional] += 1
        self.committed_at[transactional] = float("-inf")  # it waits until the last one shows
        opened = self.open.pop(transactional, None)
        if opened is not None:
            opened.expiry.cancel()
        return self.epochs[transactional]

    def check(self, transactional: int, epoch: int) -> None:
        """Refuse an older epoch."""
        if epoch != self.epochs[transactional]:
            raise FencedError("ProducerFenced")

    def begin(self, transactional: int, epoch: int) -> None:
        self.check(transactional, epoch)
        assert transactional not in self.open, "one transaction at a time"
        expiry = asyncio.get_running_loop().call_later(TRANSACTION_SECONDS, self.initialise, transactional)
        self.open[transactional] = Transaction(epoch, expiry)

    def commit(self, transactional: int, epoch: int) -> None:
        """Make the open transaction visible."""
        self.check(transactional, epoch)
        opened = self.open.pop(transactional)
        opened.expiry.cancel()
        assert opened.commit
        self.visible.extend(opened.messages)
        self.committed[transactional] = opened.commit
        self.history[transactional].append(opened.commit)
        self.committed_at[transactional] = asyncio.get_running_loop().time()

    def shown(self, partition: int) -> Committed | None:
        """Show the commit point, the one before the last for a moment after a commit."""
        past = [None, *self.history[partition]]
        late = asyncio.get_running_loop().time() < self.committed_at[partition] + self.shows_commits_after_seconds
        return past[-2] if late else self.committed.get(partition)


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
