"""Gauges of the whole worker."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, gauge

STATE = gauge("state", ("state",), "1 for starting, running, draining or stopped.", "Not running: see /readyz.")
HELD = gauge(
    "held",
    ("reason",),
    "1 while no new call starts, for a cause that only the operator can mend.",
    "key_refused: HS_API_KEY. credits_exhausted: buy credits. cdn_refused: the egress. misconfigured: HS_BASE_URL.",
)
BREAKER = gauge(
    "breaker",
    ("state",),
    "1 for closed, open or half_open: whether the API as a whole answers.",
    "open: the API is out; tracks wait and lose nothing (OUTAGE_POLICY). See retries and api_calls for the kind.",
)
PAUSED = gauge(
    "partitions_paused",
    ("reason",),
    "Partitions that stand still, each under the first of `explain`'s words that is true: draining, opening, "
    "settling, rebalance (all stands), doubt, dead_letters, commits (nothing starts), buffer_full (nothing is "
    "fetched).",
    "opening, rebalance, commits for minutes: the brokers or the group. dead_letters: see partition_stopped. "
    "buffer_full is usual in a backlog. What stops all partitions alike is in held and breaker.",
)
IN_FLIGHT = gauge("in_flight", (), "Analyses in flight.", "At concurrency_limit for long: the limit is the brake.")
LIMIT = gauge(
    "concurrency_limit",
    (),
    "Analyses that may be in flight.",
    "It follows 429s, 503s, time-outs and latency, up to MAX_CONCURRENCY.",
)
QUOTA_ALLOWED = gauge(
    "quota_requests_per_minute",
    (),
    "Requests a minute that this replica may send: what belongs to its partitions of RATE_LIMIT_PER_MINUTE.",
    "The sum over all replicas is RATE_LIMIT_PER_MINUTE. More: their settings differ, or they are of several groups.",
)
QUOTA_WAITING = gauge("quota_waiting_polls", (), "Polls that are due and wait for quota.", "See quota_wait_seconds.")
QUOTA_REMAINING = gauge(
    "quota_remaining",
    (),
    "Requests left in the API's window by its last reply: of the whole key, whoever uses it.",
    "Near 0 while quota_requests_per_minute is not used up: somebody else uses the key.",
)
RETRY_BUDGET = gauge("retry_budget", (), "Retries that may leave now.", "Below 1: retries wait, see retries.")
LOOP_AGE = gauge(
    "consumer_loop_age_seconds",
    (),
    "Since the consumer last asked for records.",
    "Above a minute: /livez fails and the orchestrator restarts the worker.",
)
LOOP_LAG = gauge(
    "event_loop_lag_seconds",
    (),
    "How late the event loop's own timer was, at worst within the last minute or so.",
    "Above a second: the process lacks CPU, or stood still. At half of KAFKA_SESSION_TIMEOUT_SECONDS it buys nothing "
    "until it has proved that its partitions are still its own.",
)
POLICY = gauge(
    "policy_info",
    ("policy", "digest", "default"),
    "Always 1: each loaded policy, what it decides as a digest, and whether it is for events that name none.",
    "Two digests of one name: replicas run with different files.",
)
BUILD = gauge("build_info", ("version",), "Always 1.", "Tells which version runs.")
QUOTA = (QUOTA_ALLOWED, QUOTA_WAITING, QUOTA_REMAINING, RETRY_BUDGET)
WHOLE: tuple[Metric, ...] = (STATE, HELD, BREAKER, PAUSED, IN_FLIGHT, LIMIT, *QUOTA, LOOP_AGE, LOOP_LAG, POLICY, BUILD)
