"""How the simulated API behaves: every figure in simulated seconds, frozen for a run."""

from __future__ import annotations

from dataclasses import dataclass, field

# What a catalogue looks like where the address does not name a scenario: weights, not shares.
CATALOGUE: tuple[tuple[str, int], ...] = (
    ("human", 66),
    ("ai", 14),
    ("borderline", 8),
    ("inconclusive", 6),
    ("failed", 3),
    ("contradiction", 2),
    ("null-tiers", 1),
)


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """`time_scale` simulated seconds pass in one real second; `rate_limit_per_minute` 0 means no limit."""

    api_key: str = field(default="sandbox-key", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    time_scale: float = 1.0
    service_seconds: float = 46.0
    jitter: float = 0.3  # share of the service time, both ways
    cold_start_seconds: float = 0.0  # added to what is accepted before the first result is due
    queued_share: float = 0.2  # share of the service time that generation 2 calls "queued"
    rate_limit_per_minute: int = 60
    retry_after: bool = True
    slow_body_seconds: float = 5.0
    bulk_parallelism: int = 200  # tracks of one job that are analysed at the same time
    results_early: bool = True  # a job's results show while it works; else when it has ended
    results_submitted_order: bool = False  # in the order of the items, so that early pages shift; else as they are done
    results_late_seconds: float = 60.0
    webhook_secret: str = field(default="sandbox-webhook-secret", repr=False)
    webhook_connections: int = 8
    webhook_attempts: int = 4
    webhook_delay_seconds: float = 30.0
    catalogue: tuple[tuple[str, int], ...] = CATALOGUE

    def __post_init__(self) -> None:
        if self.time_scale <= 0 or self.service_seconds < 0 or not 0 <= self.jitter < 1:
            raise ValueError("time_scale must be above 0, service_seconds at least 0, jitter in [0, 1)")
        if min(self.bulk_parallelism, self.webhook_connections, self.webhook_attempts) < 1:
            raise ValueError("bulk_parallelism, webhook_connections and webhook_attempts must be at least 1")
