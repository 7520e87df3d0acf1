"""Simulated jobs of many tracks over HTTP: creation once a key, validation, paths, charges, quota."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.sandbox.bulk_scene import items, receiving, serving
from worker.sandbox.api import Trouble
from worker.sandbox.api.__main__ import _config


async def test_a_key_is_answered_once_and_for_all() -> None:
    async with serving() as jobs:
        body = {"name": "Intake", "items": items("human", "ai")}
        first = await jobs.post(body, "key-1")
        jobs.clock.now += 1000
        assert await jobs.post(body, "key-1") == first
        assert await jobs.post({"name": "Another", "items": items("human")}, "key-1") == first
        assert await jobs.post(b"not even JSON", "key-1") == first
        assert (jobs.api.ledger.credits, jobs.api.ledger.jobs, jobs.api.ledger.repeated) == (2, 1, {})
        assert (await jobs.post(body, "key-2"))[1] != first[1]
        assert jobs.api.ledger.credits == 4, "another key, another job"


async def test_without_a_key_every_creation_is_a_job() -> None:
    async with serving() as jobs:
        assert await jobs.create(items("human")) != await jobs.create(items("human"))
        assert jobs.api.ledger.repeated == {"https://cdn.example/0?sandbox=human": 2}


async def test_a_refusal_stands_for_its_key_too() -> None:
    async with serving() as jobs:
        refused = await jobs.post({"name": "Intake", "items": []}, "key-1")
        assert refused[0] == 422
        assert await jobs.post({"name": "Intake", "items": items("human")}, "key-1") == refused


@pytest.mark.parametrize("trouble", [Trouble.KEY_REVOKED, Trouble.ERROR_500, Trouble.THROTTLE])
async def test_what_is_refused_before_it_is_looked_at_does_not_use_up_the_key(trouble: Trouble) -> None:
    async with serving() as jobs:
        jobs.api.faults.set(trouble, count=1, on="jobs")
        body = {"name": "Intake", "items": items("human")}
        assert [(await jobs.post(body, "key-1"))[0] for _ in range(2)][1] == 200
        assert jobs.api.ledger.credits == 1


@pytest.mark.parametrize("trouble", [Trouble.ERROR_504_AFTER_ACCEPT, Trouble.NOT_JSON])
async def test_a_lost_answer_comes_again_and_the_job_was_made_once(trouble: Trouble) -> None:
    async with serving() as jobs:
        jobs.api.faults.set(trouble, count=1, on="jobs")
        body = {"name": "Intake", "items": items("human", "ai")}
        await jobs.post(body, "key-1")
        assert orjson.loads((await jobs.post(body, "key-1"))[1])["total"] == 2
        assert (jobs.api.ledger.credits, jobs.api.ledger.jobs) == (2, 1)


ITEM = {"item_id": "1", "url": "https://cdn.example/1"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        {"items": [ITEM]},
        {"name": "", "items": [ITEM]},
        {"name": 1, "items": [ITEM]},
        {"name": "x"},
        {"name": "x", "items": [ITEM], "manifest_url": "http://127.0.0.1/m"},
        {"name": "x", "items": []},
        {"name": "x", "items": ITEM},
        {"name": "x", "items": ["1"]},
        {"name": "x", "items": [ITEM | {"item_id": ""}]},
        {"name": "x", "items": [ITEM | {"item_id": 1}]},
        {"name": "x", "items": [ITEM | {"item_id": "x" * 513}]},
        {"name": "x", "items": [{"item_id": "1"}]},
        {"name": "x", "items": [ITEM | {"file_id": "f"}]},
        {"name": "x", "items": [ITEM | {"url": ["x"]}]},
        {"name": "x", "items": [ITEM | {"metadata": "x"}]},
        {"name": "x", "items": [ITEM, ITEM]},
        {"name": "x", "items": [ITEM], "webhook_url": "https://hooks.example/hs"},
        {"name": "x", "items": [ITEM], "webhook_url": "http://10.0.0.1/hs"},
        {"name": "x", "items": [ITEM], "webhook_url": 1},
        {"name": "x", "items": [ITEM], "webhook_url": "file:///etc/passwd"},
        {"name": "x", "manifest_url": "http://127.0.0.1:1/gone"},
    ],
)
async def test_what_is_no_job_is_422_and_free(body: Any) -> None:
    async with serving() as jobs:
        assert (await jobs.post(body))[0] == 422
        assert (jobs.api.ledger.credits, jobs.api.ledger.jobs) == (0, 0)


async def test_ten_thousand_items_are_a_job_and_one_more_is_none() -> None:
    async with serving() as jobs:
        many = [{"item_id": str(n), "url": f"https://cdn.example/{n}"} for n in range(10_001)]
        assert (await jobs.post({"name": "x", "items": many}))[0] == 422
        await jobs.create(many[1:])
        assert (jobs.api.ledger.credits, jobs.api.ledger.job_items) == (10_000, 10_000)


async def test_a_manifest_may_hold_more() -> None:
    async with serving() as jobs, receiving() as host:
        host.body = b"\n".join(orjson.dumps({"item_id": str(n), "file_id": f"f{n}"}) for n in range(10_001))
        status, body = await jobs.post({"name": "x", "manifest_url": host.url})
        assert (status, orjson.loads(body)["total"]) == (200, 10_001)
        host.body = b"no JSON"
        assert (await jobs.post({"name": "x", "manifest_url": host.url}))[0] == 422
        assert jobs.api.ledger.credits == 10_001


async def test_every_item_is_charged_by_its_address_and_every_request_counted_by_its_operation() -> None:
    async with serving(service_seconds=0.0) as jobs:
        job_id = await jobs.create(items("human", "ai"))
        await jobs.state(job_id)
        await jobs.results(job_id)
        await jobs.get(f"{job_id}/status")
        assert jobs.api.ledger.scans == {
            f"https://cdn.example/{n}?sandbox={s}": 1 for n, s in enumerate(["human", "ai"])
        }
        assert jobs.api.ledger.requests == {"jobs": 1, "job": 1, "results": 1, "status": 1}
        shown = jobs.api.ledger.snapshot()
        assert (shown["credits"], shown["jobs"], shown["job_items"], shown["webhooks"]) == (2, 1, 2, {})


async def test_the_two_generations_paths_do_not_meet() -> None:
    async with serving(service_seconds=0.0) as jobs:
        job_id = await jobs.create(items("human"))
        assert (await jobs.get(f"{job_id}/status"))[0] == 404, "a path of generation 2"
        root = jobs.api.base_url(2)
        async with jobs.session.post(f"{root}/analyze", json={"url": "x"}) as reply:
            single = (await reply.json())["job_id"]
        async with jobs.session.get(f"{root}/jobs/{single}/status") as reply:
            assert (await reply.json())["status"] == "complete"
        for path in (f"jobs/{job_id}", f"jobs/{job_id}/results", f"jobs/{job_id}/status", "jobs"):
            async with jobs.session.get(f"{root}/{path}") as reply:
                assert reply.status == 404
        assert (await jobs.get(single))[0] == (await jobs.get(f"{single}/results"))[0] == 404
        assert (await jobs.get("no-such"))[0] == 404


async def test_jobs_take_only_their_methods() -> None:
    async with serving() as jobs:
        job_id = await jobs.create(items("human"))
        async with jobs.session.get(f"{jobs.api.base_url(1)}/jobs") as reply:
            assert reply.status == 405
        async with jobs.session.post(f"{jobs.api.base_url(1)}/jobs/{job_id}/results") as reply:
            assert reply.status == 405


async def test_the_quota_stands_on_every_reply_of_jobs() -> None:
    async with serving(rate_limit_per_minute=3) as jobs:
        job_id, seen = await jobs.create(items("human")), []
        for path in (job_id, f"{job_id}/results", job_id):
            async with jobs.session.get(f"{jobs.api.base_url(1)}/jobs/{path}") as reply:
                seen.append(
                    (reply.status, reply.headers["X-RateLimit-Remaining"], "X-RateLimit-Reset" in reply.headers)
                )
        assert seen == [(200, "1", True), (200, "0", True), (429, "0", True)]


async def test_a_refused_job_is_free_and_a_smaller_one_under_another_key_is_taken() -> None:
    async with serving() as jobs:
        jobs.api.faults.set(Trouble.JOB_REFUSED, count=1)
        assert (await jobs.post({"name": "x", "items": items("human", "ai")}, "key-1"))[0] == 422
        assert jobs.api.ledger.credits == 0
        assert (await jobs.post({"name": "x", "items": items("human")}, "key-2"))[0] == 200


async def test_a_reset_forgets_jobs_and_keys() -> None:
    async with serving() as jobs:
        body = {"name": "x", "items": items("human")}
        first = orjson.loads((await jobs.post(body, "key-1"))[1])["id"]
        jobs.api.reset()
        assert (await jobs.get(first))[0] == 404
        await jobs.post(body, "key-1")
        assert (jobs.api.ledger.credits, jobs.api.ledger.jobs) == (1, 1)


def test_every_setting_of_jobs_is_a_flag() -> None:
    words = ["--bulk-parallelism=3", "--no-results-early", "--results-submitted-order", "--results-late-seconds=4"]
    words += ["--webhook-secret=s", "--webhook-connections=5", "--webhook-attempts=6", "--webhook-delay-seconds=7"]
    found = _config(words)
    assert (found.bulk_parallelism, found.results_early, found.results_submitted_order) == (3, False, True)
    assert (found.results_late_seconds, found.webhook_secret, found.webhook_connections) == (4.0, "s", 5)
    assert (found.webhook_attempts, found.webhook_delay_seconds) == (6, 7.0)
