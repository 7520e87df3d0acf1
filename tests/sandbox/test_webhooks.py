"""Simulated webhooks over the loopback: signed, at least once, and each kind of unreliability."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.sandbox.bulk_scene import items, receiving, serving
from worker.domain.webhook import JobComplete, JobFailed, Signal, TrackComplete, parse, verify
from worker.sandbox.api import Trouble

SECRET = b"sandbox-webhook-secret"
ANOTHER = "another"
# A job takes some 20 ms, the API's longest wait for a retry some 25.
FAST: dict[str, Any] = {"by_hand": False, "time_scale": 1000.0, "service_seconds": 20.0}


def outcomes(total: int) -> Any:
    return lambda ledger: sum(ledger.webhooks[name] for name in ("delivered", "lost", "given_up")) >= total


def told(receiver: Any) -> list[str]:
    return [event.get("item_id", event["event"]) for event in receiver.events]


async def test_every_track_is_told_and_then_the_jobs_end_all_signed() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        job_id = await jobs.create(items("human", "ai", "failed"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(4))
        assert Counter(told(receiver)) == {"0": 1, "1": 1, "2": 1, "job.complete": 1}
        assert all(verify(SECRET, body, signature) for body, signature in receiver.heard)
        found = [parse(body) for body, _ in receiver.heard]
        tracks = {one.item_id: one for one in found if isinstance(one, TrackComplete)}
        assert tracks["1"].lacking == {Signal.ORIGIN, Signal.RISK}
        assert tracks["2"].analysis.error == "audio_load_failed"
        (end,) = [one for one in found if isinstance(one, JobComplete)]
        assert (end.job_id, end.total, end.succeeded, end.failed) == (job_id, 3, 2, 1)
        assert jobs.api.ledger.webhooks == {"delivered": 4}


async def test_what_a_webhook_says_is_what_the_results_say() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        job_id = await jobs.create(items("human", "ai", "borderline"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(4))
        results = {one["item_id"]: one for one in await jobs.results(job_id)}
        for event in receiver.events:
            if event["event"] == "track.complete":
                same = {name: value for name, value in event.items() if name not in {"event", "job_id"}}
                assert same == {name: results[event["item_id"]][name] for name in same}


async def test_a_failed_job_is_told_as_such() -> None:
    async with serving(**FAST, bulk_parallelism=1) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.JOB_FAILED, count=1)
        job_id = await jobs.create(items(*["human"] * 4), webhook_url=receiver.url)
        await jobs.api.until(outcomes(4))
        assert sorted(told(receiver)) == ["0", "1", "2", "job.failed"]
        assert JobFailed(job_id) in [parse(body) for body, _ in receiver.heard]


async def test_what_is_not_taken_comes_again_a_few_times_and_the_same() -> None:
    async with serving(**FAST, webhook_attempts=3) as jobs, receiving() as receiver:
        receiver.statuses = [500, 302]
        await jobs.create(items("stuck", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(1))
        assert len(receiver.heard) == 3
        assert len(set(receiver.heard)) == 1
        assert jobs.api.ledger.webhooks == {"delivered": 1, "refused": 2}


async def test_after_the_last_attempt_it_is_given_up() -> None:
    async with serving(**FAST, webhook_attempts=2) as jobs:
        async with receiving() as receiver:
            url = receiver.url
        await jobs.create(items("stuck", "ai"), webhook_url=url)
        await jobs.api.until(outcomes(1))
        assert jobs.api.ledger.webhooks == {"failed": 2, "given_up": 1}


async def test_a_lost_one_is_never_sent() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.WEBHOOK_LOST, count=1)
        await jobs.create(items("human", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(3))
        assert len(receiver.heard) == 2
        assert jobs.api.ledger.webhooks == {"delivered": 2, "lost": 1}


async def test_a_doubled_one_is_sent_twice_the_same() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.WEBHOOK_DUPLICATED)
        await jobs.create(items("human", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(6))
        assert set(Counter(told(receiver)).values()) == {2}
        assert len(set(receiver.heard)) == 3


async def test_a_reordered_one_comes_after_the_next() -> None:
    async with serving(**FAST, bulk_parallelism=1, webhook_connections=1) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.WEBHOOK_REORDERED, count=1)
        await jobs.create(items("human", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(3))
        assert told(receiver) == ["1", "0", "job.complete"]


async def test_held_back_to_the_end_nothing_is_lost() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.WEBHOOK_REORDERED)
        await jobs.create(items("human", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(3))
        assert sorted(told(receiver)) == ["0", "1", "job.complete"]


async def test_a_delayed_one_comes_long_after_the_job() -> None:
    async with serving(**FAST, webhook_delay_seconds=300.0) as jobs, receiving() as receiver:
        jobs.api.faults.set(Trouble.WEBHOOK_DELAYED, count=1)
        await jobs.create(items("human", "ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(3))
        assert told(receiver)[-1] == "0"


async def test_a_forged_one_is_signed_with_another_secret_also_when_it_comes_again() -> None:
    async with serving(**FAST, webhook_attempts=2) as jobs, receiving() as receiver:
        receiver.statuses = [401, 401]
        jobs.api.faults.set(Trouble.WEBHOOK_FORGED, count=1)
        await jobs.create(items("ai", "stuck"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(1))
        assert [verify(SECRET, *heard) for heard in receiver.heard] == [False, False]
        assert jobs.api.ledger.webhooks == {"refused": 2, "given_up": 1}


async def test_the_secret_is_a_setting() -> None:
    async with serving(**FAST, webhook_secret=ANOTHER) as jobs, receiving() as receiver:
        await jobs.create(items("ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(2))
        assert all(verify(ANOTHER.encode(), *heard) for heard in receiver.heard)


async def test_a_reset_stops_what_was_still_to_be_told() -> None:
    async with serving(**FAST) as jobs, receiving() as receiver:
        await jobs.create(items("slow"), webhook_url=receiver.url)
        jobs.api.reset()
        await jobs.create(items("ai"), webhook_url=receiver.url)
        await jobs.api.until(outcomes(2))
        assert len({event["job_id"] for event in receiver.events}) == 1
        assert jobs.api.ledger.webhooks == {"delivered": 2}


async def test_few_connections_are_used_however_much_there_is_to_tell() -> None:
    async with serving(**FAST, webhook_connections=3) as jobs, receiving() as receiver:
        await jobs.create([{"item_id": str(n), "url": f"a{n}"} for n in range(500)], webhook_url=receiver.url)
        await jobs.api.until(outcomes(501))
        assert len(set(told(receiver))) == 501
        assert receiver.at_once_max <= 3


@pytest.mark.parametrize("trouble", ["webhook_lost", "results_late"])
async def test_these_faults_are_switched_over_http_too(trouble: str) -> None:
    async with serving() as jobs:
        root = jobs.api.base_url(2).removesuffix("/api")
        async with jobs.session.post(f"{root}/_sandbox/faults", json={trouble: {"count": 2}}) as reply:
            assert reply.status == 200
        assert trouble in repr(jobs.api.faults)
