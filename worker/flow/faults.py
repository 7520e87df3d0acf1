"""The one table of what may go wrong in a call to the analysis API, and what is done about it.

Adapters decide *which* row a status code or an exception is; this table alone decides what follows:

- `repeat`: whether the call may be made again, and how often (`ATTEMPTS` counts against the record's attempts;
  `FREELY` does not, only its deadline ends it; `ONCE_UNKNOWN` has its own small bound because each repeat of a
  submission may be a second purchase; `NEVER` ends the track as manual review).
- `may_be_billed`: whether a *submission* that failed so may have been bought all the same.
- `holds`: the cause is not the track but the key, the account or the configuration: every other track would fail
  alike, so admission stops until a probe succeeds, and no attempt of any track is used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Bounded set: safe as a metric label."""

    CONNECT_FAILED = "connect_failed"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    OUTCOME_UNKNOWN = "outcome_unknown"
    NOT_JSON = "not_json"
    PROTOCOL_ERROR = "protocol_error"
    INVALID_REQUEST = "invalid_request"
    JOB_UNKNOWN = "job_unknown"
    KEY_REFUSED = "key_refused"
    CREDITS_EXHAUSTED = "credits_exhausted"
    CDN_REFUSED = "cdn_refused"
    MISCONFIGURED = "misconfigured"


class Repeat(StrEnum):
    """How often a call that failed so is made again."""

    FREELY = "freely"
    ATTEMPTS = "attempts"
    ONCE_UNKNOWN = "once_unknown"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Treatment:
    """One row of the table."""

    repeat: Repeat
    may_be_billed: bool
    holds: bool
    reason: str


FAULTS: dict[FaultKind, Treatment] = {
    FaultKind.CONNECT_FAILED: Treatment(
        Repeat.ATTEMPTS, may_be_billed=False, holds=False, reason="no byte was sent: nothing can have been bought"
    ),
    FaultKind.THROTTLED: Treatment(
        Repeat.FREELY,
        may_be_billed=False,
        holds=False,
        reason="429 refuses before the scan; the quota is ours to wait for, not the track's fault",
    ),
    FaultKind.UNAVAILABLE: Treatment(
        Repeat.ATTEMPTS, may_be_billed=False, holds=False, reason="503: the service says it did not take the call"
    ),
    FaultKind.SERVER_ERROR: Treatment(
        Repeat.ATTEMPTS,
        may_be_billed=True,
        holds=False,
        reason="500, 502, 504: the documentation says retry, the scan may have begun: bounded",
    ),
    FaultKind.OUTCOME_UNKNOWN: Treatment(
        Repeat.ONCE_UNKNOWN,
        may_be_billed=True,
        holds=False,
        reason="the request was sent and no answer came: a repeat is a decision with a price",
    ),
    FaultKind.NOT_JSON: Treatment(
        Repeat.ONCE_UNKNOWN,
        may_be_billed=True,
        holds=False,
        reason="a success that cannot be read: bought, and the result is lost unless it is asked for again",
    ),
    FaultKind.PROTOCOL_ERROR: Treatment(
        Repeat.NEVER, may_be_billed=True, holds=False, reason="an answer of unknown shape would only come again"
    ),
    FaultKind.INVALID_REQUEST: Treatment(
        Repeat.NEVER, may_be_billed=False, holds=False, reason="the API refuses this track (400, 409, 413, 415, 422)"
    ),
    FaultKind.JOB_UNKNOWN: Treatment(
        Repeat.ONCE_UNKNOWN,
        may_be_billed=True,
        holds=False,
        reason="404 for a job that was accepted: its result is lost, only a new submission can decide the track",
    ),
    FaultKind.KEY_REFUSED: Treatment(
        Repeat.FREELY, may_be_billed=False, holds=True, reason="401, 403: the operator's key, not the track"
    ),
    FaultKind.CREDITS_EXHAUSTED: Treatment(
        Repeat.FREELY, may_be_billed=False, holds=True, reason="402 and its kin: the account, not the track"
    ),
    FaultKind.CDN_REFUSED: Treatment(
        Repeat.FREELY,
        may_be_billed=False,
        holds=True,
        reason="403 with 'error code: 1010': the CDN refuses the client, every track alike",
    ),
    FaultKind.MISCONFIGURED: Treatment(
        Repeat.FREELY,
        may_be_billed=False,
        holds=True,
        reason="a redirect, 405, or 404 without the API's own error: HS_BASE_URL points elsewhere",
    ),
}
