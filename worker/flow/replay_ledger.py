"""Which events were submitted again: the record that makes a replay happen at most once.

Rules that this module alone decides:

- It is kept in a compacted topic of its own, written in the same transaction as what is replayed. Not in the offset
  metadata of a group: brokers forget the offsets of a group without members after seven days, dead letters live longer.
- One entry stands for `BLOCK` offsets of one partition of the input topic. Key: `topic/partition/first offset`. Value:
  the done set above that offset, in the text form of flow/commit_point.py, checksum included. A block's size is that
  module's `WINDOW`, so every set fits; there is no bound on how many blocks there are.
- An entry is written whole, so the latest of a key says everything and compaction loses nothing.
- An entry that cannot be read is refused, never skipped: going on would replay twice.

Memory: the offsets that were ever replayed and are not compacted away, some 100 bytes each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.domain.replay import Origin
from worker.flow.commit_point import WINDOW, CommitPoint, MetadataError, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BLOCK = WINDOW
_KEY = re.compile(rb"([a-zA-Z0-9._-]{1,249})/([0-9]{1,10})/([0-9]{1,19})")
_MARK = "ti"
_SUFFIX = "-replayed"


def ledger_topic(source: str) -> str:
    """Name the topic that remembers what was replayed from this one."""
    return source + _SUFFIX


class LedgerError(Exception):
    """An entry of the ledger cannot be read; the text says what it holds, not where it is."""


class ReplayLedger:
    """The entries by block."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: dict[Origin, set[int]] = {}

    def __repr__(self) -> str:
        return f"<ReplayLedger blocks={len(self._blocks)} events={sum(map(len, self._blocks.values()))}>"

    def __contains__(self, origin: Origin) -> bool:
        return origin.offset in self._blocks.get(_block(origin), ())

    def learn(self, key: bytes | None, value: bytes | None) -> None:
        """Take one entry of the topic. Raises LedgerError, and nothing changed."""
        block = _parsed(key)
        done = _done(block.offset, value)
        self._blocks.setdefault(block, set()).update(done)

    def entries(self, origins: Iterable[Origin]) -> Mapping[bytes, bytes]:
        """Write the entries under which these are replayed as well; nothing changes here yet."""
        added: dict[Origin, set[int]] = {}
        for origin in origins:
            added.setdefault(_block(origin), set()).add(origin.offset)
        return {
            f"{block.topic}/{block.partition}/{block.offset}".encode(): self._entry(block, offsets)
            for block, offsets in added.items()
        }

    def _entry(self, block: Origin, offsets: set[int]) -> bytes:
        done = frozenset(offsets | self._blocks.get(block, set()))
        return encode(CommitPoint(block.offset, done)).encode("ascii")


def _block(origin: Origin) -> Origin:
    return Origin(origin.topic, origin.partition, origin.offset - origin.offset % BLOCK)


def _parsed(key: bytes | None) -> Origin:
    found = _KEY.fullmatch(key or b"")
    if found is None or int(found[3]) % BLOCK:
        raise LedgerError("its key is not that of a block")
    return Origin(found[1].decode("ascii"), int(found[2]), int(found[3]))


def _done(first: int, value: bytes | None) -> frozenset[int]:
    try:
        text = (value or b"").decode("ascii")
        point = decode(first, text)
    except (UnicodeDecodeError, MetadataError) as exc:
        raise LedgerError("its set of offsets is damaged, cut, or of another version of the worker") from exc
    if not text.startswith(_MARK):  # the decoder takes a foreign text for an empty set
        raise LedgerError("its value is not a set of offsets")
    if any(offset >= first + BLOCK for offset in point.done):
        raise LedgerError("its set reaches beyond its block")
    return point.done
