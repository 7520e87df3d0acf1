"""What waits for what: the body of GET /status, and what `track-intake explain` shows.

The names of these fields are the keys of the JSON, and a contract: fields are added, none is renamed or dropped. Times
are seconds from the moment `at` (ages count back, `due_seconds` and its kin forward, 0: now); `..._at` is UTC in
RFC 3339. Nothing here is a payload, a key, a secret or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from worker.pipeline.statuses import QuotaStatus  # noqa: TC001 - the command reads the JSON back by these annotations


class WaitsFor(StrEnum):
    """What a record waits for, and why a partition is paused. Bounded; `explain_words.MEANINGS` has each in words."""

    CALL = "call"
    NEXT_POLL = "next_poll"
    RETRY = "retry"
    RETRY_BUDGET = "retry_budget"
    QUOTA = "quota"
    SLOT = "slot"
    TURN = "turn"
    PREDECESSOR = "predecessor"
    GATHERING = "gathering"
    JOB_ROOM = "job_room"
    JOB = "job"
    KEY = "key"
    PUBLICATION = "publication"
    COMMITS = "commits"
    HELD = "held"
    OUTAGE = "outage"
    DEAD_LETTERS = "dead_letters"
    OPENING = "opening"
    REBALANCE = "rebalance"
    SETTLING = "settling"
    DRAINING = "draining"
    DOUBT = "doubt"
    METADATA = "metadata"
    WINDOW = "window"
    BUFFER_FULL = "buffer_full"


class JobWaitsFor(StrEnum):
    """What a job of many tracks waits for. Bounded; `explain_words.JOB_MEANINGS` has each in words."""

    REPLY = "reply"
    INTENT = "intent"
    RECORDS = "records"
    PARTITION = "partition"
    ROOM = "room"
    TIME = "time"
    SERVICE = "service"
    QUOTA = "quota"
    TURN = "turn"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class LastError:
    """The last fault that a track met. `kind` is a FaultKind, `detail` is safe to show."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """One undecided or unpublished record.

    `state` is as the metrics count it. `waits_for` says what comes next, `since_seconds` since when, `due_seconds` when
    (None: nobody knows), `predecessor` the offset where that is another record of its key. `item_id` is None where
    the record is no event. A job that was taken over counts as one attempt. `job_id` is of its own job, or of the one
    that it is in. `deadline_seconds` is None before the first call; it does not run down while
    `Process.clock_stands_seconds` says so.
    """

    offset: int
    item_id: str | None
    state: Literal["queued", "in_flight", "retrying", "in_job", "behind_key", "unpublished"]
    waits_for: WaitsFor
    since_seconds: float
    due_seconds: float | None
    predecessor: int | None
    attempts: int
    last_error: LastError | None
    job_id: str | None
    deadline_seconds: float | None
    received_seconds: float
    written_at: str | None


@dataclass(frozen=True, slots=True)
class Behind:
    """The records behind the one that holds the watermark, by state; `same_key`: queued behind another of their key.

    `in_jobs`: in jobs of many tracks, without a result; `behind_key`: they have one, and wait for another of their key.
    """

    queued: int
    same_key: int
    in_flight: int
    retrying: int
    unpublished: int
    in_jobs: int = 0
    behind_key: int = 0


@dataclass(frozen=True, slots=True)
class Paused:
    """What of a partition stands still, why, and since when (None: it has no beginning of its own)."""

    what: Literal["fetching", "starting", "both"]
    why: WaitsFor
    since_seconds: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Commits:
    """How publishing goes. `watermark`: the committed one, None where the group never committed.

    `committed_seconds` since this worker's last commit, None before the first. `under_way_seconds`: of the publication
    that is under way, its repetitions included. `failures` in a row, `error` of the last of them.
    """

    watermark: int | None
    committed_seconds: float | None
    under_way_seconds: float | None
    failures: int
    error: str | None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """One job of many tracks that is not worked off.

    `job_id` is None until the API has accepted it. `tracks` have no result yet, as far as they have been delivered.
    `age_seconds` since this owner had it, or since its acceptance. `call` is the one that comes next or is under way,
    `page` the page that it reads. `deadline_seconds` does not run down while `Process.clock_stands_seconds`
    says so. `detail` is of the last fault or refusal.
    """

    job_id: str | None
    first_offset: int
    last_offset: int
    tracks: int
    age_seconds: float
    waits_for: JobWaitsFor
    call: Literal["create", "ask", "read"] | None
    page: int | None
    due_seconds: float | None
    deadline_seconds: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Jobs:
    """How a partition's tracks go, where there are jobs of many tracks at all.

    `estimate_seconds` is what direct calls would need for what waits, in memory and in the topic; jobs begin above
    `above_seconds`. `tracks` are in `open` jobs and have no result. The next job is of `next_size` tracks at most, and
    gathered in `next_seconds` at the latest (None: nothing waits, or there is no room). `jobs` are empty where all
    partitions were asked for.
    """

    mode: Literal["direct", "bulk"]
    estimate_seconds: float
    above_seconds: float
    open: int
    tracks: int
    oldest_seconds: float | None
    next_size: int
    next_seconds: float | None
    jobs: tuple[OpenJob, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of this worker.

    `watermark` is the lowest offset without a published decision, None while the partition is being opened;
    `next_offset` the one to be fetched next. `holder` is the record at the watermark, None where nothing waits. With
    one partition asked for, `records` are its first unfinished ones and `done_above` counts what is committed above the
    watermark; else they are empty and None. `metadata_used` is a share, 0-1. `jobs` is None where there are no jobs of
    many tracks.
    """

    topic: str
    partition: int
    watermark: int | None
    watermark_seconds: float | None
    watermark_at: str | None
    next_offset: int | None
    highest_completed: int | None
    done_above: int | None
    holder: Waiting | None
    behind: Behind
    buffered_records: int
    buffered_bytes: int
    metadata_used: float
    paused: tuple[Paused, ...]
    commits: Commits
    records: tuple[Waiting, ...]
    jobs: Jobs | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Why nothing starts in the whole process. `reason` is a FaultKind; a probe that is due may be under way."""

    reason: str
    detail: str
    since_seconds: float
    since_at: str
    next_probe_seconds: float | None


@dataclass(frozen=True, slots=True)
class Process:
    """What all partitions of this worker share.

    `held` needs the operator, `outage` passes. `clock_stands_seconds`: for so long no deadline has been running.
    `unpublished` decisions wait for their commit; at `unpublished_max` nothing starts.
    """

    state: Literal["starting", "running", "draining", "stopped"]
    held: Cause | None
    outage: Cause | None
    breaker: str
    clock_stands_seconds: float | None
    in_flight: int
    concurrency_limit: int
    concurrency_max: int
    unpublished: int
    unpublished_max: int
    quota: QuotaStatus
    consumer_loop_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """GET /status: `partitions` are all of this worker's, the worst first, or the one that was asked for."""

    at: str
    process: Process
    partitions: tuple[Partition, ...]
