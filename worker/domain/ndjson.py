"""Lines out of chunks: NDJSON as it arrives, in memory a chunk and at most one line of bounded length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line that is longer than the bound; `head` is its beginning, the rest is thrown away as it comes."""

    head: bytes = field(repr=False)


class Lines:
    """Feed it chunks, then ask once for the `rest`. Lines that hold nothing but white space are none."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<Lines pending={self._size}>"

    def feed(self, chunk: bytes) -> Iterator[bytes | Overlong]:
        """Give every line that this chunk ends."""
        *ended, begun = chunk.split(b"\n")
        for part in ended:
            self._keep(part)
            yield from self.rest()
        self._keep(begun)

    def rest(self) -> Iterator[bytes | Overlong]:
        """Give what came after the last line end, and begin a new line."""
        line, size = b"".join(self._parts), self._size
        self._parts, self._size = [], 0
        if size > self._max_bytes:
            yield Overlong(line)
        elif line and not line.isspace():
            yield line

    def _keep(self, part: bytes) -> None:
        room = self._max_bytes - self._size
        if part and room > 0:
            self._parts.append(part[:room])
        self._size += len(part)
