"""What one call about a job of many tracks can answer: values, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.domain.jobs import TrackResult, UnreadableResult

if TYPE_CHECKING:
    from worker.domain.jobs import JobState
    from worker.flow.replies import Fault, Quota


@dataclass(frozen=True, slots=True)
class JobRefused:
    """The API looked at the request and made no job of it (400, 413, 422 and their kin), or none could be sent.

    The same request would only be refused again: split it, under new keys. `detail` is safe to publish.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class JobReply:
    """The answer to the creation of a job, or to the question how far it is. Only a creation can be refused."""

    result: JobState | JobRefused | Fault
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class PageEnd:
    """The last value of a page of results: how many lines it had, readable or not, and why it ended too early.

    Without a fault, and with fewer lines than asked for, it is the last page of those that exist so far. That says
    nothing of results that come later, nor of an API that gives fewer a page than it was asked for: what is still
    missing is known by the items alone.
    """

    lines: int
    fault: Fault | None = None
    quota: Quota | None = None


PageRecord = TrackResult | UnreadableResult | PageEnd
