"""Counters and histograms of tracks: records in, analyses, decisions out."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, counter, histogram

# A call of generation 1 or an analysis takes 45-48 s, 20-30 s more after a cold start; the deadline is minutes.
_ANALYSIS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 120, 180, 300, 600, 900)
_WAIT = (0.001, 0.01, 0.1, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)

RECORDS = counter("records_received", (), "Records fetched.", "Flat while the topic grows: see /readyz.")
RECEIVED_BYTES = counter("received_bytes", (), "Bytes of records fetched.", "Sets the memory that a buffer needs.")
DECISIONS = counter(
    "decisions",
    ("topic", "decision", "reason", "policy"),
    "Decisions made; reason is none where the outcome needs none.",
    "A share that jumps: a new model at the API, or another policy. Compare with tier_outcomes.",
)
TIER_OUTCOMES = counter(
    "tier_outcomes",
    ("tier", "value", "policy"),
    "What each tier said, for each decision made by this policy.",
    "not_evaluated grows: is the tier enabled for the account? unknown: the API has new words.",
)
ANALYSES = counter(
    "analyses",
    ("status",),
    "Analyses behind the decisions, by how they ended.",
    "failed or timeout grows: see api_calls; decide these tracks again when the cause is mended.",
)
ATTEMPTS = histogram(
    "track_attempts",
    (),
    (1, 2, 3, 4, 5, 7, 10),
    "Calls that a decision took, retries included.",
    "Above 1 for many: see retries for the kind.",
)
ANALYSIS_SECONDS = histogram(
    "analysis_duration_seconds",
    (),
    _ANALYSIS,
    "First call to result.",
    "About 45 s is normal. More: the API is slow, or the rate limit delays the polls.",
)
QUEUED_SECONDS = histogram(
    "queue_wait_seconds",
    (),
    _WAIT,
    "Received to first call.",
    "Long with in_flight at its limit: raise MAX_CONCURRENCY or the quota; else see held.",
)
# From a single analysis to a backlog of a day; 900 is the objective of deploy/alerts, 15 the same in its test's time.
_AGE = (1, 5, 15, 30, 60, 90, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
AGE_SECONDS = histogram(
    "track_age_seconds",
    (),
    _AGE,
    "From an event's timestamp to the commit that made its outcome visible.",
    "What whoever submitted the track has waited. The alerts' objective is measured by it.",
)
DEAD_LETTERS = counter(
    "dead_letters",
    ("reason",),
    "Records that are no event.",
    "A producer breaks the contract: headers of the dead letter name the field.",
)

ALL: tuple[Metric, ...] = (
    RECORDS,
    RECEIVED_BYTES,
    DECISIONS,
    TIER_OUTCOMES,
    ANALYSES,
    ATTEMPTS,
    ANALYSIS_SECONDS,
    QUEUED_SECONDS,
    AGE_SECONDS,
    DEAD_LETTERS,
)
