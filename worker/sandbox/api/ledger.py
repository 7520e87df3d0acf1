"""What the simulated API was asked for and what it charged: how a test proves that nothing was paid for twice."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ledger:
    """Counts every accepted scan by address (or file id), and every request by kind and status."""

    def __init__(self) -> None:
        self.scans: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.webhooks: Counter[str] = Counter()  # deliveries by what came of them
        self.jobs = 0
        self.job_items = 0
        self.credits = 0
        self.throttled = 0
        self.requests_in_flight = 0
        self.requests_in_flight_max = 0
        self.analyses_in_flight_max = 0
        self._ends: list[float] = []

    def __repr__(self) -> str:
        return f"<Ledger credits={self.credits} requests={self.requests.total()} throttled={self.throttled}>"

    @property
    def repeated(self) -> dict[str, int]:
        """Addresses that were bought more than once, with how often."""
        return {address: count for address, count in self.scans.items() if count > 1}

    def begin(self, operation: str) -> None:
        """Count a request that has arrived."""
        self.requests[operation] += 1
        self.requests_in_flight += 1
        self.requests_in_flight_max = max(self.requests_in_flight_max, self.requests_in_flight)

    def end(self, status: int) -> None:
        """Count its answer; status 0 is a connection that was dropped."""
        self.requests_in_flight -= 1
        self.statuses[status] += 1
        self.throttled += status == 429  # noqa: PLR2004 - the status line's own number

    def charge(self, address: str, *, now: float, ends_at: float) -> None:
        """Charge one credit for a scan that runs from now until `ends_at` (monotonic seconds)."""
        self.scans[address] += 1
        self.credits += 1
        while self._ends and self._ends[0] <= now:
            heappop(self._ends)
        heappush(self._ends, ends_at)
        self.analyses_in_flight_max = max(self.analyses_in_flight_max, len(self._ends))

    def charge_job(self, addresses: Sequence[str]) -> None:
        """Charge one credit for each track of a job; `analyses_in_flight_max` does not count them."""
        self.scans.update(addresses)
        self.credits += len(addresses)
        self.jobs += 1
        self.job_items += len(addresses)

    def snapshot(self) -> dict[str, Any]:
        """Show all counts as plain JSON values."""
        return {
            "credits": self.credits,
            "tracks": len(self.scans),
            "repeated": self.repeated,
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": {str(kind): count for kind, count in self.faults.items()},
            "webhooks": dict(self.webhooks),
            "jobs": self.jobs,
            "job_items": self.job_items,
            "throttled": self.throttled,
            "requests_in_flight": self.requests_in_flight,
            "requests_in_flight_max": self.requests_in_flight_max,
            "analyses_in_flight_max": self.analyses_in_flight_max,
        }
