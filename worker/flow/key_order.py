"""Records with the same key, in offset order: which of them is first. A null key is a key of its own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.flow.entry import Entry


class KeyOrder:
    """The unfinished records of every key."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[bytes, deque[Entry]] = {}

    def __repr__(self) -> str:
        return f"<KeyOrder keys={len(self._queues)}>"

    def add(self, entry: Entry) -> None:
        """Put a record behind those with its key."""
        if entry.record.key is not None:
            self._queues.setdefault(entry.record.key, deque()).append(entry)

    def is_first(self, entry: Entry) -> bool:
        """Whether no earlier record with its key is unfinished."""
        key = entry.record.key
        return key is None or self._queues[key][0] is entry

    def release(self, entry: Entry) -> Entry | None:
        """Take out the first record of its key; returns who is first now."""
        key = entry.record.key
        if key is None:
            return None
        queue = self._queues[key]
        queue.popleft()
        if queue:
            return queue[0]
        del self._queues[key]
        return None
