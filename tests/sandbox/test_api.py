"""The simulated API: what it promises to the tests that trust it."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.children import started
from worker.sandbox.api import FaultSwitches, SimulatedApi, SimulationConfig, Trouble
from worker.sandbox.api.config import CATALOGUE
from worker.sandbox.api.findings import WINDOWS, Findings
from worker.sandbox.api.limiter import Limiter
from worker.sandbox.api.scenarios import MOCKS, SCENARIOS, scenario_of

AUTH = {"Authorization": "Bearer sandbox-key"}


class Clock:
    """Monotonic time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def serving(**settings: Any) -> Any:
    clock = Clock()
    api = SimulatedApi(SimulationConfig(**{"rate_limit_per_minute": 0, "jitter": 0.0} | settings), monotonic=clock)
    await api.start()
    async with aiohttp.ClientSession(headers=AUTH) as session:
        yield api, session, clock
    await api.stop()


async def submitted(api: SimulatedApi, session: aiohttp.ClientSession, name: str, query: str = "") -> str:
    url = f"{api.base_url(2)}/analyze{query}"
    async with session.post(url, json={"url": f"https://cdn.example/{name}?sandbox={name}"}) as reply:
        return str((await reply.json())["job_id"])


async def status(api: SimulatedApi, session: aiohttp.ClientSession, job_id: str, query: str = "") -> Any:
    async with session.get(f"{api.base_url(2)}/jobs/{job_id}/status{query}") as reply:
        return await reply.json()


async def test_a_job_is_queued_then_processing_then_complete() -> None:
    async with serving(service_seconds=100.0, queued_share=0.2, time_scale=10.0) as (api, session, clock):
        job_id = await submitted(api, session, "ai", "?detail=full")
        seen = []
        for seconds in (0.0, 1.9, 0.2, 7.8, 0.2):
            clock.now += seconds
            seen.append((await status(api, session, job_id, "?detail=full"))["status"])
        assert seen == ["queued", "queued", "processing", "processing", "complete"]


async def test_a_cold_start_is_paid_by_what_comes_before_the_first_result() -> None:
    async with serving(service_seconds=10.0, cold_start_seconds=20.0) as (api, session, clock):
        seen = []
        for seconds in (20.0, 10.0, 20.0):
            job_id = await submitted(api, session, "ai")
            clock.now += seconds
            seen.append((await status(api, session, job_id))["status"])
        clock.now += 10.0
        assert seen == ["processing", "processing", "complete"], "cold until 30 s, then 10 s are enough"


@pytest.mark.parametrize("asked", ["", "?detail=full"])
@pytest.mark.parametrize("polled", ["", "?detail=full"])
async def test_tiers_come_only_where_both_calls_ask_for_detail(asked: str, polled: str) -> None:
    async with serving(service_seconds=0.0) as (api, session, _):
        result = (await status(api, session, await submitted(api, session, "ai", asked), polled))["result"]
        full = bool(asked and polled)
        assert ("tier_verdicts" in result) is full
        assert len(result["risk_segments_full_mix" if full else "risk_timeline"]) == WINDOWS


async def test_labels_stand_on_ai_verdicts_only_and_both_time_formats_occur() -> None:
    findings = Findings(seed=1)
    for name, scenario in SCENARIOS.items():
        first = orjson.loads(findings.generation_1(scenario, scan_id="1", now=1_800_000_000.5))
        second = orjson.loads(findings.generation_2(scenario, job_id="1", full=True, now=1_800_000_000.5))
        assert ("industry_label" in first) is (name == "ai")
        assert ("industry_label" in second.get("result", {})) is (name == "ai")
    times = {
        orjson.loads(findings.generation_1(SCENARIOS["ai"], scan_id=str(n), now=1.5))["processed_at"][-1]
        for n in range(50)
    }
    assert times == {"Z", "0"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url":1}', b'{"url":"a","file_id":"b"}', b'{"url":""}'])
async def test_neither_or_both_addresses_are_422_and_free(body: bytes) -> None:
    async with serving() as (api, session, _):
        async with session.post(f"{api.base_url(1)}/analyze", data=body) as reply:
            assert reply.status == 422
        assert api.ledger.credits == 0


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "sandbox-key"}])
async def test_a_missing_or_wrong_key_is_401(headers: dict[str, str]) -> None:
    async with serving() as (api, _, _), aiohttp.ClientSession(headers=headers) as stranger:
        for path in ("/api/v1/analyze", "/api/analyze", "/api/jobs/x/status", "/api/v1/jobs/x"):
            async with stranger.post(api.base_url(2).removesuffix("/api") + path) as reply:
                assert reply.status == 401


@pytest.mark.parametrize("name", sorted(MOCKS))
async def test_mocks_are_marked_and_free(name: str) -> None:
    async with serving(service_seconds=0.0) as (api, session, _):
        result = await status(api, session, await submitted(api, session, "ai", f"?mock={name}"))
        assert (result["result"]["mock"], result["result"]["mock_scenario"]) == (True, name)
        assert api.ledger.credits == 0


async def test_every_accepted_scan_is_charged_even_where_its_answer_is_lost() -> None:
    async with serving(service_seconds=0.0) as (api, session, _):
        for trouble in (Trouble.DROP_AFTER_ACCEPT, Trouble.ERROR_504_AFTER_ACCEPT, Trouble.NOT_JSON):
            api.faults.set(trouble, count=1)
            url, body = f"{api.base_url(1)}/analyze", b'{"url":"https://cdn.example/17"}'
            try:
                async with session.post(url, data=body) as reply:
                    await reply.read()
            except aiohttp.ServerDisconnectedError:
                assert trouble is Trouble.DROP_AFTER_ACCEPT
        assert api.ledger.scans == {"https://cdn.example/17": 3}
        assert api.ledger.repeated == {"https://cdn.example/17": 3}


async def test_the_ledger_counts_what_is_in_flight() -> None:
    async with serving(service_seconds=10.0) as (api, session, clock):
        for _ in range(3):
            await submitted(api, session, "ai")
        clock.now += 11.0
        await submitted(api, session, "ai")
        async with session.get(f"{api.base_url(1).removesuffix('/api/v1')}/_sandbox/ledger") as reply:
            shown = await reply.json()
        assert (shown["credits"], shown["tracks"], shown["analyses_in_flight_max"]) == (4, 1, 3)
        assert shown["requests"] == {"analyze": 4}
        assert shown["requests_in_flight"] == 0


async def test_faults_are_switched_and_everything_is_reset_over_http() -> None:
    async with serving(service_seconds=0.0) as (api, session, _):
        root = api.base_url(2).removesuffix("/api")
        wanted = {"error_500": {"count": 1, "on": "analyze"}, "throttle": 0, "cdn_refused": {"rate": 0.0}}
        async with session.post(f"{root}/_sandbox/faults", json=wanted) as reply:
            assert reply.status == 200
        statuses = []
        for _ in range(2):
            async with session.post(f"{api.base_url(2)}/analyze", json={"url": "x"}) as reply:
                statuses.append(reply.status)
        assert statuses == [500, 200]
        async with session.post(f"{root}/_sandbox/reset") as reply:
            assert reply.status == 200
        assert (api.ledger.credits, api.ledger.requests.total()) == (0, 0)


@pytest.mark.parametrize(
    "wanted",
    [{"no_such": 1}, {"throttle": 2}, {"throttle": {"count": -1}}, {"throttle": {"of": 1}}, {"throttle": "x"}, [], None,
     {"throttle": {"rate": "x"}}],
)  # fmt: skip
async def test_a_mistyped_fault_is_422(wanted: Any) -> None:
    async with serving() as (api, session, _):
        url = api.base_url(2).removesuffix("/api") + "/_sandbox/faults"
        async with session.post(url, json=wanted) as reply:
            assert reply.status == 422
        assert "[]" in repr(api.faults)


def test_a_seed_gives_the_same_faults_again_at_about_the_rate() -> None:
    def drawn() -> list[Trouble | None]:
        switches = FaultSwitches(seed=7)
        switches.set(Trouble.THROTTLE, rate=0.3, on="analyze")
        return [switches.strike("analyze", list(Trouble)) for _ in range(1000)]

    assert drawn() == drawn()
    assert 250 < Counter(drawn())[Trouble.THROTTLE] < 350


def test_a_fault_of_one_operation_spares_the_other_and_ends_with_its_count() -> None:
    switches = FaultSwitches(seed=0)
    switches.set(Trouble.ERROR_500, count=2, on="status")
    assert switches.strike("analyze", Trouble) is None
    assert [switches.strike("status", Trouble) for _ in range(3)] == [Trouble.ERROR_500, Trouble.ERROR_500, None]


@given(
    limit=st.integers(1, 5),
    scale=st.sampled_from([1.0, 60.0]),
    steps=st.lists(st.floats(0, 40), max_size=40),
)
def test_no_window_admits_more_than_the_limit(limit: int, scale: float, steps: list[float]) -> None:
    limiter, now, admitted = Limiter(limit=limit, time_scale=scale), 0.0, Counter[float]()
    for step in steps:
        now += step / scale
        admission = limiter.admit(now)
        admitted[round(now + admission.reset_seconds, 6)] += admission.allowed
        assert 0 <= admission.remaining <= limit
        assert 0 <= admission.reset_seconds <= 60.0 / scale + 1e-9
        assert admission.allowed or admission.remaining == 0
    assert all(count <= limit for count in admitted.values())


async def test_the_quota_stands_on_every_reply_and_retry_after_can_be_switched() -> None:
    for switched in (True, False):
        async with serving(rate_limit_per_minute=1, retry_after=switched) as (api, session, _):
            replies = []
            for _ in range(2):
                async with session.get(f"{api.base_url(2)}/jobs/x/status") as reply:
                    replies.append((reply.status, dict(reply.headers)))
            assert [code for code, _ in replies] == [404, 429]
            for _, headers in replies:
                assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= headers.keys()
                assert headers["X-RateLimit-Reset"].isdigit()
            assert ("Retry-After" in replies[1][1]) is switched
            assert api.ledger.throttled == 1


def test_an_address_names_its_scenario_or_draws_it_from_the_catalogue() -> None:
    for name in SCENARIOS:
        assert scenario_of(f"https://x/y?sandbox={name}&z=1", seed=0, catalogue=CATALOGUE).name == name
        assert scenario_of(f"sandbox:{name}", seed=0, catalogue=CATALOGUE).name == name
    drawn = Counter(scenario_of(f"https://x/{n}", seed=0, catalogue=CATALOGUE).name for n in range(2000))
    total = sum(weight for _, weight in CATALOGUE)
    for name, weight in CATALOGUE:
        assert drawn[name] / 2000 == pytest.approx(weight / total, abs=0.04)


def test_as_a_process_it_says_where_it_listens_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "worker.sandbox.api", "--port", "0", "--service-seconds", "0", "--no-retry-after"]
    with started(command) as process:
        assert process.stdout is not None
        addresses = orjson.loads(process.stdout.readline())
        assert addresses["generation_1"] == addresses["address"] + "/api/v1"
        assert addresses["generation_2"] == addresses["address"] + "/api"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
