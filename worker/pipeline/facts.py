"""Everything that can be observed of the pipeline: one frozen dataclass a fact, handed to one callable.

Metrics and logs are small adapters that read these. Every field that may become a metric label comes from a
bounded set; none carries a payload, a secret or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Operation = Literal["submit", "poll", "create_job", "ask_job", "read_results"]  # kinds of requests to the API


@dataclass(frozen=True, slots=True)
class RecordsReceived:
    """A fetch brought records of one partition."""

    partition: int
    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """One request to the API ended. `outcome`: finished, accepted, running, or a FaultKind."""

    operation: Operation
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class QuotaWaited:
    """A request that quota had held back may leave: a poll since it was due, the next submission since it could."""

    operation: Operation
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
    """Something is bought although it may have been before. `cause` is a FaultKind, or what became of a job.

    With several tracks `offset` is the first of them.
    """

    partition: int
    offset: int
    cause: str
    tracks: int = 1


JobOutcome = Literal["complete", "refused", "failed", "lost", "hopeless", "timeout"]


@dataclass(frozen=True, slots=True)
class JobGathered:
    """A job of so many tracks is meant to be; the oldest of them has waited for so long."""

    partition: int
    first_offset: int
    last_offset: int
    tracks: int
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """The API has made a job, or has given the one that it had made under the same key."""

    partition: int
    job_id: str
    tracks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Nothing more is expected of a job. `tracks_left` go into other jobs, alone, or to people."""

    partition: int
    outcome: JobOutcome
    tracks_left: int
    seconds: float
    detail: str | None


@dataclass(frozen=True, slots=True)
class JobResult:
    """A result of one track of a job came, by a page of results or by a webhook.

    late: the track has its decision; incomplete: the decision rests on more; foreign: of no track of this job.
    """

    source: Literal["page", "webhook"]
    outcome: Literal["decided", "late", "incomplete", "foreign", "unreadable", "unknown_job"]


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """A partition's tracks go another way from now on. `estimate_seconds`: to clear what waits by direct calls."""

    partition: int
    mode: str
    waiting: int
    estimate_seconds: float


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
class TracksCommitted:
    """What a publication made visible. `written_at_ms`: each record's own timestamp, Unix milliseconds."""

    partition: int
    written_at_ms: tuple[int, ...]


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


WebhookOutcome = Literal[
    "published",  # durable on the internal topic
    "unknown_event",  # signed by the API, of a kind that nobody documented: acknowledged and dropped
    "unreadable",  # signed by the API, and no event of a job: acknowledged and dropped
    "refused",  # not signed, or with another secret
    "bad_partition",
    "too_large",
    "too_slow",
    "cut_off",  # the connection ended before the event did
    "busy",  # too many at once
    "not_published",  # the brokers did not take it in time
]


@dataclass(frozen=True, slots=True)
class WebhookReceived:
    """Somebody sent something to the webhook's address, and was answered."""

    outcome: WebhookOutcome


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
