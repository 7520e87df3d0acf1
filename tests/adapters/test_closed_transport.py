"""A connection that is reset under aiokafka's hands, on the event loop that the worker runs on."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from worker.adapters.kafka import closed_transport


async def _write_to_a_closed_transport() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.read()
        connection = AIOKafkaConnection("127.0.0.1", port)
        connection._writer, connection._reader = writer, reader
        connection._read_task = asyncio.get_running_loop().create_future()  # has not noticed yet
        writer.close()
        await writer.wait_closed()
        with pytest.raises(KafkaConnectionError, match="is closed"):
            connection.send(ApiVersionRequest())
        assert not connection.connected()


def test_uvloops_error_becomes_the_one_that_aiokafka_handles() -> None:
    closed_transport.install()
    closed_transport.install()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_write_to_a_closed_transport())
