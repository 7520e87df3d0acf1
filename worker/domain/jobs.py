"""What a job of many tracks is: its items, its state, and the results that come line by line; all readers are total.

- Only the words `complete` and `failed` end a job. Every other word, known or not, means "not yet".
- A line of results is a track's analysis, read by the one normaliser, or the reason why it is none. A line that
  cannot be read spoils nobody else's, and is laid to its own track where its `item_id` can still be told.
- A track is final at `success` and `failed`. With another word it is unfinished, whatever else the line says: an
  early result must not be taken for the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from worker.domain.normalise import MAX_KEYS, UnknownShape, analysis_of
from worker.domain.recovery import item_id_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.domain.analysis import Analysis

MAX_ITEMS: Final = 10_000  # the API's cap for the items of one request
MAX_PER_PAGE: Final = 1_000  # and for the results of one page
MAX_JOB_ID: Final = 256
MAX_ITEM_ID: Final = 512
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_MAX_TIME: Final = 40
_MAX_COUNT: Final = 2**53
_FINAL_WORDS: Final = ("success", "complete", "failed")


class JobStatus(StrEnum):
    """How far a job is. Bounded: safe as a metric label."""

    RUNNING = "running"  # every word that does not end a job
    COMPLETE = "complete"
    FAILED = "failed"  # the job itself; a failed track does not fail it


class ResultFlaw(StrEnum):
    """Why a record is no track's result. Bounded: safe as a metric label."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NO_ITEM_ID = "no_item_id"
    UNFINISHED = "unfinished"  # no fault: the track has no final result yet
    UNKNOWN_SHAPE = "unknown_shape"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class JobItem:
    """One track of a job: exactly one of `url` and `file_id`. The API echoes `item_id` and `metadata`."""

    item_id: str
    url: str | None = field(repr=False, default=None)
    file_id: str | None = None
    metadata: Mapping[str, Any] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class JobState:
    """The job object as far as it can be read. `word` is the API's own status, for the log; a count may be absent."""

    job_id: str
    status: JobStatus
    word: str
    total: int | None = None
    processed: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    completed_at: str | None = None


@dataclass(frozen=True, slots=True)
class TrackResult:
    """One track's result, also a failed one. The analysis names the job."""

    item_id: str
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class UnreadableResult:
    """A record that is no result; `item_id` None: nobody can tell whose."""

    item_id: str | None
    flaw: ResultFlaw


def is_job_id(value: object) -> bool:
    """Accept a string that fits into one segment of a path; `.` and `..` would walk it."""
    return isinstance(value, str) and 0 < len(value) <= MAX_JOB_ID and value not in {".", ".."}


def is_item_id(value: object) -> bool:
    """Accept what we may have given an item as its id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ITEM_ID


def state_of(body: object, *, job_id: str | None = None) -> JobState | UnknownShape:
    """Read a job object: the answer to its creation, or with `job_id` to the question for it.

    Without a usable id, with another job's, or without any status word where one was asked for, it is none.
    """
    if not isinstance(body, dict):
        return UnknownShape(())
    own = body.get("id") if body.get("id") is not None else body.get("job_id")
    found = job_id if own is None else own
    word = body.get("status", None if job_id else "created")
    if not isinstance(found, str) or not is_job_id(found) or job_id not in (None, found) or not isinstance(word, str):
        return UnknownShape(tuple(key for key in list(body)[:MAX_KEYS] if _PLAIN.fullmatch(key)))
    return _state(body, found, word)


def _state(body: Mapping[str, Any], job_id: str, word: str) -> JobState:
    ended = {"complete": JobStatus.COMPLETE, "failed": JobStatus.FAILED}
    completed_at = body.get("completed_at")
    return JobState(
        job_id=job_id,
        status=ended.get(word, JobStatus.RUNNING),
        word=word if _PLAIN.fullmatch(word) else "unreadable",
        total=_count(body.get("total")),
        processed=_count(body.get("processed")),
        succeeded=_count(body.get("succeeded")),
        failed=_count(body.get("failed")),
        completed_at=completed_at[:_MAX_TIME] if isinstance(completed_at, str) else None,
    )


def _count(value: object) -> int | None:
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole if type(whole) is int and 0 <= whole <= _MAX_COUNT else None


def result_of_line(line: bytes, *, job_id: str) -> TrackResult | UnreadableResult:
    """Read one line of a job's results."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return UnreadableResult(_recovered(line), ResultFlaw.NOT_JSON)
    return result_of(record, job_id=job_id)


def result_too_long(head: bytes) -> UnreadableResult:
    """Say whose a record was that is longer than anything sensible, by its first bytes."""
    return UnreadableResult(_recovered(head), ResultFlaw.TOO_LONG)


def result_of(record: object, *, job_id: str) -> TrackResult | UnreadableResult:
    """Read one decoded record: a line of a job's results, or what a webhook says of a track."""
    if not isinstance(record, dict):
        return UnreadableResult(None, ResultFlaw.NOT_AN_OBJECT)
    item_id = record.get("item_id")
    if not isinstance(item_id, str) or not is_item_id(item_id):
        return UnreadableResult(None, ResultFlaw.NO_ITEM_ID)
    if _is_unfinished(record):
        return UnreadableResult(item_id, ResultFlaw.UNFINISHED)
    analysis = analysis_of(record, job_id=job_id)
    if isinstance(analysis, UnknownShape):
        return UnreadableResult(item_id, ResultFlaw.UNKNOWN_SHAPE)
    return TrackResult(item_id, analysis)


def _is_unfinished(record: Mapping[str, Any]) -> bool:
    word = record.get("status")
    if word is None:  # then only a verdict or tiers make it final
        return all(record.get(name) is None for name in ("verdict", "tier_verdicts", "result", "error"))
    return isinstance(word, str) and word not in _FINAL_WORDS


def _recovered(line: bytes) -> str | None:
    item_id = item_id_in(line)
    return item_id if is_item_id(item_id) else None
