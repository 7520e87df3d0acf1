"""The table of `faults.py` for jobs of many tracks: what a fault means where every call may be repeated for nothing.

- A creation carries an idempotency key: repeating it *with the same key* makes no second job and buys nothing again,
  whatever became of the first. So no row here may be billed; the price lies in giving the key up.
- `may_exist`: this call may have made a job (an earlier one with the same key may have, whatever this one says).
  Its tracks must not be bought another way, neither alone nor in another job, before the same request under the same
  key has got an answer.
- Questions (`READ`) repeat freely: only the job's deadline ends them.
- A refusal of the request itself is no fault but `JobRefused`: the job is split.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.flow.faults import FAULTS, FaultKind, Repeat


class JobOperation(StrEnum):
    """Making a job, or asking for it or for its results."""

    CREATE = "create"
    READ = "read"


@dataclass(frozen=True, slots=True)
class JobTreatment:
    """One row of the table. `repeat`: a creation always under its own key."""

    repeat: Repeat
    may_exist: bool
    holds: bool
    reason: str


_READ_AGAIN: Final = frozenset(
    {
        *(FaultKind.CONNECT_FAILED, FaultKind.UNAVAILABLE, FaultKind.SERVER_ERROR, FaultKind.OUTCOME_UNKNOWN),
        *(FaultKind.NOT_JSON, FaultKind.PROTOCOL_ERROR),
    }
)
_CREATE: Final = {
    FaultKind.CONNECT_FAILED: JobTreatment(
        Repeat.FREELY, may_exist=False, holds=False, reason="no byte was sent: there is no job"
    ),
    FaultKind.UNAVAILABLE: JobTreatment(
        Repeat.FREELY,
        may_exist=True,
        holds=False,
        reason="503; or 409: another request under this key is being worked on",
    ),
    FaultKind.SERVER_ERROR: JobTreatment(
        Repeat.FREELY, may_exist=True, holds=False, reason="500, 502, 504: the key makes the repeat free"
    ),
    FaultKind.OUTCOME_UNKNOWN: JobTreatment(
        Repeat.FREELY, may_exist=True, holds=False, reason="no answer came: the key makes the repeat free"
    ),
    FaultKind.NOT_JSON: JobTreatment(
        Repeat.FREELY, may_exist=True, holds=False, reason="a success that cannot be read: its answer comes again"
    ),
    FaultKind.PROTOCOL_ERROR: JobTreatment(
        Repeat.ATTEMPTS,
        may_exist=True,
        holds=False,
        reason="a success of unknown shape: the original answer comes again, perhaps just as strange",
    ),
    FaultKind.INVALID_REQUEST: JobTreatment(
        Repeat.NEVER, may_exist=False, holds=False, reason="never a fault of a creation: see JobRefused"
    ),
    FaultKind.JOB_UNKNOWN: JobTreatment(
        Repeat.NEVER, may_exist=False, holds=False, reason="never a fault of a creation: it names no job"
    ),
}
_READ: Final = {
    kind: JobTreatment(Repeat.FREELY, may_exist=True, holds=False, reason="a question costs nothing but quota")
    for kind in _READ_AGAIN
} | {
    FaultKind.INVALID_REQUEST: JobTreatment(
        Repeat.NEVER, may_exist=True, holds=False, reason="the API refuses this question; the job goes on"
    ),
    FaultKind.JOB_UNKNOWN: JobTreatment(
        Repeat.ATTEMPTS,
        may_exist=True,
        holds=False,
        reason="404 for an accepted job: perhaps not known everywhere yet; if it lasts, its results are lost",
    ),
}


def _whole(own: dict[FaultKind, JobTreatment]) -> dict[FaultKind, JobTreatment]:
    """Complete a table with the rows that are the same for every call: the quota's and the operator's."""
    return {
        kind: own.get(kind) or JobTreatment(row.repeat, may_exist=own is _READ, holds=row.holds, reason=row.reason)
        for kind, row in FAULTS.items()
    }


JOB_FAULTS: Final = {JobOperation.CREATE: _whole(_CREATE), JobOperation.READ: _whole(_READ)}
