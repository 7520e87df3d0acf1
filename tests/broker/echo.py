"""Echo servers behind a fault proxy, and clients that see connections as the kernel shows them."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.proxy import FaultProxy, Route
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

SOON = 5.0  # seconds in which a thing that happens has happened, on a loaded machine
NEVER = 0.15  # seconds in which a thing that must not happen would have happened


class Peer:
    """An echo server that counts what it got; `ended` are its connections that are over."""

    def __init__(self) -> None:
        self.received = 0
        self.ended = 0

    async def got(self, count: int) -> None:
        async def enough() -> bool:
            return self.received >= count

        await wait_until(f"{count} bytes arrive", enough, SOON, 0.005)

    async def has_ended(self, count: int) -> None:
        async def enough() -> bool:
            return self.ended >= count

        await wait_until(f"{count} connections end", enough, SOON, 0.005)


class Echo(asyncio.Protocol):
    """One connection of a peer. No stream: that one forgets what it has read when a reset follows."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._peer.received += len(data)
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._peer.ended += 1


class Client:
    """One connection to the proxy, as the kernel shows it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def says(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def hears(self, count: int) -> bytes:
        heard = b""
        async with asyncio.timeout(SOON):
            while len(heard) < count and (data := await self._loop.sock_recv(self.sock, count - len(heard))):
                heard += data
        return heard

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(NEVER):
                await self._loop.sock_recv(self.sock, 1)

    async def is_reset(self) -> None:
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(SOON):
                await self._loop.sock_recv(self.sock, 1)

    async def round_trip(self, data: bytes = b"ping") -> float:
        """Seconds that the echo takes."""
        began = time.monotonic()
        heard = asyncio.create_task(self.hears(len(data)))
        await self.says(data)
        assert await heard == data
        return time.monotonic() - began


class Net:
    """A proxy before echo servers, and the clients that a test opened."""

    def __init__(self, proxy: FaultProxy, peers: dict[int, Peer]) -> None:
        self.proxy, self.peers = proxy, peers
        self._clients = list[Client]()

    async def connect(self, node: int = 1) -> Client:
        client = Client(socket.socket())
        client.sock.settimeout(0)
        self._clients.append(client)
        await asyncio.get_running_loop().sock_connect(client.sock, (LOOPBACK, self.proxy.port_of(node)))
        return client

    async def refuses(self, node: int = 1) -> None:
        with pytest.raises(ConnectionRefusedError):
            await self.connect(node)

    async def until_connections(self, count: int) -> None:
        async def so_many() -> bool:
            return self.proxy.connections() == count

        await wait_until(f"{count} connections", so_many, SOON, 0.005)

    def close(self) -> None:
        for client in self._clients:
            client.sock.close()


@asynccontextmanager
async def net(nodes: Iterable[int] = (1,), *, seed: int = 0) -> AsyncIterator[Net]:
    peers, servers, routes = dict[int, Peer](), [], dict[int, Route]()
    for node in nodes:
        peers[node] = peer = Peer()
        servers.append(server := await asyncio.get_running_loop().create_server(partial(Echo, peer), LOOPBACK, 0))
        routes[node] = Route(free_ports(1)[0], server.sockets[0].getsockname()[1])
    try:
        async with FaultProxy(routes, seed=seed) as proxy:
            scene = Net(proxy, peers)
            try:
                yield scene
            finally:
                scene.close()
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


def frame(head: int, body: bytes = b"") -> bytes:
    """A request or reply as far as the proxy looks: behind its length, a number and a body."""
    content = head.to_bytes(2, "big") + body + b"body"
    return len(content).to_bytes(4, "big") + content
