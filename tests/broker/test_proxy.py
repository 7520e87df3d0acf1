"""The fault proxy over plain TCP: what it does to bytes and connections, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import socket
import sys
import termios
import time

import pytest

from tests.broker.echo import NEVER, frame, net
from tests.broker.line import Way
from tests.broker.ports import LOOPBACK, free_ports, held_port
from tests.broker.proxy import FaultProxy, Route
from tests.broker.wire import END_TXN, PRODUCE

DATA = bytes(range(256)) * 1_024


async def test_bytes_pass_unaltered_both_ways_and_ends_pass_too() -> None:
    async with net() as scene:
        client = await scene.connect()
        pieces = [DATA[: size * 37] for size in range(1, 60)]
        heard = asyncio.create_task(client.hears(sum(map(len, pieces))))
        for piece in pieces:
            await client.says(piece)
        assert await heard == b"".join(pieces)
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.hears(1) == b""
        await scene.until_connections(0)
        assert scene.proxy.passed_bytes(1, Way.TO_BROKER) == sum(map(len, pieces))
        assert scene.proxy.passed_bytes() == 2 * sum(map(len, pieces))


async def test_throughput_is_no_matter() -> None:
    """Far above what tests send; the bound is low because machines are shared."""
    async with net() as scene:
        client = await scene.connect()
        began, sent = time.monotonic(), frame(PRODUCE, bytes(1_000_000)) * 40
        await client.round_trip(sent)
        assert 2 * len(sent) / (time.monotonic() - began) > 20_000_000


async def test_refused_connections_leave_the_open_ones_alone() -> None:
    async with net((1, 2)) as scene:
        before = await scene.connect(1)
        await before.round_trip()
        for _ in range(2):
            scene.proxy.refuse(1)
        await scene.refuses(1)
        await before.round_trip()
        await (await scene.connect(2)).round_trip()
        for _ in range(2):
            scene.proxy.heal(1)
        await (await scene.connect(1)).round_trip()


async def test_reset_is_seen_at_both_ends_and_new_connections_are_welcome() -> None:
    async with net((1, 2)) as scene:
        one, other = await scene.connect(1), await scene.connect(2)
        await one.round_trip()
        await other.round_trip()
        scene.proxy.reset(1)
        scene.proxy.reset(1)
        await one.is_reset()
        await scene.peers[1].has_ended(1)
        await other.round_trip()
        await (await scene.connect(1)).round_trip()


async def test_a_connection_that_is_reset_before_it_began_leaves_nothing_open() -> None:
    async with net() as scene:
        client = await scene.connect()
        await asyncio.sleep(0)
        scene.proxy.reset()
        await scene.until_connections(0)
        await client.is_reset()
    gc.collect()


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("way", [None, *Way])
async def test_a_black_hole_holds_bytes_and_gives_them_back_when_healed(way: Way | None, read: bool) -> None:
    async with net() as scene:
        old = await scene.connect()
        await old.round_trip()
        scene.proxy.blackhole(1, way, read=read)
        new = await scene.connect()
        for client in (old, new):
            await client.says(b"held")
            await client.hears_nothing()
        reached = way is Way.FROM_BROKER
        assert scene.peers[1].received == (12 if reached else 4)
        scene.proxy.heal(1)
        for client in (old, new):
            assert await client.hears(4) == b"held"
            await client.round_trip()


@pytest.mark.parametrize("read", [True, False])
async def test_a_black_hole_takes_bytes_or_leaves_them_in_the_network(read: bool) -> None:
    """One piece that was being waited for when it began is taken either way."""
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.blackhole(read=read)
        for _ in range(2):
            await client.says(b"held")
            await client.hears_nothing()
        [connection] = scene.proxy._doors[1].connections
        unread = fcntl.ioctl(connection._client, termios.FIONREAD, bytes(4))
        assert int.from_bytes(unread, sys.byteorder) == (0 if read else 4)


async def test_what_a_black_hole_held_is_lost_when_it_ends_with_a_reset() -> None:
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.blackhole()
        await client.says(b"lost")
        await client.hears_nothing()
        scene.proxy.heal(reset=True)
        await client.is_reset()
        await (await scene.connect()).round_trip()
        assert scene.peers[1].received == 8


async def test_a_black_hole_takes_a_bounded_number_of_bytes() -> None:
    async with net() as scene:
        client = await scene.connect()
        scene.proxy.blackhole()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.says(bytes(64 << 20))


async def test_a_client_that_leaves_during_a_black_hole_is_seen_to_leave_afterwards() -> None:
    """As in a real network: what it had sent still arrives, late."""
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.blackhole()
        await client.says(b"late")
        client.sock.close()
        await asyncio.sleep(NEVER)
        assert (scene.peers[1].received, scene.peers[1].ended) == (4, 0)
        scene.proxy.heal()
        await scene.peers[1].got(8)
        await scene.until_connections(0)


@pytest.mark.parametrize("after", [0, 1, 100])
@pytest.mark.parametrize("way", Way)
async def test_a_cut_lets_exactly_so_many_bytes_pass(way: Way, after: int) -> None:
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.cut(1, way, after)
        later = await scene.connect()
        early = min(after, 60)
        await client.round_trip(bytes(early))
        await client.says(bytes(101 - early))
        await scene.peers[1].got(4 + (101 if way is Way.FROM_BROKER else after))
        if way is Way.FROM_BROKER:
            assert await client.hears(after - early) == bytes(after - early)
        await client.is_reset()
        await later.round_trip(bytes(500))
        assert scene.peers[1].received == 4 + 500 + (101 if way is Way.FROM_BROKER else after)


async def test_a_cut_that_was_not_met_is_healed() -> None:
    async with net() as scene:
        client = await scene.connect()
        await client.round_trip()
        scene.proxy.cut_replies(1)
        scene.proxy.heal()
        await client.round_trip()


async def test_the_reply_to_one_kind_of_request_is_lost_and_only_that() -> None:
    """The echo answers each request with a frame of the same size, in order, as a broker does."""
    async with net((1, 2)) as scene:
        scene.proxy.cut_replies(api_key=END_TXN)
        one, two = await scene.connect(1), await scene.connect(2)
        for client in (one, two):
            await client.round_trip(frame(PRODUCE) + frame(PRODUCE, DATA))
        await one.says(frame(PRODUCE) + frame(END_TXN) + frame(PRODUCE))
        assert await one.hears(len(frame(PRODUCE))) == frame(PRODUCE)
        await one.is_reset()
        assert [scene.proxy.lost_replies(node) for node in (1, 2)] == [1, 0]
        again = await scene.connect(1)
        await again.round_trip(frame(END_TXN))
        scene.proxy.heal()
        await two.round_trip(frame(END_TXN))
        assert scene.proxy.lost_replies() == 1


async def test_a_broker_that_is_not_there_looks_like_one() -> None:
    async with FaultProxy({1: Route(free_ports(1)[0], free_ports(1)[0])}) as proxy:
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port_of(1))
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()


async def test_a_held_port_is_refused_until_the_proxy_listens_there() -> None:
    held = held_port()
    port = held.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOOPBACK, port)
    for _ in range(2):
        async with FaultProxy({1: Route(port, free_ports(1)[0])}):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.close()
    held.close()


async def test_stopping_leaves_no_task_and_no_socket_under_any_fault() -> None:
    """Unclosed sockets would be warnings, and warnings are errors here."""
    before = asyncio.all_tasks()
    async with net((1, 2, 3)) as scene:
        clients = [await scene.connect(node) for node in (1, 2, 3) for _ in range(3)]
        for client in clients:
            await client.round_trip()
        scene.proxy.blackhole(1)
        scene.proxy.blackhole(2, read=False)
        scene.proxy.delay(3, 3_600)
        for client in clients:
            await client.says(DATA)
        scene.proxy.refuse(1)
        await scene.proxy.stop()
        assert scene.proxy.connections() == 0
        await scene.proxy.stop()
        for client in clients:
            await client.is_reset()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    gc.collect()
