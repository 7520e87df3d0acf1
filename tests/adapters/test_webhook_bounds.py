"""The webhook receiver against strangers: size, time and number are bounded before anything is believed."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pytest

from tests.adapters.webhook_scene import EVENT, SECRET, head, receiving
from worker.domain.webhook import MAX_EVENT_BYTES, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def padded(size: int) -> bytes:
    """A valid event of exactly so many bytes."""
    frame = orjson.dumps({"event": "job.complete", "job_id": "job-1", "job_name": ""})
    return frame.replace(b'"job_name":""', b'"job_name":"' + b"x" * (size - len(frame)) + b'"')


@pytest.mark.parametrize(("size", "status"), [(MAX_EVENT_BYTES, 204), (MAX_EVENT_BYTES + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_size_is_bounded_before_the_signature_is_looked_at(size: int, status: int, *, chunked: bool) -> None:
    body = padded(size)
    assert len(body) == size

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 65536):
            yield body[start : start + 65536]

    async with receiving() as scene:
        found, _ = await scene.send(pieces() if chunked else body, signature=sign(SECRET, body))
        assert found == status
        assert len(scene.taken) == (status == 204)


async def test_a_promise_of_too_much_is_refused_before_a_byte_of_it_came() -> None:
    async with receiving() as scene, scene.connection() as (reader, writer):
        writer.write(head(1 << 40))
        assert b" 413 " in await reader.readline()


async def test_a_body_is_not_inflated() -> None:
    """The signature covers what was sent; a megabyte of nothing is a kilobyte on the wire."""
    packed = gzip.compress(EVENT)
    async with receiving() as scene:
        zipped = {"Content-Encoding": "gzip"}
        assert (await scene.send(packed, signature=sign(SECRET, EVENT), **zipped))[0] == 401
        assert (await scene.send(gzip.compress(bytes(1 << 20)), **zipped))[0] == 204
        assert (scene.taken, scene.outcomes) == ([], ["refused", "unreadable"])


async def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    async with receiving(read_seconds=0.05) as scene, scene.connection() as (reader, writer):
        writer.write(head(len(EVENT)) + EVENT[:-1])
        answer = await reader.read()  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert (scene.taken, scene.outcomes) == ([], ["too_slow"])


async def test_a_head_that_never_ends_is_given_up() -> None:
    async with receiving(idle_seconds=0.05) as scene, scene.connection() as (reader, writer):
        writer.write(head(len(EVENT))[:-2])
        assert await reader.read() == b""


async def test_a_body_that_is_cut_off_is_nothing() -> None:
    async with receiving() as scene:
        async with scene.connection() as (_, writer):
            writer.write(head(len(EVENT)) + EVENT[:-1])
            await writer.drain()
        await scene.until("cut_off")
        assert scene.taken == []


async def test_broken_chunks_are_nothing() -> None:
    async with receiving() as scene, scene.connection() as (reader, writer):
        writer.write(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n")
        assert b" 400 " in await reader.readline()
        assert scene.taken == []


async def test_open_requests_are_bounded_and_the_next_is_told_to_come_again() -> None:
    durable = asyncio.Event()
    inside = asyncio.Semaphore(0)

    async def publishing() -> None:
        inside.release()
        await durable.wait()

    async with receiving(publishing, max_open=2) as scene:
        sending = [asyncio.create_task(scene.send()) for _ in range(2)]
        for _ in range(2):
            await inside.acquire()
        status, headers = await scene.send()
        assert (status, headers["Retry-After"]) == (503, "5")
        durable.set()
        assert [(await each)[0] for each in sending] == [204, 204]
        assert (await scene.send())[0] == 204
        assert sorted(scene.outcomes) == ["busy", *["published"] * 3]


async def test_a_hundred_at_once_are_each_taken_once() -> None:
    events = [orjson.dumps({"event": "job.failed", "job_id": f"job-{n}"}) for n in range(100)]
    async with receiving() as scene:
        sent = [scene.send(event, query=f"?partition={n % 16}") for n, event in enumerate(events)]
        assert {status for status, _ in await asyncio.gather(*sent)} == {204}
        assert sorted(scene.taken) == sorted((n % 16, event) for n, event in enumerate(events))


async def test_connections_are_bounded() -> None:
    async with receiving(max_connections=1) as scene:
        async with scene.connection() as (reader, writer):
            writer.write(head(len(EVENT)) + EVENT)
            assert b" 204 " in await reader.readline()
            with pytest.raises(aiohttp.ClientError):
                await scene.send()
        status = 0
        while status != 204:  # the place is free once the first connection's end was seen
            try:
                status, _ = await scene.send()
            except aiohttp.ClientError:
                await asyncio.sleep(0)
