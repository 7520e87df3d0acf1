"""The client against the simulated API on loopback: what comes of every call, and how many requests it took."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import httpx
import pytest

from tests.adapters.humanstandard_scene import BEFORE, BODIES, BOTH, KEY, client, fault, outcome, simulated, track
from worker.adapters.humanstandard import HumanStandard
from worker.domain.analysis import AnalysisStatus, TierValue
from worker.domain.submission import TrackSubmitted
from worker.flow.faults import FaultKind
from worker.flow.replies import Accepted, Fault, Finished, Running
from worker.sandbox.api import Trouble


@pytest.mark.parametrize("generation", BOTH)
@pytest.mark.parametrize(
    ("name", "tiers"),
    [
        ("human", (TierValue.HUMAN, TierValue.HUMAN, TierValue.HUMAN)),
        ("ai", (TierValue.SUSPICIOUS, TierValue.SUSPICIOUS, TierValue.SUSPICIOUS)),
        ("borderline", (TierValue.NOT_EVALUATED, TierValue.HUMAN, TierValue.SUSPICIOUS)),
        ("null-tiers", (TierValue.NOT_EVALUATED,) * 3),
        ("unknown-word", (TierValue.UNKNOWN,) * 3),
    ],
)
async def test_both_generations_bring_the_same_analysis(
    generation: Literal[1, 2], name: str, tiers: tuple[TierValue, ...]
) -> None:
    async with simulated(generation) as (api, analyst):
        analysis = (await outcome(analyst, generation, name)).analysis
        assert analysis.status is AnalysisStatus.SUCCESS
        assert (analysis.press_safe, analysis.human_safe, analysis.recall) == tiers
        assert len(analysis.risk_segments or analysis.risk_series or ()) == 47
        assert api.ledger.credits == 1


@pytest.mark.parametrize("generation", BOTH)
@pytest.mark.parametrize(("name", "error"), [("failed", "audio_load_failed"), ("failed-no-error", None)])
async def test_a_failed_analysis_is_finished(generation: Literal[1, 2], name: str, error: str | None) -> None:
    async with simulated(generation) as (_, analyst):
        analysis = (await outcome(analyst, generation, name)).analysis
        assert (analysis.status, analysis.error) == (AnalysisStatus.FAILED, error)


async def test_a_file_id_is_bought_in_generation_1_and_refused_without_a_call_in_generation_2() -> None:
    filed = TrackSubmitted(item_id="17", file_id="file-17")
    async with simulated(1) as (api, analyst):
        assert isinstance((await analyst.submit(filed)).result, Finished)
        assert api.ledger.scans == {"file-17": 1}
    async with simulated(2) as (api, analyst):
        assert fault(await analyst.submit(filed)).kind is FaultKind.INVALID_REQUEST
        assert api.ledger.requests.total() == 0


async def test_an_unfinished_job_is_running_with_the_apis_word() -> None:
    async with simulated(2, service_seconds=60.0, queued_share=0.0) as (_, analyst):
        accepted = (await analyst.submit(track())).result
        assert isinstance(accepted, Accepted)
        assert (await analyst.poll(accepted.job_id)).result == Running()


async def test_an_unknown_job_and_a_strange_one_are_told_apart() -> None:
    async with simulated(2) as (api, analyst):
        assert fault(await analyst.poll("ü/../?#%2e")).kind is FaultKind.JOB_UNKNOWN
        for strange in ("", ".", "..", "x" * 257):
            assert fault(await analyst.poll(strange)).kind is FaultKind.PROTOCOL_ERROR
        assert api.ledger.requests == {"status": 1}


@pytest.mark.parametrize("generation", BOTH)
@pytest.mark.parametrize(
    ("trouble", "kind", "detail", "bought"),
    [
        *((*row, 0) for row in BEFORE),
        (Trouble.CREDITS_EXHAUSTED, FaultKind.CREDITS_EXHAUSTED, "402 insufficient_credits", 0),
        (Trouble.DROP_AFTER_ACCEPT, FaultKind.OUTCOME_UNKNOWN, "ReadError", 1),
        (Trouble.ERROR_504_AFTER_ACCEPT, FaultKind.SERVER_ERROR, "504", 1),
        *((*row, 1) for row in BODIES),
    ],
)
async def test_each_trouble_of_a_submission_is_its_row(
    generation: Literal[1, 2], trouble: Trouble, kind: FaultKind, detail: str, bought: int
) -> None:
    async with simulated(generation) as (api, analyst):
        api.faults.set(trouble, count=1)
        found = fault(await analyst.submit(track()))
        assert (found.kind, found.detail) == (kind, detail)
        assert (api.ledger.credits, api.ledger.requests["analyze"]) == (bought, 1)
        assert isinstance((await analyst.submit(track())).result, Finished | Accepted), "it must recover"


@pytest.mark.parametrize(("trouble", "kind", "detail"), [*BEFORE, *BODIES])
async def test_each_trouble_of_a_poll_is_its_row_and_takes_one_request(
    trouble: Trouble, kind: FaultKind, detail: str
) -> None:
    async with simulated(2) as (api, analyst):
        accepted = (await analyst.submit(track())).result
        api.faults.set(trouble, count=1, on="status")
        found = fault(await analyst.poll(accepted.job_id))
        assert (found.kind, found.detail) == (kind, detail)
        assert api.ledger.requests["status"] == 1, "aiohttp would repeat a GET by itself"
        assert isinstance((await analyst.poll(accepted.job_id)).result, Finished)


@pytest.mark.parametrize("generation", BOTH)
async def test_wrong_types_everywhere_are_a_value_and_nothing_human_is_read_from_them(
    generation: Literal[1, 2],
) -> None:
    async with simulated(generation) as (api, analyst):
        api.faults.set(Trouble.WRONG_TYPES)
        result = (await analyst.submit(track())).result
        assert isinstance(result, Fault | Finished)
        if isinstance(result, Finished):
            assert TierValue.HUMAN not in (result.analysis.human_safe, result.analysis.recall)


async def test_compressed_bodies_are_decoded_once() -> None:
    async with simulated(1) as (api, analyst):
        api.faults.set(Trouble.GZIP)
        assert isinstance((await analyst.submit(track())).result, Finished)


@pytest.mark.parametrize("generation", BOTH)
async def test_the_probe_tells_reachable_from_refused_and_buys_nothing(generation: Literal[1, 2]) -> None:
    async with simulated(generation) as (api, analyst):
        assert await analyst.probe() is None
        stranger = client(api.base_url(generation), generation, key="another")
        found = await stranger.probe()
        assert found is not None
        assert found.kind is FaultKind.KEY_REFUSED
        assert api.ledger.credits == 0
        await stranger.close()


async def test_the_quota_is_read_from_every_reply() -> None:
    async with simulated(2, rate_limit_per_minute=2, time_scale=60.0) as (_, analyst):
        replies = [await analyst.submit(track()) for _ in range(3)]
        assert [reply.quota and (reply.quota.limit, reply.quota.remaining) for reply in replies] == [
            (2, 1),
            (2, 0),
            (2, 0),
        ]
        throttled = fault(replies[2])
        assert throttled.kind is FaultKind.THROTTLED
        assert throttled.retry_after_seconds is not None
        assert 0 < throttled.retry_after_seconds <= 1
        assert replies[2].quota is not None
        assert replies[2].quota.reset_seconds == pytest.approx(throttled.retry_after_seconds, abs=0.2)


async def test_requests_carry_what_the_api_asks_for_and_nothing_of_the_key_shows() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"job_id": "a/b", "status": "queued"})

    analyst = HumanStandard(
        base_url="https://api.example/api/",
        api_key=KEY,
        generation=2,
        transport=httpx.MockTransport(answer),
        timeout_seconds=5,
        user_agent="track-intake-tests/1",
        wall_clock=time.time,
    )
    assert (await analyst.submit(track())).result == Accepted("a/b")
    await analyst.poll("a/b")
    assert [(one.method, str(one.url)) for one in seen] == [
        ("POST", "https://api.example/api/analyze?detail=full"),
        ("GET", "https://api.example/api/jobs/a%2Fb/status?detail=full"),
    ]
    assert seen[0].headers["Authorization"] == f"Bearer {KEY}"
    assert seen[0].headers["User-Agent"] == "track-intake-tests/1"
    assert KEY not in repr(analyst)
    assert "api.example" not in repr(analyst)


@pytest.mark.parametrize(
    ("base", "key"),
    [
        ("ftp://api.example", KEY),
        ("https://", KEY),
        ("https://user:pass@api.example", KEY),
        ("https://api.example/?key=1", KEY),
        ("http://[", KEY),
        ("http://api.example:port", KEY),
        ("https://api.example", ""),
        ("https://api.example", "key\nX-Injected: 1"),
    ],
)
def test_what_cannot_be_used_is_refused_without_being_repeated(base: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"must be|no address") as refused:
        client(base, key=key)
    assert KEY not in str(refused.value)
    assert "pass" not in str(refused.value)


async def test_two_hundred_calls_at_once_share_nothing_but_the_connections() -> None:
    async with simulated(1, service_seconds=0.05) as (api, analyst):
        tracks = [TrackSubmitted(item_id=str(n), url=f"https://cdn.example/{n}?sandbox=ai") for n in range(200)]
        replies = await asyncio.gather(*(analyst.submit(one) for one in tracks))
        assert all(isinstance(reply.result, Finished) for reply in replies)
        assert (api.ledger.credits, api.ledger.repeated) == (200, {})
