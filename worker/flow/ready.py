"""What may start, lowest offset first; apart from the others, what goes into no job of many tracks."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from worker.flow.entry import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.flow.entry import Entry


class Ready:
    """Heaps of offsets. Those that are not READY any more, or not open, are skipped when they come up."""

    __slots__ = ("_alone", "_open", "_others")

    def __init__(self, entries: Mapping[int, Entry]) -> None:
        self._open = entries
        self._alone: list[int] = []
        self._others: list[int] = []

    def __repr__(self) -> str:
        return f"<Ready alone={len(self._alone)} others={len(self._others)}>"

    def __len__(self) -> int:
        return len(self._alone) + len(self._others)

    def push(self, entry: Entry) -> None:
        """Note a record that has become READY, or that has become one that goes alone."""
        heapq.heappush(self._alone if entry.alone else self._others, entry.record.offset)

    def lowest(self, *, only_alone: bool = False) -> Entry | None:
        """The next to start."""
        alone, other = self._top(self._alone), self._top(self._others)  # both: heaps that nobody looks at only grow
        tops = (alone,) if only_alone else (alone, other)
        return min((entry for entry in tops if entry is not None), key=_offset, default=None)

    def _top(self, heap: list[int]) -> Entry | None:
        while heap:
            entry = self._open.get(heap[0])
            if entry is not None and entry.state is State.READY:
                return entry
            heapq.heappop(heap)
        return None


def _offset(entry: Entry) -> int:
    return entry.record.offset
