"""What a worker must be told to work in the sandbox: its settings, scaled like the simulated API's clock."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import worker
from worker.sandbox.broker import GUARANTEE, SESSION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

TOPICS: Mapping[str, str] = {
    "TOPIC_SUBMITTED": "track-submitted",
    "TOPIC_APPROVE": "track-approve",
    "TOPIC_REVIEW": "track-review",
    "TOPIC_REJECT": "track-reject",
    "TOPIC_DEAD_LETTER": "track-dead-letter",
}
DEADLINE_SECONDS = 300.0  # simulated, like all of these; beyond it the vendor's clients give up
FIRST_POLL_SECONDS = 35.0
POLL_INTERVAL_SECONDS = 8.0
RETRY_BASE_SECONDS, RETRY_MAX_SECONDS = 4.0, 60.0
JOB_WAIT_SECONDS, JOB_POLL_SECONDS, JOB_DEADLINE_SECONDS = 30.0, 20.0, 21_600.0
LEAST_DEADLINE_SECONDS = 3.0  # real: a busy machine needs as much for an analysis of any length
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where the simulated API and the broker are. `time_scale` simulated seconds pass in a real one."""

    api_address: str
    api_key: str = field(repr=False)
    generation: int
    bootstrap_servers: str
    time_scale: float
    rate_limit_per_minute: int  # of the API, simulated; 0: none

    def settings(self) -> dict[str, str]:
        """Name and value of every setting that a worker here needs besides the defaults."""
        told = {
            "HS_API_KEY": self.api_key,
            "HS_BASE_URL": self.api_address + {1: "/api/v1", 2: "/api"}[self.generation],
            "HS_API_GENERATION": str(self.generation),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "GUARANTEE": GUARANTEE,
        }
        return told if self.time_scale == 1 else told | self._scaled()

    def _scaled(self) -> dict[str, str]:
        deadline = max(LEAST_DEADLINE_SECONDS, DEADLINE_SECONDS / self.time_scale)
        seconds = {
            "HS_FIRST_POLL_SECONDS": FIRST_POLL_SECONDS / self.time_scale,
            "HS_POLL_INTERVAL_SECONDS": POLL_INTERVAL_SECONDS / self.time_scale,
            "HS_TIMEOUT_SECONDS": deadline,
            "HS_CONNECT_TIMEOUT_SECONDS": min(10.0, deadline),
            "RECORD_DEADLINE_SECONDS": deadline,
            "RETRY_BASE_SECONDS": RETRY_BASE_SECONDS / self.time_scale,
            "RETRY_MAX_SECONDS": RETRY_MAX_SECONDS / self.time_scale,
            "BULK_MAX_WAIT_SECONDS": JOB_WAIT_SECONDS / self.time_scale,
            "BULK_POLL_SECONDS": JOB_POLL_SECONDS / self.time_scale,
            "BULK_DEADLINE_SECONDS": max(LEAST_DEADLINE_SECONDS, JOB_DEADLINE_SECONDS / self.time_scale),
        }
        return {name: f"{value:g}" for name, value in seconds.items()} | {"RATE_LIMIT_PER_MINUTE": str(self._rate())}

    def _rate(self) -> int:
        """Half the API's rate: a hundredth of a real minute's quota may leave at once, and its window is short here."""
        return int(self.rate_limit_per_minute * self.time_scale / 2)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Make a process's whole environment: these settings and nothing of ours that could disturb them."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PYTHONPATH": str(Path(worker.__file__).parents[1])} | dict(settings)
