"""Pages of results through the client against the simulated API on loopback: every page size, every trouble."""

from __future__ import annotations

import pytest

from tests.adapters.humanstandard_job_scene import created, fault, page, serving
from tests.adapters.humanstandard_scene import BEFORE
from worker.domain.jobs import JobItem, JobState, ResultFlaw, TrackResult, UnreadableResult
from worker.flow.faults import FaultKind
from worker.flow.job_replies import PageEnd
from worker.sandbox.api import Trouble

STREAMED = [
    (Trouble.NOT_JSON, FaultKind.PROTOCOL_ERROR, "200 no line is a result"),
    (Trouble.UNKNOWN_SHAPE, FaultKind.PROTOCOL_ERROR, "200 no line is a result"),
    (Trouble.WRONG_TYPES, FaultKind.PROTOCOL_ERROR, "200 no line is a result"),
    (Trouble.CUT_BODY, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
]


@pytest.mark.parametrize(("trouble", "kind", "detail"), [*BEFORE, *STREAMED])
async def test_each_trouble_of_a_page_is_its_row_and_takes_one_request(
    trouble: Trouble, kind: FaultKind, detail: str
) -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, "human", "ai", "human", "failed")
        api.faults.set(trouble, count=1, on="results")
        records, end = await page(jobs, job_id)
        found = fault(end)
        assert (found.kind, found.detail) == (kind, detail)
        assert not any(isinstance(one, UnreadableResult) and one.item_id for one in records)
        assert api.ledger.requests["results"] == 1
        assert [type(one) for one in (await page(jobs, job_id))[0]] == [TrackResult] * 4


async def test_a_page_that_breaks_off_has_given_the_results_before_the_break() -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, *["human"] * 100)
        api.faults.set(Trouble.CUT_BODY, count=1, on="results")
        records, end = await page(jobs, job_id)
        assert fault(end).kind is FaultKind.OUTCOME_UNKNOWN
        assert 0 < len(records) == end.lines < 100
        assert all(isinstance(one, TrackResult) for one in records), "the line that was cut is nobody's"


async def test_trailing_megabytes_of_blanks_are_one_odd_line() -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, "human")
        api.faults.set(Trouble.OVERSIZED_BODY, count=1, on="results")
        records, end = await page(jobs, job_id)
        assert isinstance(records[0], TrackResult)
        assert records[1:] == [UnreadableResult(None, ResultFlaw.TOO_LONG)]
        assert end == PageEnd(2)


@pytest.mark.parametrize("trouble", [Trouble.GZIP, Trouble.SLOW_BODY])
async def test_compressed_and_slow_pages_are_read_whole(trouble: Trouble) -> None:
    async with serving(slow_body_seconds=0.05) as (api, jobs):
        job_id = await created(jobs, *["ai"] * 50)
        api.faults.set(trouble, on="results")
        records, end = await page(jobs, job_id)
        assert ([type(one) for one in records], end) == ([TrackResult] * 50, PageEnd(50))


async def test_waiting_for_a_page_ends_at_the_deadline_with_what_came_before() -> None:
    async with serving(seconds=0.3, slow_body_seconds=60.0) as (api, jobs):
        job_id = await created(jobs, *["ai"] * 50)
        api.faults.set(Trouble.SLOW_BODY, on="results")
        records, end = await page(jobs, job_id)
        assert fault(end).kind is FaultKind.OUTCOME_UNKNOWN
        assert records


async def test_a_broken_line_is_its_own_tracks_and_the_others_go_on() -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, "human", "ai", "human")
        api.faults.set(Trouble.BROKEN_LINE, count=1)
        records, end = await page(jobs, job_id)
        assert records[1] == UnreadableResult("1", ResultFlaw.NOT_JSON)
        assert [one.item_id for one in records] == ["0", "1", "2"]
        assert end == PageEnd(3)


@pytest.mark.parametrize("per_page", [1, 2, 7, 99, 100, 101, 1000])
async def test_all_page_sizes_bring_every_result_once(per_page: int) -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, *["human"] * 100)
        ids, number = [], 0
        while True:
            number += 1
            records, end = await page(jobs, job_id, number, per_page)
            ids += [one.item_id for one in records]
            assert end.fault is None
            assert len(records) == end.lines <= per_page
            if end.lines < per_page:
                break
        assert sorted(ids, key=lambda item_id: int(item_id or -1)) == [str(n) for n in range(100)]
        assert number == 100 // per_page + 1 == api.ledger.requests["results"]


async def test_ten_thousand_tracks_take_one_creation_and_ten_pages() -> None:
    async with serving() as (api, jobs):
        many = [JobItem(str(n), url=f"https://cdn.example/{n}", metadata={"item_id": f"c{n}"}) for n in range(10_000)]
        reply = await jobs.create_job("key-1", "Intake", many, None)
        assert isinstance(reply.result, JobState)
        seen = set()
        for number in range(1, 11):
            records, end = await page(jobs, reply.result.job_id, number)
            seen |= {one.item_id for one in records}
            assert (end.lines, end.fault) == (1000, None)
        assert len(seen) == 10_000
        assert (api.ledger.requests.total(), api.ledger.credits) == (11, 10_000)


@pytest.mark.parametrize(("number", "per_page"), [(0, 1), (1, 0), (1, 1001), (-1, 5)])
async def test_a_page_that_there_cannot_be_is_a_mistake_of_ours(number: int, per_page: int) -> None:
    async with serving() as (_, jobs):
        with pytest.raises(ValueError, match="pages count from 1"):
            await page(jobs, "job-1", number, per_page)
