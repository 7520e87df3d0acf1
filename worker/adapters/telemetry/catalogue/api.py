"""Counters and histograms of the API: its calls, what is bought, what stops it."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, counter, histogram

# A call of generation 1 takes 45-48 s, 20-30 s more after a cold start.
_CALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 120)

CALLS = counter(
    "api_calls",
    ("operation", "outcome"),
    "Requests to the API: finished, accepted, running, answered, or the kind of fault.",
    "The faults' table in this README says what each kind asks for.",
)
CALL_SECONDS = histogram(
    "api_call_duration_seconds",
    ("operation",),
    _CALL,
    "One request to the API.",
    "Close to HS_TIMEOUT_SECONDS: calls are cut off, and paid for.",
)
QUOTA_SECONDS = counter(
    "quota_wait_seconds",
    ("operation",),
    "Time that polls, and the next submission in line, waited for the quota.",
    "submit grows by 1 a second: the quota is the brake. poll grows faster: it is far too small.",
)
RETRIES = counter("retries", ("kind",), "Waits for another attempt.", "Grows faster than decisions: the API is ill.")
BOUGHT = counter(
    "analyses_bought",
    ("mode",),
    "Analyses that the API has taken: one by one (direct) or in jobs (bulk).",
    "Less decisions: what was bought in vain. A job whose creation was repeated after a crash counts twice, and costs "
    "once.",
)
BOUGHT_AGAIN = counter(
    "analyses_bought_again",
    ("cause",),
    "Analyses bought although they may have been before, by a kind of fault or by what became of a job.",
    "Each may be a second credit. Lower UNKNOWN_OUTCOME_REPEATS if reviews are cheaper. job_failed: ask the API.",
)
HOLDS = counter("admission_holds", ("reason",), "Times that admission stopped.", "See held.")
HELD_SECONDS = counter("admission_held_seconds", ("reason",), "Time that admission was stopped.", "See held.")
OUTAGES = counter(
    "outages", ("reason",), "Times that the API as a whole failed and the breaker opened.", "See breaker."
)
OUTAGE_SECONDS = counter(
    "outage_seconds",
    ("reason",),
    "Time from an outage's beginning to full recovery.",
    "Compare with the API's status page.",
)

ALL: tuple[Metric, ...] = (
    CALLS,
    CALL_SECONDS,
    QUOTA_SECONDS,
    RETRIES,
    BOUGHT,
    BOUGHT_AGAIN,
    HOLDS,
    HELD_SECONDS,
    OUTAGES,
    OUTAGE_SECONDS,
)
