"""Jobs of many tracks, as generation 1 documents them: make one, ask how far it is, read its results as a stream.

Everything here may be repeated for nothing: questions are free, and a creation carries its idempotency key
(`flow.job_faults` says what follows from each fault).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import orjson

from worker.adapters.humanstandard.limits import quota_of
from worker.adapters.humanstandard.outcomes import MAX_ERROR_BYTES, Answer, job_of, refused
from worker.domain.jobs import MAX_ITEMS, MAX_PER_PAGE, is_job_id, result_of_line, result_too_long
from worker.domain.ndjson import Lines, Overlong
from worker.flow.faults import FaultKind
from worker.flow.job_replies import JobRefused, JobReply, PageEnd
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from worker.adapters.humanstandard.calls import Calls, Opened
    from worker.domain.jobs import JobItem, JobState, TrackResult, UnreadableResult
    from worker.flow.job_replies import PageRecord

MAX_KEY: Final = 255
MAX_LINE_BYTES: Final = 256 * 1024  # a result with 2,048 segments has some 120 kB
MAX_PAGE_BYTES: Final = 256 * 1024 * 1024  # what a page of such results could have
_BAD_JOB_ID: Final = Fault(FaultKind.PROTOCOL_ERROR, "job_id is no usable string")


class HumanStandardJobs:
    """Generation 1's `/jobs`. Use `HumanStandard.jobs`: it shares the connections, and closing is its matter."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._jobs = httpx.URL(f"{calls.base}/jobs")

    def __repr__(self) -> str:
        return f"<HumanStandardJobs {self._calls!r}>"

    async def create_job(self, key: str, name: str, items: Iterable[JobItem], webhook_url: str | None) -> JobReply:
        """Buy the analyses of 1 to 10,000 tracks with distinct ids: JobState, JobRefused, or the Fault.

        The same key always means the same job, also with other items. Raises ValueError for a key that no header can
        carry.
        """
        if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("an idempotency key must be 1 to 255 printable ASCII characters without spaces")
        body = _order(name, items, webhook_url)
        if isinstance(body, JobRefused):
            return JobReply(body)
        request = self._calls.request("POST", self._jobs, body)
        request.headers["Idempotency-Key"] = key
        return await self._call(request, None)

    async def job(self, job_id: str) -> JobReply:
        """Ask how far a job is: JobState, or the Fault that came of it."""
        if not is_job_id(job_id):
            return JobReply(_BAD_JOB_ID)
        return await self._call(self._calls.request("GET", self._place(job_id), b""), job_id)

    async def results(self, job_id: str, *, page: int, per_page: int) -> AsyncGenerator[PageRecord, None]:
        """Read one page (from 1) of the results that exist so far; the last value, and only it, is a PageEnd.

        In memory are a chunk and a line, not the page. Whoever may stop early, or be cancelled, wraps it into
        `contextlib.aclosing`, which drops the connection at once. Raises ValueError for a page that there cannot be.
        """
        if page < 1 or not 1 <= per_page <= MAX_PER_PAGE:
            raise ValueError(f"pages count from 1 and have 1 to {MAX_PER_PAGE} records")
        if not is_job_id(job_id):
            yield PageEnd(0, _BAD_JOB_ID)
            return
        where = self._place(job_id, f"/results?page={page}&per_page={per_page}")
        request = self._calls.request("GET", where, b"")
        request.headers["Accept"] = "application/x-ndjson, application/json"
        opened = await self._calls.open(request)
        if isinstance(opened, Fault):
            yield PageEnd(0, opened)
            return
        reading = _Page(job_id)
        try:
            if httpx.codes.is_success(opened.status):
                while (chunk := await reading.chunk(opened)) is not None:
                    for record in reading.records(chunk):
                        yield record
            else:
                reading.fault = await _refused(opened)
        finally:
            await opened.close()
        yield self._end(reading, opened.headers)

    def _end(self, page: _Page, headers: httpx.Headers) -> PageEnd:
        wall = self._calls.wall_clock()
        fault = page.verdict()
        if fault is not None:
            fault = self._calls.presentable(fault, headers, wall)
        return PageEnd(page.lines, fault, quota_of(headers, wall=wall))

    def _place(self, job_id: str, rest: str = "") -> httpx.URL:
        return httpx.URL(f"{self._jobs}/{quote(job_id, safe='', errors='replace')}{rest}")

    async def _call(self, request: httpx.Request, job_id: str | None) -> JobReply:
        answer = await self._calls.answer(request)
        if isinstance(answer, Fault):
            return JobReply(answer)
        wall = self._calls.wall_clock()
        result: JobState | JobRefused | Fault = job_of(answer, job_id=job_id)
        if isinstance(result, Fault):
            result = self._calls.presentable(result, answer.headers, wall)
            if result.kind is FaultKind.INVALID_REQUEST and job_id is None:
                result = JobRefused(result.detail)
        return JobReply(result, quota_of(answer.headers, wall=wall))


class _Page:
    """One page while it is read: its lines so far, and whether anything of it made sense."""

    def __init__(self, job_id: str) -> None:
        self.lines = 0
        self.fault: Fault | None = None
        self._job_id = job_id
        self._split = Lines(max_bytes=MAX_LINE_BYTES)
        self._sensible = False
        self._bytes = 0
        self._ended = False

    def __repr__(self) -> str:
        return f"<_Page lines={self.lines}>"

    async def chunk(self, opened: Opened) -> bytes | None:
        """Wait for more; an empty chunk once at the end, None after it or after a fault."""
        if self._ended:
            return None
        chunk = await opened.chunk()
        if isinstance(chunk, Fault):
            self.fault = chunk
            return None
        self._bytes += len(chunk)
        self._ended = not chunk
        if self._bytes > MAX_PAGE_BYTES:
            self.fault = Fault(FaultKind.PROTOCOL_ERROR, "200 page too long")
            return None
        return chunk

    def records(self, chunk: bytes) -> Iterator[TrackResult | UnreadableResult]:
        """Read the lines that this chunk ends; an empty one ends the last. A line cut off by a fault is none."""
        for line in self._split.feed(chunk) if chunk else self._split.rest():
            self.lines += 1
            yield self._record(line)

    def _record(self, line: bytes | Overlong) -> TrackResult | UnreadableResult:
        if isinstance(line, Overlong):
            record: TrackResult | UnreadableResult = result_too_long(line.head)
        else:
            record = result_of_line(line, job_id=self._job_id)
        self._sensible = self._sensible or record.item_id is not None
        return record

    def verdict(self) -> Fault | None:
        """Say what was wrong with the page as a whole: of results at least one line tells whose it is."""
        if self.fault is None and self.lines and not self._sensible:
            return Fault(FaultKind.PROTOCOL_ERROR, "200 no line is a result")
        return self.fault


async def _refused(opened: Opened) -> Fault:
    body = await opened.beginning(MAX_ERROR_BYTES)
    return body if isinstance(body, Fault) else refused("poll", Answer(opened.status, opened.headers, body))


def _order(name: str, items: Iterable[JobItem], webhook_url: str | None) -> bytes | JobRefused:
    listed = [_item(item) for item in items]
    if not 1 <= len(listed) <= MAX_ITEMS:
        return JobRefused(f"a job has 1 to {MAX_ITEMS} items")
    wanted: dict[str, Any] = {"name": name, "items": listed}
    if webhook_url is not None:
        wanted["webhook_url"] = webhook_url
    try:
        return orjson.dumps(wanted)
    except TypeError:  # a lone surrogate, or metadata beyond orjson's nesting
        return JobRefused("an item cannot be written as JSON")


def _item(item: JobItem) -> dict[str, Any]:
    where = {"url": item.url} if item.url is not None else {"file_id": item.file_id}
    metadata = {} if item.metadata is None else {"metadata": item.metadata}
    return {"item_id": item.item_id, **where, **metadata}
