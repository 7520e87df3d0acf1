"""Jobs through the client against the simulated API on loopback: what comes of every call, and what it cost."""

from __future__ import annotations

import pytest

from tests.adapters.humanstandard_job_scene import AFTER, created, fault, items, page, serving
from tests.adapters.humanstandard_scene import BEFORE, BODIES, client, simulated
from worker.domain.analysis import AnalysisStatus, TierValue
from worker.domain.jobs import JobItem, JobState, JobStatus, TrackResult
from worker.flow.faults import FaultKind
from worker.flow.job_faults import JOB_FAULTS, JobOperation
from worker.flow.job_replies import JobRefused, PageEnd
from worker.flow.replies import Fault, Finished
from worker.sandbox.api import Trouble


async def test_a_job_from_creation_to_its_last_result() -> None:
    async with serving() as (api, jobs):
        reply = await jobs.create_job("key-1", "Intake", items("human", "ai", "failed"), None)
        assert isinstance(reply.result, JobState)
        job_id = reply.result.job_id
        assert reply.result == JobState(job_id, JobStatus.RUNNING, "queued", 3, 0, 0, 0)
        state = (await jobs.job(job_id)).result
        assert isinstance(state, JobState)
        assert (state.status, state.processed, state.succeeded, state.failed) == (JobStatus.COMPLETE, 3, 2, 1)
        records, end = await page(jobs, job_id)
        analyses = {one.item_id: one.analysis for one in records if isinstance(one, TrackResult)}
        assert [analyses[n].human_safe for n in "012"] == [
            TierValue.HUMAN,
            TierValue.SUSPICIOUS,
            TierValue.NOT_EVALUATED,
        ]
        assert (analyses["2"].status, analyses["2"].error) == (AnalysisStatus.FAILED, "audio_load_failed")
        assert {analysis.job_id for analysis in analyses.values()} == {job_id}
        assert len(analyses["1"].risk_series or ()) == 47
        assert end == PageEnd(3)
        assert api.ledger.requests == {"jobs": 1, "job": 1, "results": 1}
        assert api.ledger.credits == 3


async def test_a_result_is_the_same_analysis_as_a_single_call_brings() -> None:
    async with simulated(1) as (_, analyst):
        (item,) = items("borderline")
        single = (await analyst.submit(item)).result
        records, _ = await page(analyst.jobs, await created(analyst.jobs, "borderline"))
        assert isinstance(single, Finished)
        assert isinstance(records[0], TrackResult)
        ours, theirs = records[0].analysis, single.analysis
        same = [name for name in theirs.__slots__ if name not in {"job_id", "processed_at", "risk_series"}]
        assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]


async def test_generation_2_has_no_jobs() -> None:
    async with simulated(2) as (_, analyst):
        assert analyst.jobs is None


async def test_a_file_id_is_an_item_as_well() -> None:
    async with serving() as (api, jobs):
        await jobs.create_job("key-1", "Intake", [JobItem("1", file_id="file-17")], None)
        assert api.ledger.scans == {"file-17": 1}


async def test_a_repeat_under_the_same_key_is_the_same_job_and_buys_nothing() -> None:
    async with serving() as (api, jobs):
        first = await jobs.create_job("key-1", "Intake", items("human", "ai"), None)
        assert await jobs.create_job("key-1", "Another", items("human"), None) == first
        assert (api.ledger.credits, api.ledger.jobs) == (2, 1)


@pytest.mark.parametrize(
    ("trouble", "kind", "detail", "bought"),
    [
        *((*row, 0) for row in BEFORE),
        (Trouble.CREDITS_EXHAUSTED, FaultKind.CREDITS_EXHAUSTED, "402 insufficient_credits", 0),
        *((*row, 2) for row in AFTER),
    ],
)
async def test_each_trouble_of_a_creation_is_its_row_and_a_repeat_costs_nothing(
    trouble: Trouble, kind: FaultKind, detail: str, bought: int
) -> None:
    async with serving() as (api, jobs):
        api.faults.set(trouble, count=1)
        found = fault(await jobs.create_job("key-1", "Intake", items("human", "ai"), None))
        assert (found.kind, found.detail) == (kind, detail)
        assert (api.ledger.credits, api.ledger.requests["jobs"]) == (bought, 1)
        assert JOB_FAULTS[JobOperation.CREATE][kind].may_exist or not bought
        for _ in range(3):
            await created(jobs, "human", "ai")
        assert (api.ledger.credits, api.ledger.jobs, api.ledger.repeated) == (2, 1, {})


@pytest.mark.parametrize(("trouble", "kind", "detail"), [*BEFORE, *BODIES])
async def test_each_trouble_of_a_question_is_its_row_and_takes_one_request(
    trouble: Trouble, kind: FaultKind, detail: str
) -> None:
    async with serving() as (api, jobs):
        job_id = await created(jobs, "human")
        api.faults.set(trouble, count=1, on="job")
        found = fault(await jobs.job(job_id))
        assert (found.kind, found.detail) == (kind, detail)
        assert api.ledger.requests["job"] == 1, "aiohttp would repeat a GET by itself"
        assert isinstance((await jobs.job(job_id)).result, JobState)


async def test_a_body_of_megabytes_that_is_refused_at_once_still_shows_why() -> None:
    async with serving() as (api, jobs):
        api.faults.set(Trouble.THROTTLE, count=1)
        many = [JobItem(str(n), url=f"https://cdn.example/{n}", metadata={"m": "x" * 300}) for n in range(10_000)]
        assert fault(await jobs.create_job("key-1", "Intake", many, None)).kind is FaultKind.THROTTLED


async def test_a_refused_job_is_no_fault_and_is_free() -> None:
    async with serving() as (api, jobs):
        api.faults.set(Trouble.JOB_REFUSED, count=1)
        reply = await jobs.create_job("key-1", "Intake", items("human", "ai"), None)
        assert reply.result == JobRefused("422 validation_error")
        assert api.ledger.credits == 0
        twice = [JobItem("1", url="a"), JobItem("1", url="b")]
        assert isinstance((await jobs.create_job("key-2", "Intake", twice, None)).result, JobRefused)


@pytest.mark.parametrize(
    "order",
    [
        [],
        [JobItem(str(n), url="a") for n in range(10_001)],
        [JobItem("1", url="\ud800")],
        [JobItem("1", url="a", metadata={"deep": "\udfff"})],
    ],
    ids=["none", "too many", "surrogate", "surrogate in metadata"],
)
async def test_what_cannot_be_a_job_is_refused_without_a_request(order: list[JobItem]) -> None:
    async with serving() as (api, jobs):
        assert isinstance((await jobs.create_job("key-1", "Intake", order, None)).result, JobRefused)
        assert api.ledger.requests.total() == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\nX-Injected: 1", "ä"])
async def test_a_key_that_no_header_carries_is_a_mistake_of_ours(key: str) -> None:
    async with serving() as (_, jobs):
        with pytest.raises(ValueError, match="idempotency key"):
            await jobs.create_job(key, "Intake", items("human"), None)


async def test_an_unknown_job_and_a_strange_one_are_told_apart() -> None:
    async with serving() as (api, jobs):
        assert fault(await jobs.job("ü/../?#%2e")).kind is FaultKind.JOB_UNKNOWN
        assert fault((await page(jobs, "ü/../?#%2e"))[1]).kind is FaultKind.JOB_UNKNOWN
        assert api.ledger.requests == {"job": 1, "results": 1}
        for strange in ("", ".", "..", "x" * 257):
            assert fault(await jobs.job(strange)).kind is FaultKind.PROTOCOL_ERROR
            assert fault((await page(jobs, strange))[1]).kind is FaultKind.PROTOCOL_ERROR
        assert api.ledger.requests.total() == 2


async def test_a_base_address_that_points_elsewhere_is_the_operators_and_keeps_the_job() -> None:
    async with simulated(1) as (api, _):
        analyst = client(api.base_url(1) + "/nowhere")
        jobs = analyst.jobs
        assert jobs is not None
        assert fault(await jobs.create_job("key-1", "Intake", items("human"), None)).kind is FaultKind.MISCONFIGURED
        assert fault(await jobs.job("job-1")).kind is FaultKind.MISCONFIGURED
        assert fault((await page(jobs, "job-1"))[1]).kind is FaultKind.MISCONFIGURED
        await analyst.close()


async def test_a_refused_connection_is_the_same_fault_for_every_call() -> None:
    async with simulated(1) as (api, _):
        base = api.base_url(1)
    analyst = client(base)
    jobs = analyst.jobs
    assert jobs is not None
    assert fault(await jobs.create_job("key-1", "Intake", items("human"), None)).kind is FaultKind.CONNECT_FAILED
    assert fault(await jobs.job("job-1")).kind is FaultKind.CONNECT_FAILED
    assert (await page(jobs, "job-1"))[1].fault == Fault(FaultKind.CONNECT_FAILED, "ConnectError")
    await analyst.close()


async def test_the_quota_and_when_to_come_back_are_read_from_every_reply() -> None:
    async with serving(rate_limit_per_minute=3, time_scale=60.0) as (_, jobs):
        job_id = await created(jobs, "human")
        replies = [await jobs.job(job_id), (await page(jobs, job_id))[1], (await page(jobs, job_id))[1]]
        replies.append(await jobs.create_job("key-2", "Intake", items("human"), None))
        assert [reply.quota and (reply.quota.limit, reply.quota.remaining) for reply in replies] == [
            (3, 1),
            (3, 0),
            (3, 0),
            (3, 0),
        ]
        for throttled in replies[2:]:
            assert fault(throttled).kind is FaultKind.THROTTLED
            assert 0 < (fault(throttled).retry_after_seconds or 0) <= 1


async def test_a_webhook_address_goes_with_the_job() -> None:
    async with serving() as (api, jobs):
        refused = await jobs.create_job("key-1", "Intake", items("human"), "https://hooks.example/hs")
        assert refused.result == JobRefused("422 validation_error"), "the sandbox calls the loopback only"
        assert api.ledger.credits == 0
