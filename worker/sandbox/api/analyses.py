"""The simulated analyses: what is accepted, when its result is due, and what a caller is told meanwhile."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from worker.sandbox.api.answers import AFTER_ACCEPTANCE, FATES, INVALID, UNKNOWN_JOB, Answer
from worker.sandbox.api.faults import FaultSwitches, Trouble
from worker.sandbox.api.findings import Findings
from worker.sandbox.api.ledger import Ledger
from worker.sandbox.api.scenarios import MOCKS, SCENARIOS, Scenario, scenario_of, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.sandbox.api.config import SimulationConfig


@dataclass(frozen=True, slots=True)
class Scan:
    """One accepted analysis. Times are real monotonic seconds; a scan that never ends is due at infinity."""

    scan_id: str
    scenario: Scenario
    full: bool
    accepted_at: float
    due_at: float


class Analyses:
    """All accepted scans and the ledger they are charged to. Generation 2's jobs stay until a reset."""

    def __init__(self, config: SimulationConfig, *, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self.ledger = Ledger()
        self.faults = FaultSwitches(seed=config.seed)
        self.jobs: dict[str, Scan] = {}
        self._config = config
        self._monotonic = monotonic
        self._wall = wall
        self._findings = Findings(seed=config.seed)
        self._warm_at: float | None = None
        self._scans = 0

    async def synchronous(self, address: str | None, query: Mapping[str, str]) -> Answer:
        """Generation 1: accept, work, and answer with the result itself."""
        if address is None:
            return INVALID
        scan = self._accept(address, query)
        lost = self.faults.strike("analyze", AFTER_ACCEPTANCE)
        if lost is not None:
            return replace(AFTER_ACCEPTANCE[lost], trouble=lost)
        await self._finished(scan)
        return Answer(200, self._findings.generation_1(scan.scenario, scan_id=scan.scan_id, now=self._wall()))

    async def asynchronous(self, address: str | None, query: Mapping[str, str]) -> Answer:
        """Generation 2: accept and answer with the job's id."""
        if address is None:
            return INVALID
        scan = self._accept(address, query)
        self.jobs[scan.scan_id] = scan
        lost = self.faults.strike("analyze", AFTER_ACCEPTANCE)
        if lost is not None:
            return replace(AFTER_ACCEPTANCE[lost], trouble=lost)
        return Answer(200, b'{"job_id":"%b","status":"queued"}' % scan.scan_id.encode())

    def status(self, job_id: str, query: Mapping[str, str]) -> Answer:
        """Generation 2: say how far a job is, and its result once it is due."""
        scan = self.jobs.get(job_id)
        if scan is None:
            return UNKNOWN_JOB
        now = self._monotonic()
        if now < scan.due_at:
            started = now - scan.accepted_at >= self._queued_seconds(scan)
            word = "processing" if started else "queued"
            return Answer(200, orjson.dumps({"job_id": job_id, "status": word}))
        full = scan.full and query.get("detail") == "full"
        return Answer(200, self._findings.generation_2(scan.scenario, job_id=job_id, full=full, now=self._wall()))

    def _accept(self, address: str, query: Mapping[str, str]) -> Scan:
        self._scans += 1
        mock = MOCKS.get(query.get("mock", ""))
        scenario = mock or self._fate(scenario_of(address, seed=self._config.seed, catalogue=self._config.catalogue))
        now = self._monotonic()
        scan = Scan(
            scan_id=f"scan-{self._scans:06d}-{int(unit(self._config.seed, address, 'id') * 2**32):08x}",
            scenario=scenario,
            full=query.get("detail") == "full",
            accepted_at=now,
            due_at=now + self._service_seconds(scenario, address) if scenario.ends else math.inf,
        )
        if mock is None:
            self.ledger.charge(address, now=now, ends_at=scan.due_at)
        return scan

    def _fate(self, scenario: Scenario) -> Scenario:
        match self.faults.strike("analyze", FATES):
            case Trouble.NEVER_ENDS:
                return SCENARIOS["stuck"]
            case Trouble.FAILED_WITHOUT_ERROR:
                return SCENARIOS["failed-no-error"]
            case _:
                return scenario

    def _service_seconds(self, scenario: Scenario, address: str) -> float:
        config, now = self._config, self._monotonic()
        spread = 1 + config.jitter * (2 * unit(config.seed + self._scans, address, "service") - 1)
        seconds = config.service_seconds * spread * scenario.slowness
        if self._warm_at is None or now < self._warm_at:
            seconds += config.cold_start_seconds
        if self._warm_at is None:
            self._warm_at = now + seconds / config.time_scale
        return seconds / config.time_scale

    def _queued_seconds(self, scan: Scan) -> float:
        share = self._config.queued_share
        if scan.due_at == math.inf:
            return share * self._config.service_seconds / self._config.time_scale
        return share * (scan.due_at - scan.accepted_at)

    async def _finished(self, scan: Scan) -> None:
        if scan.due_at == math.inf:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(scan.due_at - self._monotonic())
