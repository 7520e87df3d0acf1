"""Pages of results from hostile answers and broken-off readers: values, bounded memory, no connection left."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.humanstandard_scene import KEY, simulated
from tests.domain.analyses import JSON
from tests.virtual_time import elapse, virtual
from worker.adapters.humanstandard import HumanStandard, HumanStandardJobs
from worker.adapters.humanstandard.jobs import MAX_LINE_BYTES
from worker.domain.jobs import JobItem, JobState, ResultFlaw, TrackResult, UnreadableResult
from worker.flow.faults import FaultKind
from worker.flow.job_replies import JobRefused, JobReply, PageEnd, PageRecord
from worker.flow.replies import Fault
from worker.sandbox.api import Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from worker.adapters.humanstandard import AiohttpTransport

RECORD = {"item_id": "17", "status": "success", "verdict": "human", "tier_verdicts": {"recall": "human"}}
LINE = orjson.dumps(RECORD)
ITEMS = [JobItem("17", url="https://cdn.example/track?token=t0ken")]


def jobs_of(answer: Callable[[httpx.Request], httpx.Response]) -> HumanStandardJobs:
    analyst = HumanStandard(
        base_url="https://api.example/api/v1",
        api_key=KEY,
        generation=1,
        transport=httpx.MockTransport(answer),
        timeout_seconds=5,
        user_agent="track-intake-tests/1",
        wall_clock=time.time,
    )
    assert analyst.jobs is not None
    return analyst.jobs


async def read(jobs: HumanStandardJobs) -> list[PageRecord]:
    return [record async for record in jobs.results("job-1", page=1, per_page=10)]


class Chunks(httpx.AsyncByteStream):
    """A body in the pieces that a test chooses; `closed` once the reader is done with it."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


def answering(*chunks: bytes) -> HumanStandardJobs:
    return jobs_of(lambda _: httpx.Response(200, stream=Chunks(*chunks)))


async def test_requests_carry_what_the_api_asks_for() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "a/b", "status": "queued"})

    jobs = jobs_of(answer)
    await jobs.create_job("key-1", "Intake", [JobItem("1", "u"), JobItem("2", file_id="f", metadata={"a": 1})], "w")
    await jobs.job("a/b")
    [_ async for _ in jobs.results("a/b", page=2, per_page=500)]
    assert [(one.method, str(one.url)) for one in seen] == [
        ("POST", "https://api.example/api/v1/jobs"),
        ("GET", "https://api.example/api/v1/jobs/a%2Fb"),
        ("GET", "https://api.example/api/v1/jobs/a%2Fb/results?page=2&per_page=500"),
    ]
    assert orjson.loads(seen[0].read()) == {
        "name": "Intake",
        "items": [{"item_id": "1", "url": "u"}, {"item_id": "2", "file_id": "f", "metadata": {"a": 1}}],
        "webhook_url": "w",
    }
    assert seen[0].headers["Idempotency-Key"] == "key-1"
    assert all("Idempotency-Key" not in one.headers for one in seen[1:])
    assert all(one.headers["Authorization"] == f"Bearer {KEY}" for one in seen)
    assert KEY not in repr(jobs)
    assert "api.example" not in repr(jobs)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_what_the_api_does_not_want_as_a_job_is_refused(status: int) -> None:
    reply = await jobs_of(lambda _: httpx.Response(status, json={"error": "bad"})).create_job("k", "n", ITEMS, None)
    assert reply.result == JobRefused(f"{status} bad")


async def test_a_key_that_is_being_worked_on_is_no_refusal() -> None:
    """Splitting then would buy every track a second time."""
    reply = await jobs_of(lambda _: httpx.Response(409, json={"error": "busy"})).create_job("k", "n", ITEMS, None)
    assert reply.result == Fault(FaultKind.UNAVAILABLE, "409")


async def test_an_answer_about_another_job_is_not_believed() -> None:
    jobs = jobs_of(lambda _: httpx.Response(200, json={"id": "job-2", "status": "complete"}))
    result = (await jobs.job("job-1")).result
    assert isinstance(result, Fault)
    assert result.kind is FaultKind.PROTOCOL_ERROR


@given(cuts=st.lists(st.integers(0, 5 * len(LINE)), max_size=6))
def test_however_a_page_is_cut_into_chunks_its_records_are_the_same(cuts: list[int]) -> None:
    body = b"\n".join([LINE, b'{"item_id":"4",', b"", LINE])
    places = [0, *sorted(cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(places)]
    *records, end = asyncio.run(read(answering(*filter(None, chunks))))
    assert [type(one) for one in records] == [TrackResult, UnreadableResult, TrackResult]
    assert records[1] == UnreadableResult("4", ResultFlaw.NOT_JSON)
    assert end == PageEnd(3)


async def test_a_line_without_end_costs_its_bound_and_spoils_nobody_elses() -> None:
    long = b'{"item_id":"4","x":"' + b"x" * MAX_LINE_BYTES + b'"}'
    records = await read(answering(LINE + b"\n" + long, b"\n" + LINE))
    assert records[1] == UnreadableResult("4", ResultFlaw.TOO_LONG)
    assert records[3] == PageEnd(3)


async def test_an_endless_page_is_given_up_and_closed() -> None:
    class Endless(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while not self.closed:
                yield b"x" * 8_000_000

    stream = Endless()
    (end,) = await read(jobs_of(lambda _: httpx.Response(200, stream=stream)))
    assert end == PageEnd(0, Fault(FaultKind.PROTOCOL_ERROR, "200 page too long"))
    assert stream.closed


async def test_an_error_page_without_end_is_read_as_far_as_its_code_may_be() -> None:
    class Endless(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                sent.append(60_000)
                yield b'{"error":"gone"}'.ljust(60_000)

    sent: list[int] = []
    stream = Endless()
    (end,) = await read(jobs_of(lambda _: httpx.Response(500, stream=stream)))
    assert end == PageEnd(0, Fault(FaultKind.SERVER_ERROR, "500"))
    assert (len(sent), stream.closed) == (2, True)


class Drip(Chunks):
    """A line every so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(*[LINE + b"\n"] * 10)
        self.seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            await elapse(self.seconds)
            yield chunk


@virtual
async def test_the_time_spent_waiting_is_bounded_in_all_not_a_chunk_at_a_time() -> None:
    started = asyncio.get_running_loop().time()
    *records, end = await read(jobs_of(lambda _: httpx.Response(200, stream=Drip(0.9))))
    assert asyncio.get_running_loop().time() - started == pytest.approx(5.0)
    assert len(records) == 5
    assert isinstance(end, PageEnd)
    assert end.fault is not None
    assert end.fault.kind is FaultKind.OUTCOME_UNKNOWN


@virtual
async def test_the_time_that_the_reader_takes_for_himself_counts_for_nothing() -> None:
    found = []
    async for record in jobs_of(lambda _: httpx.Response(200, stream=Drip(0.4))).results("j", page=1, per_page=10):
        found.append(record)
        await elapse(60.0)
    assert found[-1] == PageEnd(10)


async def test_an_empty_page_is_the_end_and_no_fault() -> None:
    assert await read(answering()) == [PageEnd(0)]
    assert await read(answering(b"\n", b"\r\n")) == [PageEnd(0)]


async def test_a_reader_that_stops_early_leaves_nothing_open() -> None:
    stream = Chunks(LINE + b"\n", LINE + b"\n")
    async with aclosing(jobs_of(lambda _: httpx.Response(200, stream=stream)).results("j", page=1, per_page=1)) as page:
        assert isinstance(await anext(page), TrackResult)
    assert stream.closed


BODIES = st.lists(st.binary(max_size=20) | JSON.map(orjson.dumps) | st.just(LINE), max_size=6).map(b"\n".join)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503])


@given(status=STATUSES, body=BODIES | JSON.map(orjson.dumps))
def test_whatever_the_api_answers_is_a_value_without_secrets(status: int, body: bytes) -> None:
    jobs = jobs_of(lambda _: httpx.Response(status, content=body))

    async def every() -> tuple[list[JobReply], list[Any]]:
        return [await jobs.create_job("k", "n", ITEMS, None), await jobs.job("job-1")], await read(jobs)

    replies, records = asyncio.run(every())
    assert all(isinstance(reply.result, JobState | JobRefused | Fault) for reply in replies)
    assert [isinstance(record, PageEnd) for record in records] == [False] * (len(records) - 1) + [True]
    assert records[-1].lines == len(records) - 1
    for shown in (*(reply.result for reply in replies), records[-1].fault):
        assert all(secret not in str(shown) for secret in (KEY, "t0ken", "cdn.example"))


def connections(transport: AiohttpTransport) -> int:
    session = transport._session
    return 0 if session is None or session.connector is None else len(session.connector._acquired)


async def test_a_page_cancelled_after_any_turn_of_the_loop_holds_no_connection() -> None:
    async with simulated(1) as (api, analyst):
        api.faults.set(Trouble.SLOW_BODY, on="results")
        reply = await analyst.jobs.create_job("key-1", "Intake", [JobItem(str(n), url="a") for n in range(100)], None)

        async def whole() -> None:
            async with aclosing(analyst.jobs.results(reply.result.job_id, page=1, per_page=1000)) as page:
                async for _ in page:
                    pass

        for count in range(1, 60):
            task = asyncio.create_task(whole())
            for _ in range(count):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert connections(analyst._calls._transport) == 0
            await api.until(lambda ledger: ledger.requests_in_flight == 0)
        api.faults.clear()
        await whole()
        assert connections(analyst._calls._transport) == 0


async def test_a_page_read_to_its_end_gives_its_connection_back_for_the_next() -> None:
    async with simulated(1) as (_, analyst):
        reply = await analyst.jobs.create_job("key-1", "Intake", ITEMS, None)
        for _ in range(3):
            [_ async for _ in analyst.jobs.results(reply.result.job_id, page=1, per_page=10)]
        session = analyst._calls._transport._session
        assert sum(map(len, session.connector._conns.values())) == 1
