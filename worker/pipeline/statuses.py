"""Everything that stands now: the worker, each of its partitions, the quota; read at a scrape or by whoever asks.

What has happened is in `facts`. None of it is a payload, a secret or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Why a partition stands still, in the words of `explanation.WaitsFor`.
PausedBy = Literal["opening", "rebalance", "settling", "draining", "doubt", "dead_letters", "commits", "buffer_full"]


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One partition as it stands now; the defaults are those of a lane that is being opened.

    `watermark` is the committed offset: next to read after a restart. `lag` counts offsets from the lowest one not done
    to the topic's end, `done_above` those that are done among them. `oldest_seconds` counts from the receipt of the
    oldest unfinished record, `oldest_event_seconds` from its timestamp, `commit_seconds` from the last commit,
    `oldest_job_seconds` from when this owner had its oldest open job, or from its acceptance. `metadata_used` is the
    share of the commit metadata's limit, 0-1. `direct_estimate_seconds`: what direct calls would need for what waits,
    jobs begin where that is `bulk_above_seconds`; None where there are no jobs of many tracks. `paused_by`: one reason,
    that of the widest stop; causes that all partitions share are not among them.
    """

    topic: str
    partition: int
    suspended: bool = True
    paused: bool = True
    watermark: int | None = None
    highest_completed: int | None = None
    queued: int = 0
    in_flight: int = 0
    retrying: int = 0
    in_jobs: int = 0
    behind_key: int = 0
    unpublished: int = 0
    buffered_bytes: int = 0
    oldest_seconds: float | None = None
    oldest_event_seconds: float | None = None
    lag: int | None = None
    done_above: int = 0
    commit_seconds: float | None = None
    metadata_used: float = 0.0
    stopped: bool = False  # too many dead letters: nothing more starts until a restart
    bulk: bool = False
    direct_estimate_seconds: float | None = None
    bulk_above_seconds: float | None = None
    jobs: int = 0
    oldest_job_seconds: float | None = None
    paused_by: PausedBy | None = "opening"
    publish_error: str | None = None  # why publications fail, one after the other: nothing more starts meanwhile


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The API's quota as it stands now; the defaults are those of a worker without one of its own.

    `limit_per_minute` is the key's, `allowed_per_minute` this replica's part of it (0 without partitions). What the
    API's headers said last is of the whole key, whoever uses it. `ready_in_seconds` is None where nothing may leave
    before an assignment. `retries_left` is what the process's budget for retries holds.
    """

    limit_per_minute: int | None = None
    share: float = 1.0
    allowed_per_minute: float | None = None
    used_per_minute: float = 0.0
    waiting_polls: int = 0
    ready_in_seconds: float | None = 0.0
    api_limit: int | None = None
    api_remaining: int | None = None
    api_reset_seconds: float | None = None
    retries_left: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The whole worker as it stands now."""

    state: Literal["starting", "running", "draining", "stopped"]
    lanes: tuple[LaneStatus, ...]
    in_flight: int
    concurrency_limit: int
    held: str | None  # FaultKind with `holds`, while admission is stopped
    held_detail: str | None
    outage: str | None  # FaultKind, while the service as a whole is out and tracks wait for it
    breaker: str  # closed, open, half_open
    fetch_age_seconds: float | None  # since the consumer loop last turned
    quota: QuotaStatus = QuotaStatus()
    loop_lag_seconds: float = 0.0  # how late the event loop's timer was, at worst of late
