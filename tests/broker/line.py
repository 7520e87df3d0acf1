"""One direction of the traffic with one broker: the faults in force, and when bytes may pass under them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

CHUNK_BYTES = 65_536
SLICES_PER_SECOND = 20  # a narrow line passes small pieces, not a chunk after seconds of nothing


class Way(Enum):
    """A direction."""

    TO_BROKER = "to_broker"
    FROM_BROKER = "from_broker"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes on their way, empty at their end; taken `at` (the loop's clock), `jitter` is drawn once, 0-1."""

    data: bytes = field(repr=False)
    at: float
    jitter: float


class Line:
    """Wait with `readable` before taking bytes and with `passes` before handing them on; in order, by its nature."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._changed = asyncio.Event()
        self.passed_bytes = 0
        self.heal()

    def heal(self) -> None:
        """End all faults."""
        self._held = self._unread = False
        self._delay_seconds = self._jitter_seconds = self._free_at = 0.0
        self._bytes_per_second = float("inf")
        self._change()

    def hold(self, *, read: bool) -> None:
        """Hand on nothing; `read`: take bytes all the same."""
        self._held, self._unread = True, not read
        self._change()

    def delay(self, seconds: float, jitter_seconds: float) -> None:
        self._delay_seconds, self._jitter_seconds = seconds, jitter_seconds
        self._change()

    def limit(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._change()

    def _change(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def chunk_bytes(self) -> int:
        """How much to take at once."""
        return int(min(CHUNK_BYTES, max(1, self._bytes_per_second / SLICES_PER_SECOND)))

    def chunk(self, data: bytes) -> Chunk:
        return Chunk(data, asyncio.get_running_loop().time(), self._draw.random())

    async def readable(self) -> None:
        """Wait until bytes may be taken."""
        while self._unread:
            await self._changed.wait()

    async def passes(self, chunk: Chunk) -> None:
        """Wait until the chunk may be handed on; the faults may change meanwhile."""
        loop = asyncio.get_running_loop()
        while self._held or self._due(chunk) > loop.time():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if self._held else self._due(chunk)):
                    await self._changed.wait()
        self._free_at = loop.time()
        self.passed_bytes += len(chunk.data)

    def _due(self, chunk: Chunk) -> float:
        arrives = chunk.at + self._delay_seconds + self._jitter_seconds * chunk.jitter
        return max(arrives, self._free_at) + len(chunk.data) / self._bytes_per_second
