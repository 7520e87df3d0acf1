"""Jobs of many tracks, as generation 1 documents them: make one, ask for it, page through its results.

A creation is answered once and for all: whoever comes again with the same key gets the same bytes, whatever he asks
for. What exists of a job's results at a moment is a prefix, in the order in which tracks were done.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import orjson

from worker.sandbox.api.answers import AFTER_ACCEPTANCE, FATES, UNKNOWN_JOB, UNKNOWN_PATH, WRONG_METHOD, Answer, error
from worker.sandbox.api.bulk_jobs import BulkJob, Fate, settle
from worker.sandbox.api.bulk_orders import OrderError, read_manifest, read_order
from worker.sandbox.api.faults import Trouble
from worker.sandbox.api.findings import Findings
from worker.sandbox.api.scenarios import SCENARIOS, Scenario, scenario_of, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from worker.sandbox.api.bulk_orders import Items, Order
    from worker.sandbox.api.config import SimulationConfig
    from worker.sandbox.api.faults import FaultSwitches
    from worker.sandbox.api.ledger import Ledger
    from worker.sandbox.api.webhooks import Webhooks

JOB_OPERATIONS: Final = frozenset({"jobs", "job", "results"})
_PATH: Final = re.compile(r"/api/v1/jobs(?:/(?P<job>[^/]+)(?P<results>/results)?)?")
_MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_MAX_KEY: Final = 255
_PER_PAGE, _MAX_PER_PAGE = 500, 1000
_MAX_DIGITS: Final = 9
_TOO_LARGE: Final = error(413, "payload_too_large", "The body is too large.")
_BAD_KEY: Final = error(422, "validation_error", "Idempotency-Key has at most 255 characters.")
_BAD_PAGE: Final = error(422, "validation_error", "page and per_page count from 1; status is success or failed.")
_NO_MANIFEST: Final = error(422, "manifest_unreachable", "The manifest could not be fetched.")
_REFUSED: Final = error(422, "validation_error", "The job was refused.")


def job_operation(raw_path: str) -> str | None:
    """Name what a path of generation 1 asks of jobs of many tracks; None for every other path."""
    found = _PATH.fullmatch(raw_path)
    if found is None:
        return None
    return "results" if found["results"] else "job" if found["job"] else "jobs"


class Bulk:
    """All jobs since the last reset, what was answered to their creation, and the ledger they are charged to."""

    def __init__(
        self,
        config: SimulationConfig,
        *,
        ledger: Ledger,
        faults: FaultSwitches,
        webhooks: Webhooks,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.jobs: dict[str, BulkJob] = {}
        self._originals: dict[str, Answer] = {}
        self._config = config
        self._ledger = ledger
        self._faults = faults
        self._webhooks = webhooks
        self._monotonic = monotonic
        self._wall = wall
        self._findings = Findings(seed=config.seed)

    def __repr__(self) -> str:
        return f"<Bulk jobs={len(self.jobs)}>"

    async def answer(self, operation: str, request: web.BaseRequest) -> Answer:
        """Answer a request for one of JOB_OPERATIONS."""
        if request.method != ("POST" if operation == "jobs" else "GET"):
            return WRONG_METHOD
        if operation == "jobs":
            return await self._create(request)
        found = _PATH.fullmatch(request.rel_url.raw_path)
        if found is None:
            return UNKNOWN_PATH
        job = self.jobs.get(unquote(found["job"]))
        if job is None:
            return UNKNOWN_JOB
        if operation == "job":
            return Answer(200, orjson.dumps(job.state(self._monotonic())))
        return self._results(job, request.query)

    async def _create(self, request: web.BaseRequest) -> Answer:
        body = await request.content.read(_MAX_BODY_BYTES)  # request.read() refuses more than a megabyte
        while not request.content.at_eof() and len(body) < _MAX_BODY_BYTES:
            body += await request.content.read(_MAX_BODY_BYTES)
        key = request.headers.get("Idempotency-Key", "")
        if len(body) >= _MAX_BODY_BYTES or len(key) > _MAX_KEY:
            return _BAD_KEY if len(key) > _MAX_KEY else _TOO_LARGE
        answer = self._originals.get(key) or await self._decided(key, body)
        lost = self._faults.strike("jobs", AFTER_ACCEPTANCE)
        return answer if lost is None else replace(AFTER_ACCEPTANCE[lost], trouble=lost)

    async def _decided(self, key: str, body: bytes) -> Answer:
        """Look at a request for the first time; what is decided stands for its key ever after."""
        try:
            order = read_order(body)
            items = order.items
            if items is None:
                manifest = await self._webhooks.fetch(order.manifest_url or "")
                if manifest is None:
                    return _NO_MANIFEST
                items = read_manifest(manifest)
            answer = self._originals.get(key) or self._made(order, items)  # again: somebody may have been faster
        except OrderError as wrong:
            answer = wrong.answer()
        if key:
            self._originals[key] = answer
        return answer

    def _made(self, order: Order, items: Items) -> Answer:
        if self._strikes(Trouble.JOB_REFUSED):
            return _REFUSED
        now = self._monotonic()
        job_id = f"job-{len(self.jobs) + 1:05d}-{int(unit(self._config.seed, order.name, 'job') * 2**32):08x}"
        found = [self._found(address) for address in items.addresses]
        timing = settle(items.addresses, found, config=self._config, now=now)
        self._ledger.charge_job(items.addresses)
        fate = Fate(
            fails=self._strikes(Trouble.JOB_FAILED),
            stuck=self._strikes(Trouble.JOB_STUCK),
            late=self._strikes(Trouble.RESULTS_LATE),
        )
        job = self.jobs[job_id] = BulkJob(
            job_id=job_id,
            name=order.name,
            webhook_url=order.webhook_url,
            items=items.accepted(),
            timing=timing,
            fate=fate,
            config=self._config,
            findings=self._findings,
            now=now,
            wall=self._wall(),
        )
        if job.webhook_url is not None:
            self._webhooks.watch(job)
        return Answer(200, orjson.dumps(job.state(float("-inf"))))

    def _strikes(self, trouble: Trouble) -> bool:
        if self._faults.strike("jobs", (trouble,)) is None:
            return False
        self._ledger.faults[trouble] += 1
        return True

    def _found(self, address: str) -> Scenario:
        match self._faults.strike("jobs", FATES):
            case Trouble.NEVER_ENDS:
                return SCENARIOS["stuck"]
            case Trouble.FAILED_WITHOUT_ERROR:
                return SCENARIOS["failed-no-error"]
            case _:
                return scenario_of(address, seed=self._config.seed, catalogue=self._config.catalogue)

    def _results(self, job: BulkJob, query: Mapping[str, str]) -> Answer:
        page, per_page = _number(query.get("page", "1")), _number(query.get("per_page", str(_PER_PAGE)))
        status = query.get("status")
        if page is None or per_page is None or status not in (None, "success", "failed"):
            return _BAD_PAGE
        ranks = job.results(
            self._monotonic(), early=self._config.results_early, submitted_order=self._config.results_submitted_order
        )
        ranks = job.kept(ranks, status=status, verdict=query.get("verdict"))
        per_page = min(per_page, _MAX_PER_PAGE)
        lines = [job.line(rank) for rank in ranks[(page - 1) * per_page : page * per_page]]
        if lines and self._faults.strike("results", (Trouble.BROKEN_LINE,)) is not None:
            self._ledger.faults[Trouble.BROKEN_LINE] += 1
            middle = len(lines) // 2
            lines[middle] = lines[middle][: len(lines[middle]) // 2] + b"\n"
        return Answer(200, b"".join(lines), "application/x-ndjson")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) else None
