"""One simulated job: when each of its tracks is done is settled at its beginning, and looked up ever after.

A job works on `bulk_parallelism` tracks at a time, in the order of its items. Tracks are kept by *rank*, their place
in the order of completion, in a few arrays: about 20 bytes a track beside its id and metadata, and no task.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapreplace
from typing import TYPE_CHECKING, Any, Final

import orjson

from worker.sandbox.api.scenarios import SCENARIOS, Scenario, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.sandbox.api.bulk_orders import Items
    from worker.sandbox.api.config import SimulationConfig
    from worker.sandbox.api.findings import Findings

_SCENARIOS: Final = tuple(SCENARIOS.values())
_NUMBERS: Final = {name: number for number, name in enumerate(SCENARIOS)}
_HUMAN, _SUSPICIOUS, _FAILED = b"hsf"
_VERDICTS: Final = {"human": _HUMAN, "suspicious": _SUSPICIOUS}
# What a webhook holds of a result; the rest must be fetched.
_TOLD: Final = ("status", "verdict", "tier_verdicts", "scores", "error", "processed_at", "mock")


def _kind(scenario: Scenario) -> int:
    if scenario.failed:
        return _FAILED
    return _SUSPICIOUS if scenario.suspicious else _HUMAN


_KINDS: Final = bytes(map(_kind, _SCENARIOS)).ljust(256, b"?")


@dataclass(frozen=True, slots=True)
class Fate:
    """What goes wrong with a job as a whole."""

    fails: bool = False  # when half of its tracks are done
    stuck: bool = False  # the second half is never done
    late: bool = False  # results show some time after they are counted


@dataclass(frozen=True, slots=True)
class Timing:
    """When each rank is done (real monotonic seconds), and what is found in it (numbers of scenarios)."""

    due: array[float] = field(repr=False)
    positions: array[int] = field(repr=False)
    found: bytes = field(repr=False)


def settle(addresses: Sequence[str], found: Sequence[Scenario], *, config: SimulationConfig, now: float) -> Timing:
    """Settle when the tracks of a job that begins now are done. One that never ends takes nobody's place."""
    free = [now] * config.bulk_parallelism
    due = array("d")
    for number, (address, scenario) in enumerate(zip(addresses, found, strict=True)):
        if not scenario.ends:
            due.append(math.inf)
            continue
        spread = 1 + config.jitter * (2 * unit(config.seed + number, address, "service") - 1)
        due.append(free[0] + config.service_seconds * spread * scenario.slowness / config.time_scale)
        heapreplace(free, due[-1])
    order = sorted(range(len(due)), key=due.__getitem__)
    return Timing(
        array("d", (due[position] for position in order)),
        array("I", order),
        bytes(_NUMBERS[found[position].name] for position in order),
    )


class BulkJob:
    """A job and what is to be said of it at any moment; `now` is real monotonic seconds."""

    def __init__(
        self,
        *,
        job_id: str,
        name: str,
        webhook_url: str | None,
        items: Items,
        timing: Timing,
        fate: Fate,
        config: SimulationConfig,
        findings: Findings,
        now: float,
        wall: float,
    ) -> None:
        self.job_id = job_id
        self.webhook_url = webhook_url
        self._name = name
        self._items = items
        self._due = timing.due
        self._positions = timing.positions
        self._found = timing.found
        self._kinds = timing.found.translate(_KINDS)
        self._findings = findings
        self._began = now
        self._wall = wall
        self._late_seconds = config.results_late_seconds / config.time_scale if fate.late else 0.0
        self._queued_share = config.queued_share
        half = len(self._due) // 2
        self._fails_at = self._half_done(half, config) if fate.fails else math.inf
        if fate.stuck:
            self._due[half:] = array("d", [math.inf]) * (len(self._due) - half)

    def __repr__(self) -> str:
        return f"<BulkJob {self.job_id} of {len(self._due)}>"

    def _half_done(self, half: int, config: SimulationConfig) -> float:
        due = self._due[half]
        return due if due < math.inf else self._began + config.service_seconds / config.time_scale

    def state(self, now: float) -> dict[str, Any]:
        """Give the job object."""
        done = self._done(now)
        failed, suspicious = self._kinds.count(_FAILED, 0, done), self._kinds.count(_SUSPICIOUS, 0, done)
        status = self._status(now, done)
        ended = {"complete": self._due[-1], "failed": self._fails_at}.get(status)
        return {
            "id": self.job_id,
            "name": self._name,
            "status": status,
            "total": len(self._due),
            "processed": done,
            "succeeded": done - failed,
            "failed": failed,
            "verdict_counts": {"human": done - failed - suspicious, "suspicious": suspicious},
            "created_at": self._time(self._began),
            "completed_at": None if ended is None else self._time(ended),
        }

    def results(self, now: float, *, early: bool, submitted_order: bool) -> Sequence[int]:
        """Give the ranks whose results show: all that is done or, unless `early`, nothing before the job has ended."""
        done = self._done(now)
        if not early and self._status(now, done) not in {"complete", "failed"}:
            return ()
        shown = range(bisect_right(self._due, min(now - self._late_seconds, self._fails_at)))
        return sorted(shown, key=self._positions.__getitem__) if submitted_order else shown

    def kept(self, ranks: Sequence[int], *, status: str | None, verdict: str | None) -> Sequence[int]:
        """Keep the ranks that a caller filters for."""
        if status is not None:
            ranks = [rank for rank in ranks if (self._kinds[rank] == _FAILED) is (status == "failed")]
        if verdict is not None:
            ranks = [rank for rank in ranks if self._kinds[rank] == _VERDICTS.get(verdict)]
        return ranks

    def line(self, rank: int) -> bytes:
        """Encode one record of the results, always the same."""
        return b"{%b,%b\n" % (self._items.head(self._positions[rank]), self._finding(rank)[1:])

    def moments(self) -> Iterator[tuple[float, int]]:
        """Tell when a webhook is due, and of which rank; -1 is the job's own end. A job that is stuck has none."""
        for rank, due in enumerate(self._due):
            if due > self._fails_at:
                break
            yield due, rank
        end = min(self._fails_at, self._due[-1])
        yield end, -1

    def event(self, rank: int) -> bytes:
        """Encode what a webhook says, always the same."""
        if rank < 0:
            return self._end()
        item = orjson.loads(b"{%b}" % self._items.head(self._positions[rank]))
        finding = orjson.loads(self._finding(rank))
        told = {name: finding[name] for name in _TOLD if name in finding}
        head = {"event": "track.complete", "job_id": self.job_id, "item_id": item["item_id"]}
        return orjson.dumps(head | told)

    def _end(self) -> bytes:
        if self._fails_at < math.inf:
            failed_at = self._time(self._fails_at)
            return orjson.dumps({"event": "job.failed", "job_id": self.job_id, "failed_at": failed_at})
        state = self.state(self._due[-1])
        summary = {name: state[name] for name in ("total", "succeeded", "failed", "verdict_counts")}
        head = {"event": "job.complete", "job_id": self.job_id, "job_name": self._name}
        return orjson.dumps(head | {"completed_at": state["completed_at"], "summary": summary})

    def _finding(self, rank: int) -> bytes:
        scan_id = f"{self.job_id}-{self._positions[rank]}"
        wall = self._wall + self._due[rank] - self._began
        return self._findings.generation_1(_SCENARIOS[self._found[rank]], scan_id=scan_id, now=wall)

    def _done(self, now: float) -> int:
        return bisect_right(self._due, min(now, self._fails_at))

    def _status(self, now: float, done: int) -> str:
        if now >= self._fails_at:
            return "failed"
        if done == len(self._due):
            return "complete"
        first = min(self._due[0], self._fails_at)
        return "queued" if now - self._began < self._queued_share * (first - self._began) else "processing"

    def _time(self, moment: float) -> str:
        return datetime.fromtimestamp(self._wall + moment - self._began, UTC).isoformat().replace("+00:00", "Z")
