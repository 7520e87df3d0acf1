"""What can be observed of jobs of many tracks and of the webhooks that tell of them; see `facts` for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from worker.domain.trace import TraceContext

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
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Nothing more is expected of a job. `tracks_left` go into other jobs, alone, or to people."""

    partition: int
    outcome: JobOutcome
    tracks_left: int
    seconds: float
    detail: str | None
    trace: TraceContext | None = None


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
