"""The incomplete records of one partition by state, and their moves from one state to another.

- Records with the same key start one at a time, in offset order; the next may start when its predecessor has
  *finished*. A null key is a key of its own. In a job of many tracks they go together, and whose result is known before
  its predecessor's is HELD: it is decided when that one has finished.
- Of what may start, the lowest offset starts first: it holds the watermark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.flow.entry import State
from worker.flow.key_order import KeyOrder
from worker.flow.ready import Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from worker.domain.record import Message
    from worker.flow.entry import Entry
    from worker.flow.job_intent import Intent


class States:
    """See the module's rules. `jobless_running` counts RUNNING records without a job: nobody else knows of them."""

    __slots__ = ("_counts", "_keys", "_ready", "buffered_bytes", "entries", "jobless_running")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}  # by offset, in offset order
        self._keys = KeyOrder()
        self._ready = Ready(self.entries)
        self._counts = dict.fromkeys(State, 0)
        self.jobless_running = 0
        self.buffered_bytes = 0

    def __repr__(self) -> str:
        return " ".join(f"{state.value}={count}" for state, count in self._counts.items() if count) or "empty"

    def count(self, state: State) -> int:
        """Records in this state."""
        return self._counts[state]

    def has(self, entry: Entry, *states: State) -> bool:
        """Whether it is the record at its offset, in one of these states."""
        return entry.state in states and self.entries.get(entry.record.offset) is entry

    def add(self, entry: Entry, *, gathered: bool) -> None:
        """Register a record; `gathered`: a job of many tracks has it already."""
        self.entries[entry.record.offset] = entry
        entry.alone = entry.job_id is not None  # it is bought already
        self._counts[State.BLOCKED] += 1
        self.buffered_bytes += entry.size_bytes
        self._keys.add(entry)
        if gathered:
            self._move(entry, State.GATHERED)
        else:
            self._queue(entry)

    def remove(self, entry: Entry) -> None:
        """FINISHED -> done."""
        self._counts[State.FINISHED] -= 1
        self.buffered_bytes -= entry.size_bytes
        del self.entries[entry.record.offset]

    # One by one.

    def lowest(self, *, only_alone: bool) -> Entry | None:
        """The next to start; `only_alone`: of those that go into no job of many tracks."""
        return self._ready.lowest(only_alone=only_alone)

    def run(self, entry: Entry) -> None:
        """READY -> RUNNING. It may be bought now, so it goes into no job any more."""
        self._move(entry, State.RUNNING)
        entry.alone = True
        self.jobless_running += entry.job_id is None

    def wait(self, entry: Entry) -> None:
        """RUNNING -> WAITING."""
        self._leave_running(entry)
        self._move(entry, State.WAITING)

    def resume(self, entry: Entry) -> None:
        """WAITING or RUNNING -> READY: it is the first of its key since it started."""
        if entry.state is State.RUNNING:
            self._leave_running(entry)
        self._make_ready(entry)

    def is_first(self, entry: Entry) -> bool:
        """Whether no earlier record with its key is unfinished."""
        return self._keys.is_first(entry)

    def finish(self, entry: Entry, message: Message) -> Entry | None:
        """RUNNING, GATHERED or HELD -> FINISHED, as the first of its key. Returns the one that is to be decided now."""
        if entry.state is State.RUNNING:
            self._leave_running(entry)
        entry.message, entry.decide = message, None
        self.buffered_bytes += message.size_bytes - entry.size_bytes
        entry.size_bytes = message.size_bytes
        self._move(entry, State.FINISHED)
        first = self._keys.release(entry)
        if first is not None and first.state is State.BLOCKED:
            self._make_ready(first)
        return first if first is not None and first.state is State.HELD else None

    def hold(self, entry: Entry, decide: Callable[[], None]) -> None:
        """GATHERED -> HELD: its result is known, an earlier record with its key has no outcome."""
        entry.decide = decide
        self._move(entry, State.HELD)

    # In jobs of many tracks.

    def gatherable(self) -> Iterator[Entry]:
        """What may go into a job, lowest offset first; an earlier record of its key may be elsewhere."""
        for entry in self.entries.values():
            if entry.state in (State.READY, State.BLOCKED) and not entry.alone:
                yield entry

    def gather(self, entries: Iterable[Entry]) -> None:
        """READY or BLOCKED -> GATHERED."""
        for entry in entries:
            self._move(entry, State.GATHERED)

    def gathered(self, intent: Intent) -> list[Entry]:
        """The records of a set that have been delivered and have no outcome yet, lowest offset first."""
        return [each for each in self.entries.values() if each.state is State.GATHERED and _is_of(intent, each)]

    def gathered_at(self, intent: Intent, offset: int) -> Entry | None:
        """The record at this offset, where it waits for this set's job."""
        entry = self.entries.get(offset)
        return entry if entry is not None and entry.state is State.GATHERED and _is_of(intent, entry) else None

    def ungather(self, entry: Entry) -> None:
        """GATHERED -> READY, or BLOCKED: it was not bought, or in vain."""
        self._move(entry, State.BLOCKED)
        self._queue(entry)

    def leave_alone(self, entry: Entry) -> None:
        """Let a record that has not started go into no job."""
        if entry.state in (State.READY, State.BLOCKED) and not entry.alone:
            entry.alone = True
            if entry.state is State.READY:
                self._ready.push(entry)

    # Moves.

    def _queue(self, entry: Entry) -> None:
        """BLOCKED -> READY, unless an earlier record with its key is unfinished."""
        if self._keys.is_first(entry):
            self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        self._move(entry, State.READY)
        self._ready.push(entry)

    def _leave_running(self, entry: Entry) -> None:
        self.jobless_running -= entry.job_id is None

    def _move(self, entry: Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state


def _is_of(intent: Intent, entry: Entry) -> bool:
    return intent.covers(entry.record.offset)
