"""A TCP proxy between workers and brokers, with faults that a test switches while it runs.

- One listener a broker, on a port known beforehand: brokers advertise it, so a worker that starts there never meets
  them directly (`KafkaCluster(proxied=True)`).
- A fault is switched for one broker or (`node=None`) for all, and for one direction (`Way`) or (`way=None`) both.
  Switching is immediate, idempotent and never awaits; `heal` ends every fault.
- Nothing is ever altered or reordered: bytes pass, wait, or are lost together with their connection.
- It runs in the test's own event loop: what tests send is a few MB/s, far below what a loop carries, and without a
  thread a fault strikes exactly between two steps of the test. A test that computes for seconds stalls its workers.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.broker.line import Chunk, Line, Way
from tests.broker.ports import LOOPBACK
from tests.broker.wire import Correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

HELD_CHUNKS = 64  # a black hole that reads takes 4 MB a direction and connection, then reads no more
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


@dataclass(frozen=True, slots=True)
class Route:
    """Where workers connect, and where the broker listens: ports of the loopback."""

    port: int
    broker_port: int


class FaultProxy:
    """See the module's rules. Use `async with`, or `start` and `stop`."""

    def __init__(self, routes: Mapping[int, Route], *, seed: int = 0) -> None:
        self._doors = {
            node: _Door(route, random.Random(f"{seed}-{node}"))  # noqa: S311 - a reproducible run, no secret
            for node, route in routes.items()
        }

    def __repr__(self) -> str:
        return f"<FaultProxy {self._doors}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen for every broker."""
        for door in self._doors.values():
            door.open()

    async def stop(self) -> None:
        """Reset what is open and close everything; harmless when done already."""
        for door in self._doors.values():
            door.shut()
            door.reset()
        await asyncio.gather(*(door.emptied() for door in self._doors.values()))

    # What a test sees.

    def port_of(self, node: int) -> int:
        return self._doors[node].route.port

    def connections(self, node: int | None = None) -> int:
        """How many are open."""
        return sum(len(door.connections) for door in self._of(node))

    def passed_bytes(self, node: int | None = None, way: Way | None = None) -> int:
        """Bytes handed on so far."""
        return sum(line.passed_bytes for line in self._lines(node, way))

    def lost_replies(self, node: int | None = None) -> int:
        """How many replies `cut_replies(api_key=...)` has lost."""
        return sum(door.lost_replies for door in self._of(node))

    # Faults.

    def refuse(self, node: int | None = None) -> None:
        """Refuse new connections, as a machine does on which nobody listens; those that are open stay."""
        for door in self._of(node):
            door.shut()

    def reset(self, node: int | None = None) -> None:
        """Reset (RST) every connection that is open, at both ends; new ones are welcome."""
        for door in self._of(node):
            door.reset()

    def blackhole(self, node: int | None = None, way: Way | None = None, *, read: bool = True) -> None:
        """Hand on nothing while connections stay open, new ones included. `read`: take bytes and hold them."""
        for line in self._lines(node, way):
            line.hold(read=read)

    def delay(
        self, node: int | None = None, seconds: float = 0.1, way: Way | None = None, *, jitter_seconds: float = 0.0
    ) -> None:
        """Hand on every byte so much later, and up to `jitter_seconds` more; order is kept."""
        for line in self._lines(node, way):
            line.delay(seconds, jitter_seconds)

    def limit(self, node: int | None = None, bytes_per_second: float = 100_000, way: Way | None = None) -> None:
        """Bound the bandwidth of a direction, over all connections of a broker."""
        for line in self._lines(node, way):
            line.limit(bytes_per_second)

    def cut(self, node: int | None = None, way: Way = Way.FROM_BROKER, after_bytes: int = 0) -> None:
        """Reset each connection that is open now in place of its next byte after so many in that direction."""
        for door in self._of(node):
            for connection in door.connections:
                connection.budget[way] = after_bytes

    def cut_replies(self, node: int | None = None, *, api_key: int | None = None) -> None:
        """Lose a reply for certain: the broker has done what was asked, the client meets a reset instead.

        Without `api_key` that happens to the next reply on each connection that is open now. With one (Kafka's number
        of a request) to the next reply to such a request on whatever connection it comes, once for each broker.
        """
        if api_key is None:
            self.cut(node, Way.FROM_BROKER)
            return
        for door in self._of(node):
            door.lose_reply_to = api_key

    def heal(self, node: int | None = None, *, reset: bool = False) -> None:
        """End every fault. What is held flows on, or with `reset` is lost together with all open connections."""
        for door in self._of(node):
            if reset:
                door.reset()
            door.heal()

    def _of(self, node: int | None) -> list[_Door]:
        return [*self._doors.values()] if node is None else [self._doors[node]]

    def _lines(self, node: int | None, way: Way | None) -> Iterator[Line]:
        for door in self._of(node):
            yield from door.lines.values() if way is None else [door.lines[way]]


class _Door:
    """One broker's listener and the connections through it."""

    def __init__(self, route: Route, draw: random.Random) -> None:
        self.route = route
        self.lines = {way: Line(draw) for way in Way}
        self.connections = set[_Connection]()
        self.lose_reply_to: int | None = None
        self.lost_replies = 0
        self._listener: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<{self.route} connections={len(self.connections)} listening={self._listener is not None}>"

    def open(self) -> None:
        if self._listener is None:
            self._listener = listener = socket.create_server((LOOPBACK, self.route.port), backlog=128)
            listener.settimeout(0)
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def shut(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def reset(self) -> None:
        for connection in self.connections:
            connection.task.cancel()

    def heal(self) -> None:
        self.lose_reply_to = None
        for connection in self.connections:
            connection.budget.clear()
        for line in self.lines.values():
            line.heal()
        self.open()

    async def emptied(self) -> None:
        """Wait until the last connection has closed its sockets."""
        await asyncio.gather(*(connection.task for connection in self.connections), return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):  # the client has given up already
            client, _ = listener.accept()
            self.connections.add(_Connection(self, client))


class _Connection:
    """One client's connection and ours to the broker; both end alike."""

    def __init__(self, door: _Door, client: socket.socket) -> None:
        self._door = door
        self._client, self._broker = client, socket.socket()
        self._correlation = Correlation()
        self._ended_well = False
        self.budget: dict[Way, int] = {}
        for end in (self._client, self._broker):
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.task.add_done_callback(self._close)  # no `finally`: a task that is cancelled at once never runs

    async def _run(self) -> None:
        try:
            await asyncio.get_running_loop().sock_connect(self._broker, (LOOPBACK, self._door.route.broker_port))
            async with asyncio.TaskGroup() as pumps:
                for way, source, sink in self._ways():
                    chunks = asyncio.Queue[Chunk](HELD_CHUNKS)
                    pumps.create_task(self._take(way, source, chunks))
                    pumps.create_task(self._hand_on(way, sink, chunks))
            self._ended_well = True
        except* OSError:  # one end is gone or refuses: the other learns of it by a reset
            self._ended_well = False

    def _ways(self) -> tuple[tuple[Way, socket.socket, socket.socket], ...]:
        return (Way.TO_BROKER, self._client, self._broker), (Way.FROM_BROKER, self._broker, self._client)

    async def _take(self, way: Way, source: socket.socket, chunks: asyncio.Queue[Chunk]) -> None:
        line, loop, more = self._door.lines[way], asyncio.get_running_loop(), True
        while more:
            await line.readable()
            data = await loop.sock_recv(source, line.chunk_bytes)
            await chunks.put(line.chunk(data))
            more = bool(data)

    async def _hand_on(self, way: Way, sink: socket.socket, chunks: asyncio.Queue[Chunk]) -> None:
        line, loop, more = self._door.lines[way], asyncio.get_running_loop(), True
        while more:
            chunk = await chunks.get()
            await line.passes(chunk)  # the end, too, may be held
            allowed = self._allowed(way, chunk.data)
            await loop.sock_sendall(sink, chunk.data[:allowed])
            if allowed < len(chunk.data):
                raise ConnectionResetError("cut by the test")
            more = bool(chunk.data)
        sink.shutdown(socket.SHUT_WR)

    def _allowed(self, way: Way, data: bytes) -> int:
        """How many of the bytes still pass before a cut."""
        allowed = min(len(data), self.budget.get(way, len(data)))
        if way in self.budget:
            self.budget[way] -= allowed
        if way is Way.TO_BROKER:
            self._correlation.requested(data[:allowed])
            return allowed
        lost = self._correlation.answered(data[:allowed], self._door.lose_reply_to)
        if lost is None:
            return allowed
        self._door.lose_reply_to = None
        self._door.lost_replies += 1
        return lost

    def _close(self, _task: asyncio.Task[None]) -> None:
        self._door.connections.discard(self)
        for end in (self._client, self._broker):
            if not self._ended_well:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            end.close()
