"""What one call to the analysis API can answer: values, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.domain.analysis import Analysis
    from worker.flow.faults import FaultKind


@dataclass(frozen=True, slots=True)
class Finished:
    """The analysis is here (a failed analysis is finished, too)."""

    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Accepted:
    """The scan was bought; its result must be polled for under this id."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Running:
    """A poll found the job unfinished. The API's word for that goes no further: it could be anything."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The call failed. `detail` is safe to publish: no secret, no address, no payload."""

    kind: FaultKind
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The rate limit as the API's headers state it. `reset_seconds` is counted from the reply."""

    limit: int | None
    remaining: int | None
    reset_seconds: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and what its headers said of the quota."""

    result: Finished | Accepted | Running | Fault
    quota: Quota | None = None
