"""Everything that can be observed of the pipeline: one frozen dataclass a fact, handed to one callable.

Metrics and logs are small adapters that read these. Every field that may become a metric label comes from a
bounded set; none carries a payload, a secret or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RecordsReceived:
    """A fetch brought records of one partition."""

    partition: int
    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """One request to the API ended. `outcome`: finished, accepted, running, or a FaultKind."""

    operation: Literal["submit", "poll"]
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class QuotaWaited:
    """A request that quota had held back may leave: a poll since it was due, the next submission since it could."""

    operation: Literal["submit", "poll"]
    seconds: float


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A track waits for its next attempt; it holds no concurrency slot meanwhile. `kind` is a FaultKind."""

    partition: int
    offset: int
    kind: str
    attempts: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class BoughtAgain:
    """A submission was repeated although an earlier one may have been billed. `cause` is a FaultKind."""

    partition: int
    offset: int
    cause: str


@dataclass(frozen=True, slots=True)
class TrackDecided:
    """A decision was made (and waits to be published). The canonical log line."""

    topic: str
    partition: int
    offset: int
    decision_id: str
    item_id: str
    decision: str
    reason: str | None
    policy: str
    policy_digest: str
    output_topic: str
    status: str
    tiers: Mapping[str, str]  # tier name -> TierValue
    error: str | None
    job_id: str | None
    attempts: int
    analysis_seconds: float  # first call to result
    queued_seconds: float  # received to first call


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record could not be read as an event and goes to the dead-letter topic."""

    partition: int
    offset: int
    code: str
    path: str


@dataclass(frozen=True, slots=True)
class PartitionStopped:
    """Too many dead letters: so many of the last `records`, the last `in_a_row` without an event among them."""

    partition: int
    buried: int
    records: int
    in_a_row: int


@dataclass(frozen=True, slots=True)
class CommitFinished:
    """One publication with its commit ended. `outcome`: committed, failed, fenced."""

    partition: int
    outcome: Literal["committed", "failed", "fenced"]
    messages: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RebalanceFinished:
    """The assignment changed. Counts of lanes by what happened to them."""

    opened: int
    kept: int
    lost: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LaneSealed:
    """A lane ended. `cause`: moved, fenced, stopped. `dropped` counts calls whose results nobody awaits any more."""

    partition: int
    cause: Literal["moved", "fenced", "stopped"]
    dropped: int


@dataclass(frozen=True, slots=True)
class AdmissionHeld:
    """No new call starts: the cause is the operator's (FaultKind with `holds`). `detail` is safe to show."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class AdmissionResumed:
    """A probe succeeded; calls start again."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class OutageBegan:
    """The service as a whole fails: the breaker is open. `reason` is a FaultKind, `detail` is safe to show."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """The service has recovered, and every slot is in use again."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker begins to drain. `cause`: signal, or the fault's class name."""

    cause: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker ended. `dropped` counts tracks whose work was thrown away (it will be done again)."""

    dropped: int
    seconds: float


Fact = (
    RecordsReceived
    | CallFinished
    | QuotaWaited
    | RetryScheduled
    | BoughtAgain
    | TrackDecided
    | DeadLettered
    | PartitionStopped
    | CommitFinished
    | RebalanceFinished
    | LaneSealed
    | AdmissionHeld
    | AdmissionResumed
    | OutageBegan
    | OutageEnded
    | Stopping
    | Stopped
)
Observe = Callable[[Fact], None]


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One partition as it stands now; the defaults are those of a lane that is being opened.

    `watermark` is the committed offset: next to read after a restart. `oldest_seconds` counts from the receipt of the
    oldest unfinished record. `metadata_used` is the share of the commit metadata's limit, 0-1.
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
    unpublished: int = 0
    buffered_bytes: int = 0
    oldest_seconds: float | None = None
    metadata_used: float = 0.0
    stopped: bool = False  # too many dead letters: nothing more starts until a restart
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
