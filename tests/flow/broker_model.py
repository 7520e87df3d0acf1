"""A broker that keeps the rules of one partition: its log, its group's commit point, and what was published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from worker.domain.record import Message, Record
from worker.flow.commit_point import METADATA_LIMIT, WINDOW, decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.flow.ledger_model import Owner
    from worker.flow.commit_point import CommitPoint
    from worker.flow.entry import Batch, Entry

JOB_IDS = st.one_of(
    st.uuids().map(str),
    st.sampled_from(["j", "\ud800", "x" * 256, "\N{GRINNING FACE}" * 256, "\N{CJK STROKE T}" * 256]),
)


def record_at(offset: int, key: bytes | None = None, size: int = 1) -> Record:
    return Record("in", 0, offset, 0, key, b"x" * size, ())


def outcome_of(entry: Entry, size: int = 0) -> Message:
    return Message("out", entry.record.key, b"%d" % entry.record.offset + b" " * size, ())


@dataclass
class Broker:
    """One partition: its log, the group's commit point as text, its one legitimate owner, and what was published."""

    first: int
    log: dict[int, Record] = field(default_factory=dict)
    published: dict[int, None] = field(default_factory=dict)  # a set in the order of publication
    owner: Owner | None = None

    def __post_init__(self) -> None:
        self.committed = (self.first, "")
        self.end = self.first

    def append(self, gap: int, key: bytes | None, size: int) -> None:
        self.end += gap
        self.log[self.end] = record_at(self.end, key, size)
        self.end += 1

    def fetch(self, position: int, count: int) -> list[Record]:
        return [record for offset, record in self.log.items() if offset >= position][:count]

    def apply(self, owner: Owner, batch: Batch, text: str) -> bool:
        """A transaction: all or nothing, and nothing of a fenced owner."""
        if owner is not self.owner:
            return False
        for entry, message in zip(batch.entries, batch.messages, strict=True):
            self._publish(entry.record, message)
        self._commit(batch.commit, text)
        return True

    def _publish(self, record: Record, message: Message) -> None:
        assert int(message.value or b"") == record.offset
        assert record.offset not in self.published, "published twice"
        for earlier in self.log.values():
            if record.key is not None and earlier.key == record.key and earlier.offset < record.offset:
                assert earlier.offset in self.published, "overtook its key's earlier record"
        self.published[record.offset] = None

    def _commit(self, point: CommitPoint, text: str) -> None:
        assert point.watermark >= self.committed[0], "the watermark went back"
        assert all(offset in self.published for offset in self.log if offset < point.watermark), "lost"
        assert point.done == {offset for offset in self.published if offset >= point.watermark}
        assert all(offset - point.watermark < WINDOW for offset in point.done)
        assert len(text) <= METADATA_LIMIT
        assert decode(point.watermark, text).done == point.done
        self.committed = (point.watermark, text)


def numbered(first: int, count: int, key: bytes | None = None) -> Iterable[Record]:
    return (record_at(offset, key) for offset in range(first, first + count))
