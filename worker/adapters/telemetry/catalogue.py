"""The metrics: name, kind, labels, meaning, and what to do about them. README's table is made from this.

Base units, counters end in `_total`. Label values come from bounded sets: words of our own enumerations, names of
loaded policies and configured topics, partition numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "track_intake_"

# A call of generation 1 or an analysis takes 45-48 s, 20-30 s more after a cold start; the deadline is minutes.
_ANALYSIS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 40, 45, 50, 60, 80, 120, 180, 300, 600, 900)
_CALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 40, 45, 50, 60, 80, 120)
# A transaction takes some 35 ms and may hang until its time-out of 15 s.
_COMMIT = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 15, 30)
_WAIT = (0.001, 0.01, 0.1, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
_REBALANCE = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 90, 120)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `read_from` says whether facts add to it or a scrape reads it from the status."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    action: str
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The family's name as Prometheus shows it."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, labels: tuple[str, ...], meaning: str, action: str) -> Metric:
    return Metric(name, "counter", labels, meaning, action)


def _histogram(name: str, labels: tuple[str, ...], buckets: tuple[float, ...], meaning: str, action: str) -> Metric:
    return Metric(name, "histogram", labels, meaning, action, buckets)


def _gauge(name: str, labels: tuple[str, ...], meaning: str, action: str) -> Metric:
    return Metric(name, "gauge", labels, meaning, action)


RECORDS = _counter("records_received", (), "Records fetched.", "Flat while the topic grows: see /readyz.")
RECEIVED_BYTES = _counter("received_bytes", (), "Bytes of records fetched.", "Sets the memory that a buffer needs.")
DECISIONS = _counter(
    "decisions",
    ("topic", "decision", "reason", "policy"),
    "Decisions made; reason is none where the outcome needs none.",
    "A share that jumps: a new model at the API, or another policy. Compare with tier_outcomes.",
)
TIER_OUTCOMES = _counter(
    "tier_outcomes",
    ("tier", "value"),
    "What each tier said, for each decision made.",
    "not_evaluated grows: is the tier enabled for the account? unknown: the API has new words.",
)
ANALYSES = _counter(
    "analyses",
    ("status",),
    "Analyses behind the decisions, by how they ended.",
    "failed or timeout grows: see api_calls; decide these tracks again when the cause is mended.",
)
ATTEMPTS = _histogram(
    "track_attempts",
    (),
    (1, 2, 3, 4, 5, 7, 10),
    "Calls that a decision took, retries included.",
    "Above 1 for many: see retries for the kind.",
)
ANALYSIS_SECONDS = _histogram(
    "analysis_duration_seconds",
    (),
    _ANALYSIS,
    "First call to result.",
    "About 45 s is normal. More: the API is slow, or the rate limit delays the polls.",
)
QUEUED_SECONDS = _histogram(
    "queue_wait_seconds",
    (),
    _WAIT,
    "Received to first call.",
    "Long with in_flight at its limit: raise MAX_CONCURRENCY or the quota; else see held.",
)
CALLS = _counter(
    "api_calls",
    ("operation", "outcome"),
    "Requests to the API: finished, accepted, running, or the kind of fault.",
    "The faults' table in this README says what each kind asks for.",
)
CALL_SECONDS = _histogram(
    "api_call_duration_seconds",
    ("operation",),
    _CALL,
    "One request to the API.",
    "Close to HS_TIMEOUT_SECONDS: calls are cut off, and paid for.",
)
QUOTA_SECONDS = _counter(
    "quota_wait_seconds",
    ("operation",),
    "Time that polls, and the next submission in line, waited for the quota.",
    "submit grows by 1 a second: the quota is the brake. poll grows faster: it is far too small.",
)
RETRIES = _counter("retries", ("kind",), "Waits for another attempt.", "Grows faster than decisions: the API is ill.")
BOUGHT_AGAIN = _counter(
    "analyses_bought_again",
    ("cause",),
    "Submissions repeated although an earlier one may have been billed.",
    "Each may be a second credit. Lower UNKNOWN_OUTCOME_REPEATS if reviews are cheaper.",
)
DEAD_LETTERS = _counter(
    "dead_letters",
    ("reason",),
    "Records that are no event.",
    "A producer breaks the contract: headers of the dead letter name the field.",
)
COMMITS = _counter(
    "commits",
    ("outcome",),
    "Publications with their commit: committed, failed, fenced.",
    "failed: the brokers; the same decisions are published again. fenced: a partition moved.",
)
COMMIT_SECONDS = _histogram(
    "commit_duration_seconds",
    ("outcome",),
    _COMMIT,
    "One publication with its commit.",
    "Seconds instead of tens of milliseconds: brokers under load, or replicas out of sync.",
)
PUBLISHED = _counter(
    "messages_published",
    (),
    "Messages in committed publications.",
    "Flat while decisions grows: see commits.",
)
REBALANCES = _counter("rebalances", (), "Changes of the assignment.", "Many: workers restart or poll too late.")
REBALANCE_SECONDS = _histogram(
    "rebalance_duration_seconds",
    (),
    _REBALANCE,
    "One change of the assignment.",
    "Near KAFKA_REBALANCE_TIMEOUT_SECONDS: lower REBALANCE_DRAIN_SECONDS.",
)
LANES_ASSIGNED = _counter(
    "lanes_assigned",
    ("fate",),
    "Partitions at rebalances: opened, kept, lost.",
    "Mostly kept is good: their work went on.",
)
LANES_SEALED = _counter("lanes_sealed", ("cause",), "Partitions given up.", "fenced: another worker had taken over.")
CALLS_DROPPED = _counter(
    "calls_dropped",
    ("cause",),
    "Running calls whose results nobody awaits any more.",
    "Above 0: drain deadlines are shorter than an analysis. The tracks are done again.",
)
HOLDS = _counter("admission_holds", ("reason",), "Times that admission stopped.", "See held.")
HELD_SECONDS = _counter("admission_held_seconds", ("reason",), "Time that admission was stopped.", "See held.")

OUTAGES = _counter(
    "outages", ("reason",), "Times that the API as a whole failed and the breaker opened.", "See breaker."
)
OUTAGE_SECONDS = _counter(
    "outage_seconds",
    ("reason",),
    "Time from an outage's beginning to full recovery.",
    "Compare with the API's status page.",
)
FED_BY_FACTS: tuple[Metric, ...] = (
    RECORDS,
    RECEIVED_BYTES,
    DECISIONS,
    TIER_OUTCOMES,
    ANALYSES,
    ATTEMPTS,
    ANALYSIS_SECONDS,
    QUEUED_SECONDS,
    CALLS,
    CALL_SECONDS,
    QUOTA_SECONDS,
    RETRIES,
    BOUGHT_AGAIN,
    DEAD_LETTERS,
    COMMITS,
    COMMIT_SECONDS,
    PUBLISHED,
    REBALANCES,
    REBALANCE_SECONDS,
    LANES_ASSIGNED,
    LANES_SEALED,
    CALLS_DROPPED,
    HOLDS,
    HELD_SECONDS,
    OUTAGES,
    OUTAGE_SECONDS,
)

STATE = _gauge("state", ("state",), "1 for starting, running, draining or stopped.", "Not running: see /readyz.")
HELD = _gauge(
    "held",
    ("reason",),
    "1 while no new call starts, for a cause that only the operator can mend.",
    "key_refused: HS_API_KEY. credits_exhausted: buy credits. cdn_refused: the egress. misconfigured: HS_BASE_URL.",
)
BREAKER = _gauge(
    "breaker",
    ("state",),
    "1 for closed, open or half_open: whether the API as a whole answers.",
    "open: the API is out; tracks wait and lose nothing (OUTAGE_POLICY). See retries and api_calls for the kind.",
)
IN_FLIGHT = _gauge("in_flight", (), "Analyses in flight.", "At concurrency_limit for long: the limit is the brake.")
LIMIT = _gauge(
    "concurrency_limit",
    (),
    "Analyses that may be in flight.",
    "It follows 429s, 503s, time-outs and latency, up to MAX_CONCURRENCY.",
)
QUOTA_ALLOWED = _gauge(
    "quota_requests_per_minute",
    (),
    "Requests a minute that this replica may send: what belongs to its partitions of RATE_LIMIT_PER_MINUTE.",
    "The sum over all replicas is RATE_LIMIT_PER_MINUTE. More: their settings differ, or they are of several groups.",
)
QUOTA_WAITING = _gauge("quota_waiting_polls", (), "Polls that are due and wait for quota.", "See quota_wait_seconds.")
QUOTA_REMAINING = _gauge(
    "quota_remaining",
    (),
    "Requests left in the API's window by its last reply: of the whole key, whoever uses it.",
    "Near 0 while quota_requests_per_minute is not used up: somebody else uses the key.",
)
RETRY_BUDGET = _gauge("retry_budget", (), "Retries that may leave now.", "Below 1: retries wait, see retries.")
LOOP_AGE = _gauge(
    "consumer_loop_age_seconds",
    (),
    "Since the consumer last asked for records.",
    "Above a minute: /livez fails and the orchestrator restarts the worker.",
)
BUILD = _gauge("build_info", ("version",), "Always 1.", "Tells which version runs.")

QUOTA = (QUOTA_ALLOWED, QUOTA_WAITING, QUOTA_REMAINING, RETRY_BUDGET)
WHOLE: tuple[Metric, ...] = (STATE, HELD, BREAKER, IN_FLIGHT, LIMIT, *QUOTA, LOOP_AGE, BUILD)

_LANE = ("topic", "partition")
# The name of each is `partition_` and the LaneStatus field that it shows.
PER_PARTITION: dict[str, Metric] = {
    "watermark": _gauge(
        "partition_watermark_offset", _LANE, "Next offset to read after a restart.", "Flat: see oldest_seconds."
    ),
    "highest_completed": _gauge(
        "partition_highest_completed_offset",
        _LANE,
        "Highest offset done; those between the watermark and it are remembered one by one.",
        "Far above the watermark: one slow track, normal until its deadline.",
    ),
    "oldest_seconds": _gauge(
        "partition_oldest_unfinished_seconds",
        _LANE,
        "Since the oldest unfinished record was received.",
        "Above RECORD_DEADLINE_SECONDS plus the queue: page somebody.",
    ),
    "queued": _gauge("partition_queued", _LANE, "Records waiting for their first call.", "The backlog in memory."),
    "in_flight": _gauge("partition_in_flight", _LANE, "Analyses in flight.", "Uneven: keys or partitions are skewed."),
    "retrying": _gauge("partition_retrying", _LANE, "Records waiting for another attempt.", "See retries."),
    "unpublished": _gauge(
        "partition_unpublished", _LANE, "Decisions made and not yet committed.", "Grows: see commits."
    ),
    "buffered_bytes": _gauge(
        "partition_buffered_bytes", _LANE, "Bytes of records in memory.", "MAX_BUFFERED_BYTES bounds the sum."
    ),
    "metadata_used": _gauge(
        "partition_metadata_used_ratio",
        _LANE,
        "Share of the commit metadata in use, 0-1.",
        "At 0.75 the partition admits nothing new until its oldest record is done.",
    ),
    "paused": _gauge("partition_paused", _LANE, "1 while nothing is fetched.", "Buffers are full, or held."),
    "stopped": _gauge(
        "partition_stopped",
        _LANE,
        "1 after too many dead letters: nothing more of it starts until a restart.",
        "The topic's format or our schema is wrong. Mend that, restart, then replay the dead letters.",
    ),
    "suspended": _gauge("partition_suspended", _LANE, "1 in a rebalance.", "For minutes: the group does not settle."),
}

CATALOGUE: tuple[Metric, ...] = (*FED_BY_FACTS, *WHOLE, *PER_PARTITION.values())
