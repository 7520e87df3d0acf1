"""As much of Kafka's wire format as a proxy needs to tell which request a reply belongs to.

Both directions are frames behind a length of four bytes. A request begins with its number (`api_key`), and a broker
answers the requests of one connection in their order; so no id need be compared. Producing with acks=0 has no reply:
a connection that does that is not understood.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH_BYTES = 4
HEAD_BYTES = LENGTH_BYTES + 2  # the length and a request's number; any reply is longer, too

END_TXN = 26
TXN_OFFSET_COMMIT = 28
PRODUCE = 0
FETCH = 1
JOIN_GROUP = 11
HEARTBEAT = 12


class _Frames:
    """Finds the heads of frames in a stream that comes in pieces."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._body_left = 0

    def heads(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Each head that ends in this piece, with the position after it."""
        position = 0
        while position < len(data):
            if self._body_left:
                skipped = min(self._body_left, len(data) - position)
                self._body_left -= skipped
                position += skipped
                continue
            piece = data[position : position + HEAD_BYTES - len(self._head)]
            self._head += piece
            position += len(piece)
            if len(self._head) == HEAD_BYTES:
                head = bytes(self._head)
                self._head.clear()
                length = LENGTH_BYTES + int.from_bytes(head[:LENGTH_BYTES], "big")
                self._body_left = max(0, length - HEAD_BYTES)  # what is not Kafka has any length
                yield position, head


class Correlation:
    """One connection: which requests wait for their reply."""

    def __init__(self) -> None:
        self._requests = _Frames()
        self._replies = _Frames()
        self._waiting = deque[int]()

    def requested(self, data: bytes) -> None:
        """These bytes go to the broker."""
        self._waiting.extend(int.from_bytes(head[LENGTH_BYTES:], "big") for _, head in self._requests.heads(data))

    def answered(self, data: bytes, api_key: int | None) -> int | None:
        """These bytes come from the broker; where the first reply to such a request begins (0 if before them)."""
        found: int | None = None
        for after_head, _ in self._replies.heads(data):
            answered = self._waiting.popleft() if self._waiting else None
            if found is None and api_key is not None and answered == api_key:
                found = max(0, after_head - HEAD_BYTES)
        return found
