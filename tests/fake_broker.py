"""The broker in memory: input partitions, commit points, transactions, and what is visible at read_committed.

- A transactional id (one per input partition) has an epoch. Initialising a producer raises it, and aborts what is
  open; whoever holds an older epoch is fenced at every step. An open transaction is aborted so by time-out, too.
- Messages and commit point of a transaction become visible together, when it commits, or never; whoever asks for the
  commit point may be shown it a moment late.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.fake_group import FakeGroup
from worker.domain.record import Record
from worker.flow.publication import FencedError

if TYPE_CHECKING:
    from worker.domain.record import Headers, Message
    from worker.flow.publication import Committed

TOPIC = "submitted"
TRANSACTION_SECONDS = 10.0
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
