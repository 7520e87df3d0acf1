"""Simulated jobs of many tracks over HTTP: progress, results page by page, and what goes wrong with either."""

from __future__ import annotations

import orjson
import pytest

from tests.sandbox.bulk_scene import items, serving
from worker.sandbox.api import Trouble


async def test_a_job_is_queued_then_processing_then_complete() -> None:
    async with serving(bulk_parallelism=1, queued_share=0.5) as jobs:
        job_id = await jobs.create(items("human", "ai", "failed"))
        seen = []
        for seconds in (0.0, 5.0, 5.0, 10.0, 9.9, 0.1):
            jobs.clock.now += seconds
            seen.append(await jobs.state(job_id))
        assert [(state["status"], state["processed"]) for state in seen] == [
            ("queued", 0),
            ("processing", 0),
            ("processing", 1),
            ("processing", 2),
            ("processing", 2),
            ("complete", 3),
        ]
        assert [state["completed_at"] is None for state in seen] == [True] * 5 + [False]
        last = seen[-1]
        assert (last["total"], last["succeeded"], last["failed"]) == (3, 2, 1)
        assert last["verdict_counts"] == {"human": 1, "suspicious": 1}


async def test_results_echo_their_item_and_are_the_same_whenever_one_asks() -> None:
    async with serving() as jobs:
        job_id = await jobs.create(
            [
                {"item_id": 'ü"1', "url": "https://x/?sandbox=ai", "metadata": {"item_id": "customer", "n": [1]}},
                {"item_id": "2", "file_id": "sandbox:failed"},
            ]
        )
        jobs.clock.now += 10.0
        first = await jobs.results(job_id)
        jobs.clock.now += 1000.0
        assert await jobs.results(job_id) == first
        assert [(one["item_id"], one.get("metadata"), one["status"]) for one in first] == [
            ('ü"1', {"item_id": "customer", "n": [1]}, "success"),
            ("2", None, "failed"),
        ]
        assert len(first[0]["risk_series"]) == 47


@pytest.mark.parametrize("early", [True, False])
async def test_results_show_while_the_job_works_or_when_it_has_ended(early: bool) -> None:
    async with serving(bulk_parallelism=1, results_early=early) as jobs:
        job_id = await jobs.create(items("human", "ai", "human"))
        shown = []
        for _ in range(4):
            shown.append(len(await jobs.results(job_id)))
            jobs.clock.now += 10.0
        assert shown == ([0, 1, 2, 3] if early else [0, 0, 0, 3])


async def test_in_the_order_of_the_items_early_pages_shift() -> None:
    async with serving(results_submitted_order=True) as jobs:
        job_id = await jobs.create(items("slow", "ai", "slow", "human"))
        jobs.clock.now += 10.0
        assert [one["item_id"] for one in await jobs.results(job_id)] == ["1", "3"]
        jobs.clock.now += 90.0
        assert [one["item_id"] for one in await jobs.results(job_id)] == ["0", "1", "2", "3"]


async def test_pages_are_cut_at_the_asked_size_and_at_the_cap() -> None:
    async with serving(service_seconds=0.0) as jobs:
        job_id = await jobs.create([{"item_id": str(n), "url": f"https://cdn.example/{n}"} for n in range(1_700)])
        sizes = {query: len(await jobs.results(job_id, query)) for query in PAGES}
        assert sizes == PAGES
        whole = [one["item_id"] for n in range(1, 6) for one in await jobs.results(job_id, f"?page={n}&per_page=400")]
        assert sorted(whole, key=int) == [str(n) for n in range(1_700)]


PAGES = {
    "": 500,
    "?page=4": 200,
    "?page=5": 0,
    "?per_page=1000": 1000,
    "?per_page=5000": 1000,
    "?per_page=5000&page=2": 700,
    "?per_page=1": 1,
    "?page=999999999": 0,
}


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "per_page=0", "per_page=", "status=done", "page=%C2%B2"]
)
async def test_a_page_that_there_cannot_be_is_422(query: str) -> None:
    async with serving() as jobs:
        job_id = await jobs.create(items("human"))
        assert (await jobs.get(f"{job_id}/results?{query}"))[0] == 422


async def test_results_are_filtered_by_verdict_and_status() -> None:
    async with serving(service_seconds=0.0) as jobs:
        job_id = await jobs.create(items("human", "ai", "failed", "borderline", "ai"))

        async def ids(query: str) -> list[str]:
            return [one["item_id"] for one in await jobs.results(job_id, query)]

        assert await ids("?verdict=suspicious") == ["1", "4"]
        assert await ids("?verdict=human&status=success") == ["0", "3"]
        assert await ids("?status=failed") == ["2"]
        assert await ids("?verdict=human&status=failed") == await ids("?verdict=ai") == []


async def test_a_job_that_fails_stops_half_way_and_was_charged() -> None:
    async with serving(bulk_parallelism=1) as jobs:
        jobs.api.faults.set(Trouble.JOB_FAILED, count=1)
        job_id = await jobs.create(items(*["human"] * 5))
        jobs.clock.now += 29.0
        assert (await jobs.state(job_id))["status"] == "processing"
        jobs.clock.now += 100.0
        state = await jobs.state(job_id)
        assert (state["status"], state["processed"], state["completed_at"] is None) == ("failed", 3, False)
        assert len(await jobs.results(job_id)) == 3
        assert (jobs.api.ledger.credits, jobs.api.ledger.faults) == (5, {"job_failed": 1})


async def test_a_stuck_job_stays_half_done_and_a_stuck_track_keeps_its_job_open() -> None:
    async with serving() as jobs:
        jobs.api.faults.set(Trouble.JOB_STUCK, count=1)
        stuck = await jobs.create(items(*["human"] * 5))
        track = await jobs.create(items("human", "stuck", "human"))
        jobs.clock.now += 10_000.0
        states = [await jobs.state(job_id) for job_id in (stuck, track)]
        assert [(state["status"], state["processed"]) for state in states] == [("processing", 2), ("processing", 2)]


async def test_late_results_come_after_the_job_is_complete() -> None:
    async with serving(results_late_seconds=60.0) as jobs:
        jobs.api.faults.set(Trouble.RESULTS_LATE, count=1)
        job_id = await jobs.create(items("human", "slow"))
        jobs.clock.now += 100.0
        assert (await jobs.state(job_id))["status"] == "complete"
        assert [one["item_id"] for one in await jobs.results(job_id)] == ["0"]
        jobs.clock.now += 60.0
        assert len(await jobs.results(job_id)) == 2


async def test_items_share_the_fates_of_single_tracks() -> None:
    async with serving(service_seconds=0.0) as jobs:
        jobs.api.faults.set(Trouble.FAILED_WITHOUT_ERROR, count=1, on="jobs")
        job_id = await jobs.create(items("human", "human"))
        found = {one["item_id"]: one for one in await jobs.results(job_id)}
        assert (found["0"]["status"], "error" in found["0"], found["1"]["status"]) == ("failed", False, "success")


async def test_one_line_of_a_page_is_broken() -> None:
    async with serving(service_seconds=0.0) as jobs:
        job_id = await jobs.create(items("human", "ai", "human"))
        jobs.api.faults.set(Trouble.BROKEN_LINE, count=1)
        _, body = await jobs.get(f"{job_id}/results")
        lines = body.splitlines()
        assert len(lines) == 3
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(lines[1])
        assert len(await jobs.results(job_id)) == 3
