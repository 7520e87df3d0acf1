"""What the tests of jobs share: a client of jobs with its simulated API, a job, a page, a fault without secrets."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import Any

from tests.adapters.humanstandard_scene import KEY, simulated
from worker.adapters.humanstandard import HumanStandardJobs
from worker.domain.jobs import JobItem, JobState, TrackResult, UnreadableResult
from worker.flow.faults import FaultKind
from worker.flow.job_replies import JobReply, PageEnd
from worker.flow.replies import Fault, Reply
from worker.sandbox.api import Trouble

SECRET = "secret-of-the-label"  # noqa: S105 - stands for one, to be searched for in what is published


@asynccontextmanager
async def serving(*, seconds: float = 5.0, **settings: Any) -> Any:
    async with simulated(1, seconds=seconds, **settings) as (api, analyst):
        jobs = analyst.jobs
        assert isinstance(jobs, HumanStandardJobs)
        yield api, jobs


def items(*names: str) -> list[JobItem]:
    return [
        JobItem(str(n), url=f"https://cdn.example/{n}?token={SECRET}&sandbox={name}", metadata={"n": n})
        for n, name in enumerate(names)
    ]


async def created(jobs: HumanStandardJobs, *names: str, key: str = "key-1") -> str:
    reply = await jobs.create_job(key, "Intake", items(*names), None)
    assert isinstance(reply.result, JobState), reply
    return reply.result.job_id


async def page(
    jobs: HumanStandardJobs, job_id: str, number: int = 1, per_page: int = 1000
) -> tuple[list[TrackResult | UnreadableResult], PageEnd]:
    async with aclosing(jobs.results(job_id, page=number, per_page=per_page)) as records:
        *found, end = [record async for record in records]
    assert isinstance(end, PageEnd)
    assert not any(isinstance(record, PageEnd) for record in found)
    return [record for record in found if not isinstance(record, PageEnd)], end


def fault(found: JobReply | PageEnd | Reply) -> Fault:
    result = found.fault if isinstance(found, PageEnd) else found.result
    assert isinstance(result, Fault), found
    for secret in (KEY, SECRET, "cdn.example", "http"):
        assert secret not in result.detail
    return result


BEFORE = [
    (Trouble.KEY_REVOKED, FaultKind.KEY_REFUSED, "401 unauthorized"),
    (Trouble.DROP_BEFORE_ACCEPT, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.CDN_REFUSED, FaultKind.CDN_REFUSED, "403 error code: 1010"),
    (Trouble.REDIRECT, FaultKind.MISCONFIGURED, "302"),
    (Trouble.ERROR_500, FaultKind.SERVER_ERROR, "500 internal_error"),
    (Trouble.ERROR_502_HTML, FaultKind.SERVER_ERROR, "502"),
    (Trouble.ERROR_503, FaultKind.UNAVAILABLE, "503 unavailable"),
    (Trouble.ERROR_504_HTML, FaultKind.SERVER_ERROR, "504"),
    (Trouble.THROTTLE, FaultKind.THROTTLED, "429 rate_limit_exceeded"),
]
BODIES = [
    (Trouble.NOT_JSON, FaultKind.NOT_JSON, "200 not JSON"),
    (Trouble.UNKNOWN_SHAPE, FaultKind.PROTOCOL_ERROR, "unknown shape: data, ok"),
    (Trouble.CUT_BODY, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.OVERSIZED_BODY, FaultKind.PROTOCOL_ERROR, "200 body too long"),
]
AFTER = [
    (Trouble.DROP_AFTER_ACCEPT, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.ERROR_504_AFTER_ACCEPT, FaultKind.SERVER_ERROR, "504"),
    *BODIES,
]
