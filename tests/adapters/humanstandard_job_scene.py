"""What the tests of jobs share: a client of jobs with its simulated API, a job, a page, a fault without secrets."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import Any

from tests.adapters.humanstandard_scene import BODIES, KEY, simulated
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


AFTER = [
    (Trouble.DROP_AFTER_ACCEPT, FaultKind.OUTCOME_UNKNOWN, "ReadError"),
    (Trouble.ERROR_504_AFTER_ACCEPT, FaultKind.SERVER_ERROR, "504"),
    *BODIES,
]
