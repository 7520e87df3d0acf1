"""What the API tells of its jobs unasked, in virtual time: late, twice, in another order, to others, or not at all.

Whoever is told (`tell`) gets a partition and a body, as they come out of the internal topic.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import orjson

from worker.domain.analysis import AnalysisStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.domain.jobs import TrackResult

SIGNALS = ("truth_score", "geo_score", "proto_score_v1", "head_a", "head_b", "head_c")
TIERS = ("press_safe", "human_safe", "recall")


@dataclass(frozen=True, slots=True)
class Manners:
    """Shares of the events that are lost, come twice, to another partition, or lack signals; the longest delay."""

    lost: float = 0.0
    twice: float = 0.0
    astray: float = 0.0
    sparse: float = 0.0
    delay_seconds: float = 0.5


class FakeWebhooks:
    """Sends events through the loop's timers. `sent` counts what was handed over."""

    def __init__(self, manners: Manners, seed: int = 0) -> None:
        self.manners = manners
        self.tell: Callable[[int, bytes], None] | None = None
        self.sent = 0
        self._random = random.Random(seed)  # noqa: S311 - the same in every run

    def track(self, webhook_url: str, job_id: str, result: TrackResult, at: float) -> None:
        """A track has its result from then on."""
        failed = result.analysis.status is not AnalysisStatus.SUCCESS
        event: dict[str, object] = {"event": "track.complete", "job_id": job_id, "item_id": result.item_id}
        if failed:
            event |= {"status": "failed", "verdict": None, "error": result.analysis.error}
        else:
            event |= {"status": "success", "verdict": "human", "tier_verdicts": dict.fromkeys(TIERS, "human")}
            if not self._happens(self.manners.sparse):
                event |= {"scores": dict.fromkeys(SIGNALS), "origin": None, "risk_series": None}
        self._send(webhook_url, event, at)

    def job(self, webhook_url: str, job_id: str, at: float, *, complete: bool) -> None:
        """A job has ended then."""
        self._send(webhook_url, {"event": "job.complete" if complete else "job.failed", "job_id": job_id}, at)

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    def _send(self, webhook_url: str, event: dict[str, object], at: float) -> None:
        if self._happens(self.manners.lost):
            return
        partition = int(parse_qs(urlsplit(webhook_url).query)["partition"][0])
        if self._happens(self.manners.astray):
            partition += 1
        for _ in range(2 if self._happens(self.manners.twice) else 1):
            due = at + self._random.random() * self.manners.delay_seconds
            asyncio.get_running_loop().call_at(due, self._hand_over, partition, orjson.dumps(event))

    def _hand_over(self, partition: int, body: bytes) -> None:
        if self.tell is not None:
            self.sent += 1
            self.tell(partition, body)
