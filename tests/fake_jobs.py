"""The API's jobs of many tracks in memory: idempotent creation, a pace, pages, webhooks, and what goes wrong by script.

A creation is taken when it arrives, whatever becomes of the caller: one that was cancelled made its job all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fake_analyst import HUMAN
from tests.virtual_time import elapse
from worker.domain.analysis import Analysis, AnalysisStatus
from worker.domain.jobs import JobState, JobStatus, ResultFlaw, TrackResult, UnreadableResult
from worker.flow.faults import FaultKind
from worker.flow.job_replies import JobRefused, JobReply, PageEnd
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.fake_webhooks import FakeWebhooks
    from worker.domain.jobs import JobItem
    from worker.flow.job_replies import PageRecord

REPLY_LOST = Fault(FaultKind.OUTCOME_UNKNOWN, "reply lost")
UNKNOWN = Fault(FaultKind.JOB_UNKNOWN, "404")


@dataclass(slots=True)
class FakeJob:
    """One job: the items in the order asked for; `dies`: the job itself fails when it is due."""

    job_id: str
    names: dict[str, str]  # item id -> the customer's
    created_at: float
    seconds: float
    dies: bool = False
    lost: bool = False  # the API does not know it any more

    def processed(self, now: float) -> int:
        return min(self.most, int(len(self.names) * (now - self.created_at) / self.seconds))

    def done_at(self, number: int) -> float:
        """When so many are processed."""
        return self.created_at + self.seconds * number / len(self.names) + 1e-6

    @property
    def most(self) -> int:
        """Tracks that ever have a result."""
        return len(self.names) // 2 if self.dies else len(self.names)

    @property
    def is_wasted(self) -> bool:
        """Whether its tracks may have to be bought again."""
        return self.dies or self.lost


class FakeJobs:
    """One API for all workers of a test. `purchases` counts by the customer's item, `bad` ones spoil a creation.

    `dying`: so many of the next jobs fail as a whole, after half of their results. `faults`: answered once each, by
    whatever call comes next; `refusing`: by every call, while it stands. `lost_replies`: creations that make their job
    and are not answered. `webhooks`: who is told of results, where anybody is.
    """

    def __init__(self, *, seconds: float = 20.0, webhooks: FakeWebhooks | None = None) -> None:
        self.seconds = seconds
        self.webhooks = webhooks
        self.answer_seconds = 0.05
        self.purchases: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.bad: set[str] = set()
        self.failing_tracks: set[str] = set()
        self.missing: set[str] = set()  # no result, ever
        self.unreadable: set[str] = set()
        self.dying = 0
        self.lost_replies = 0
        self.refusing: Fault | None = None
        self.faults: deque[Fault] = deque()
        self.jobs: dict[str, FakeJob] = {}
        self.keys: dict[str, str] = {}
        self.sizes: list[int] = []
        self.addresses: list[str | None] = []
        self.bodies: dict[str, tuple[str, tuple[str, ...], str | None]] = {}

    def wasted(self) -> Counter[str]:
        """By item: the jobs it was in that died or were lost."""
        return Counter(name for job in self.jobs.values() if job.is_wasted for name in job.names.values())

    async def create_job(self, key: str, name: str, items: Sequence[JobItem], webhook_url: str | None) -> JobReply:
        self.requests["create"] += 1
        names = {item.item_id: str((item.metadata or {})["item_id"]) for item in items}
        if (fault := self._fault()) is not None:
            await elapse(self.answer_seconds)
            return JobReply(fault)
        body = (name, tuple(names), webhook_url)
        assert self.bodies.setdefault(key, body) == body, "another request under the same key"
        if self.bad & set(names.values()) or not names:
            await elapse(self.answer_seconds)
            return JobReply(JobRefused("422 item"))
        if key not in self.keys:
            self._make(key, names, webhook_url)
        if self.lost_replies:
            self.lost_replies -= 1
            await elapse(5)
            return JobReply(REPLY_LOST)
        await elapse(self.answer_seconds)
        return JobReply(self._state(self.jobs[self.keys[key]]))

    def _fault(self) -> Fault | None:
        return self.refusing or (self.faults.popleft() if self.faults else None)

    def _make(self, key: str, names: dict[str, str], webhook_url: str | None) -> None:
        job_id = f"job-{len(self.jobs) + 1}"
        self.keys[key] = job_id
        self.sizes.append(len(names))
        self.addresses.append(webhook_url)
        dies, self.dying = self.dying > 0, max(0, self.dying - 1)
        job = self.jobs[job_id] = FakeJob(job_id, names, asyncio.get_running_loop().time(), self.seconds, dies)
        self.purchases.update(names.values())
        if self.webhooks is not None and webhook_url is not None:
            self._announce(self.webhooks, job, webhook_url)

    def _announce(self, webhooks: FakeWebhooks, job: FakeJob, webhook_url: str) -> None:
        for number, (item, name) in enumerate(list(job.names.items())[: job.most], 1):
            if isinstance(record := self._record(job.job_id, item, name), TrackResult):
                webhooks.track(webhook_url, job.job_id, record, job.done_at(number))
        webhooks.job(webhook_url, job.job_id, job.done_at(job.most), complete=not job.dies)

    def _state(self, job: FakeJob) -> JobState:
        total, processed = len(job.names), job.processed(asyncio.get_running_loop().time())
        dead = job.dies and processed == total // 2
        status = JobStatus.FAILED if dead else JobStatus.COMPLETE if processed == total else JobStatus.RUNNING
        return JobState(job.job_id, status, status.value, total=total, processed=processed)

    def _known(self, job_id: str) -> FakeJob | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.lost else job

    async def job(self, job_id: str) -> JobReply:
        self.requests["ask"] += 1
        fault, found = self._fault(), self._known(job_id)
        await elapse(self.answer_seconds)
        if fault is not None:
            return JobReply(fault)
        return JobReply(self._state(found) if found else UNKNOWN)

    async def results(self, job_id: str, *, page: int, per_page: int) -> AsyncGenerator[PageRecord, None]:
        self.requests["read"] += 1
        fault, job = self._fault(), self._known(job_id)
        await elapse(self.answer_seconds)
        if fault is not None or job is None:
            yield PageEnd(0, fault or UNKNOWN)
            return
        records = [record for item, name in self._ready(job) if (record := self._record(job_id, item, name))]
        chosen = records[(page - 1) * per_page : page * per_page]
        for record in chosen:
            yield record
        yield PageEnd(len(chosen))

    def _ready(self, job: FakeJob) -> list[tuple[str, str]]:
        return list(job.names.items())[: job.processed(asyncio.get_running_loop().time())]

    def _record(self, job_id: str, item: str, name: str) -> PageRecord | None:
        if name in self.missing:
            return None
        if name in self.unreadable:
            return UnreadableResult(item, ResultFlaw.UNKNOWN_SHAPE)
        failed = Analysis(AnalysisStatus.FAILED, error="audio_load_failed", job_id=job_id)
        return TrackResult(item, failed if name in self.failing_tracks else HUMAN)
