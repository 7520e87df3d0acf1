"""Everything that can be observed of the pipeline: one frozen dataclass a fact, handed to one callable.

Metrics and logs are small adapters that read these. Every field that may become a metric label comes from a
bounded set; none carries a payload, a secret or an address. `trace` is the span that a fact belongs to: of the track
or of the job, where somebody traces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from worker.pipeline.job_facts import (
    JobAccepted,
    JobEnded,
    JobGathered,
    JobOutcome,
    JobResult,
    ModeChanged,
    WebhookOutcome,
    WebhookReceived,
)

if TYPE_CHECKING:
    from worker.domain.trace import TraceContext

__all__ = [
    "AdmissionHeld",
    "AdmissionResumed",
    "BoughtAgain",
    "CallFinished",
    "CommitFinished",
    "DeadLettered",
    "Fact",
    "JobAccepted",
    "JobEnded",
    "JobGathered",
    "JobOutcome",
    "JobResult",
    "LaneSealed",
    "ModeChanged",
    "Observe",
    "Operation",
    "OutageBegan",
    "OutageEnded",
    "PartitionStopped",
    "QuotaWaited",
    "RebalanceFinished",
    "RecordsReceived",
    "RetryScheduled",
    "Stopped",
    "Stopping",
    "TrackDecided",
    "TracksCommitted",
    "WebhookOutcome",
    "WebhookReceived",
]

Operation = Literal["submit", "poll", "create_job", "ask_job", "read_results"]  # kinds of requests to the API


@dataclass(frozen=True, slots=True)
class RecordsReceived:
    """A fetch brought records of one partition."""

    partition: int
    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """One request to the API ended. `outcome`: finished, accepted, running, answered, or a FaultKind.

    For a job `offset` is the first of its tracks, here and in what follows.
    """

    operation: Operation
    outcome: str
    seconds: float
    partition: int
    offset: int
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class QuotaWaited:
    """A request that quota had held back may leave: a poll since it was due, the next submission since it could."""

    operation: Operation
    seconds: float
    partition: int
    offset: int
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """A track waits for its next attempt; it holds no concurrency slot meanwhile. `kind` is a FaultKind."""

    partition: int
    offset: int
    decision_id: str
    kind: str
    attempts: int
    delay_seconds: float
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class BoughtAgain:
    """Something is bought although it may have been before. `cause` is a FaultKind, or what became of a job."""

    partition: int
    offset: int
    cause: str
    tracks: int = 1
    decision_id: str | None = None  # of a single track
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class TrackDecided:
    """A decision was made (and waits to be published). The canonical log line. `job_trace`: of the job it was in."""

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
    trace: TraceContext | None = None
    job_trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record could not be read as an event and goes to the dead-letter topic."""

    partition: int
    offset: int
    code: str
    path: str
    output_topic: str
    trace: TraceContext | None = None


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
class TracksCommitted:
    """What a publication of so many seconds made visible. `written_at_ms`: each record's timestamp, Unix milliseconds.

    `traces` has one for each of them.
    """

    partition: int
    written_at_ms: tuple[int, ...]
    traces: tuple[TraceContext | None, ...]
    seconds: float


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
    | JobGathered
    | JobAccepted
    | JobEnded
    | JobResult
    | ModeChanged
    | TrackDecided
    | DeadLettered
    | PartitionStopped
    | CommitFinished
    | TracksCommitted
    | RebalanceFinished
    | LaneSealed
    | AdmissionHeld
    | AdmissionResumed
    | OutageBegan
    | OutageEnded
    | WebhookReceived
    | Stopping
    | Stopped
)
Observe = Callable[[Fact], None]
