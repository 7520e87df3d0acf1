"""What the API tells of a job without being asked: whether it is the API, and what it says.

- The signature covers the raw bytes, so it is checked before anything is parsed, and in constant time. No time is
  signed: a replay verifies, and whoever acts on an event must bear seeing it twice.
- Reading is total and bounded. An event of a name that nobody documented is no fault of anybody's: acknowledge it.
- A `track.complete` holds less than a line of results. `lacking` names the signals that it did not speak of; a null
  is spoken of. What rests on one of them, or shows it to a reviewer, must wait for the full result.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from worker.domain.analysis import AnalysisStatus
from worker.domain.jobs import TrackResult, is_job_id, result_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.domain.analysis import Analysis

MAX_EVENT_BYTES: Final = 256 * 1024
_SIGNATURE: Final = re.compile(r"sha256=([0-9a-fA-F]{64})")
_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")
_MAX_TEXT: Final = 40
_SCORES: Final = ("truth_score", "geo_score", "proto_score_v1", "head_a", "head_b", "head_c")
_RISK: Final = ("risk_series", "risk_timeline", "risk_segments_full_mix", "risk_segments")


class Signal(StrEnum):
    """What the decision and its reviewers go by, besides the verdict."""

    TIERS = "tier_verdicts"
    ORIGIN = "origin"  # a certificate depends on it
    TRUTH_SCORE = "truth_score"
    GEO_SCORE = "geo_score"
    PROTO_SCORE = "proto_score_v1"
    HEAD_A = "head_a"
    HEAD_B = "head_b"
    HEAD_C = "head_c"
    RISK = "risk_series"


class EventFlaw(StrEnum):
    """Why a body is no event of ours. Bounded: safe as a metric label."""

    TOO_LONG = "too_long"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_EVENT = "unknown_event"
    NO_JOB_ID = "no_job_id"
    NO_RESULT = "no_result"  # a track.complete without an item's id or without its final result


@dataclass(frozen=True, slots=True)
class TrackComplete:
    """A track of a job has its result. `lacking` is empty for a failed track: it has no signals to wait for."""

    job_id: str
    item_id: str
    analysis: Analysis
    lacking: frozenset[Signal]


@dataclass(frozen=True, slots=True)
class JobComplete:
    """Every track of a job has its result; the counts are absent where they cannot be read."""

    job_id: str
    completed_at: str | None = None
    total: int | None = None
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job itself failed; `error` is a plain code or nothing."""

    job_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a body is no event."""

    flaw: EventFlaw


Event = TrackComplete | JobComplete | JobFailed


def sign(secret: bytes, body: bytes) -> str:
    """Write the signature header as the API documents it."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def verify(secret: bytes, body: bytes, signature_header: str | None) -> bool:
    """Tell whether the header is this secret's for exactly these bytes; an empty secret verifies nothing."""
    given = _SIGNATURE.fullmatch(signature_header or "")
    if given is None or not secret:
        return False
    return hmac.compare_digest(hmac.digest(secret, body, "sha256"), bytes.fromhex(given[1]))


def parse(body: bytes) -> Event | Unreadable:
    """Read one event whose signature was verified."""
    if len(body) > MAX_EVENT_BYTES:
        return Unreadable(EventFlaw.TOO_LONG)
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unreadable(EventFlaw.NOT_JSON)
    return _event(event) if isinstance(event, dict) else Unreadable(EventFlaw.NOT_AN_OBJECT)


def _event(event: Mapping[str, Any]) -> Event | Unreadable:
    name = event.get("event")
    if name not in ("track.complete", "job.complete", "job.failed"):
        return Unreadable(EventFlaw.UNKNOWN_EVENT)
    job_id = event.get("job_id")
    if job_id is None and name != "track.complete":
        job_id = event.get("id")  # the body of job.failed is not documented, the job object's own name for it is
    if not isinstance(job_id, str) or not is_job_id(job_id):
        return Unreadable(EventFlaw.NO_JOB_ID)
    match name:
        case "track.complete":
            return _track(event, job_id)
        case "job.complete":
            return _complete(event, job_id)
        case _:
            return JobFailed(job_id, _code(event.get("error")))


def _track(event: Mapping[str, Any], job_id: str) -> TrackComplete | Unreadable:
    found = result_of(event, job_id=job_id)
    if not isinstance(found, TrackResult):
        return Unreadable(EventFlaw.NO_RESULT)
    failed = found.analysis.status is not AnalysisStatus.SUCCESS
    return TrackComplete(job_id, found.item_id, found.analysis, frozenset() if failed else _lacking(event))


def _lacking(event: Mapping[str, Any]) -> frozenset[Signal]:
    scores = event.get("scores")
    spoken = {Signal(name) for name in _SCORES if isinstance(scores, dict) and name in scores}
    spoken |= {signal for signal in (Signal.TIERS, Signal.ORIGIN) if signal in event}
    spoken |= {Signal.RISK for name in _RISK if name in event}
    return frozenset(Signal) - spoken


def _complete(event: Mapping[str, Any], job_id: str) -> JobComplete:
    given = event.get("summary")
    summary = given if isinstance(given, dict) else {}
    completed_at = event.get("completed_at")
    return JobComplete(
        job_id,
        completed_at[:_MAX_TEXT] if isinstance(completed_at, str) else None,
        *(_count(summary.get(name)) for name in ("total", "succeeded", "failed")),
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _code(value: object) -> str | None:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None
