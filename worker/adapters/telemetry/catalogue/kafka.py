"""Counters and histograms of Kafka: publications with their commits, partitions that come and go."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, counter, histogram

# A transaction takes some 35 ms and may hang until its time-out of 15 s.
_COMMIT = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 15, 30)
_REBALANCE = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 90, 120)

COMMITS = counter(
    "commits",
    ("outcome",),
    "Publications with their commit, with GUARANTEE=exactly_once a transaction each: committed, failed, fenced.",
    "failed: the brokers; the same decisions are published again. fenced: a partition moved.",
)
COMMIT_SECONDS = histogram(
    "commit_duration_seconds",
    ("outcome",),
    _COMMIT,
    "One publication with its commit.",
    "Seconds instead of tens of milliseconds: brokers under load, or replicas out of sync.",
)
PUBLISHED = counter(
    "messages_published",
    (),
    "Messages in committed publications.",
    "Flat while decisions grows: see commits.",
)
REBALANCES = counter("rebalances", (), "Changes of the assignment.", "Many: workers restart or poll too late.")
REBALANCE_SECONDS = histogram(
    "rebalance_duration_seconds",
    (),
    _REBALANCE,
    "One change of the assignment.",
    "Near KAFKA_REBALANCE_TIMEOUT_SECONDS: lower REBALANCE_DRAIN_SECONDS.",
)
LANES_ASSIGNED = counter(
    "lanes_assigned",
    ("fate",),
    "Partitions at rebalances: opened, kept, lost.",
    "Mostly kept is good: their work went on.",
)
LANES_SEALED = counter("lanes_sealed", ("cause",), "Partitions given up.", "fenced: another worker had taken over.")
CALLS_DROPPED = counter(
    "calls_dropped",
    ("cause",),
    "Running calls whose results nobody awaits any more.",
    "Above 0: drain deadlines are shorter than an analysis. The tracks are done again.",
)

ALL: tuple[Metric, ...] = (
    COMMITS,
    COMMIT_SECONDS,
    PUBLISHED,
    REBALANCES,
    REBALANCE_SECONDS,
    LANES_ASSIGNED,
    LANES_SEALED,
    CALLS_DROPPED,
)
