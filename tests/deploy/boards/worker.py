"""The dashboard *Worker*, for whoever is on call: one row for each question that comes up at night."""

from __future__ import annotations

from tests.deploy.boards.panels import (
    OF_TOPIC,
    SELECTED,
    Board,
    Panel,
    Query,
    Row,
    per_minute,
    quantile,
    quantiles,
    rate,
    seen,
    selector,
    share,
)
from tests.deploy.boards.worker_tracks import KEEPING_UP, STUCK, WAITING_FOR, each


def _process(metric: str) -> str:
    """A metric of the process: it has no prefix of ours, so that of the worker picks the processes."""
    return f"{metric}{{{SELECTED}}}"


API = Row(
    "Is the API well?",
    (
        Panel(
            "Calls by outcome",
            "finished, accepted, running and answered are good; anything else is a fault, see the README's table.",
            "cpm",
            (Query(seen(per_minute("api_calls", "operation, outcome")), "{{operation}}: {{outcome}}"),),
            kind="stack",
        ),
        Panel(
            "Share of calls that fail",
            "Above 60 % of 20 replies, or ten in a row, the breaker opens.",
            "percentunit",
            (
                Query(
                    share(
                        rate("api_calls", more='outcome!~"finished|accepted|running|answered"'),
                        rate("api_calls"),
                    ),
                    "faults",
                ),
            ),
            most=1,
        ),
        Panel(
            "Duration of a call",
            "95 % are below. Near HS_TIMEOUT_SECONDS: calls are cut off, and paid for.",
            "s",
            (Query(quantile(0.95, "api_call_duration_seconds", "operation"), "{{operation}}"),),
        ),
        Panel(
            "Retries by cause",
            "Waits for another attempt. Faster than decisions: the API is ill.",
            "cpm",
            (Query(per_minute("retries", "kind"), "{{kind}}"),),
            kind="stack",
        ),
        Panel(
            "Bought, and bought again",
            "Analyses that the API has taken. What is bought again may be a second credit.",
            "cpm",
            (
                Query(per_minute("analyses_bought", "mode"), "{{mode}}"),
                Query(per_minute("analyses_bought_again"), "again"),
            ),
        ),
        Panel(
            "Standing still: outages and holds",
            "Times that the breaker opened, or that admission stopped for the operator's cause.",
            "cpm",
            (Query(per_minute("outages"), "outages"), Query(per_minute("admission_holds"), "holds")),
        ),
    ),
)
KAFKA = Row(
    "Is Kafka well?",
    (
        Panel(
            "Publications with their commit",
            "failed: the brokers; the same decisions are published again. fenced: a partition moved.",
            "cpm",
            (Query(per_minute("commits", "outcome"), "{{outcome}}"),),
            kind="stack",
        ),
        Panel(
            "Duration of a publication",
            "Tens of milliseconds are normal. Seconds: brokers under load, or replicas out of sync.",
            "s",
            quantiles("commit_duration_seconds", 0.5, 0.95),
        ),
        Panel(
            "Since the last commit, where one is due",
            "Partitions with unpublished decisions. It grows: the brokers take nothing; the log says why.",
            "s",
            (
                Query(
                    f"max({selector('partition_commit_age_seconds', chosen=OF_TOPIC)} and "
                    f"{selector('partition_unpublished', chosen=OF_TOPIC)} > 0) or vector(0)",
                    "longest",
                ),
            ),
        ),
        Panel(
            "Rebalances, and what became of partitions",
            "Mostly kept is good: their work went on. Many rebalances: workers restart or poll too late.",
            "cpm",
            (Query(per_minute("rebalances"), "rebalances"), Query(per_minute("lanes_assigned", "fate"), "{{fate}}")),
        ),
        Panel(
            "Partitions given up",
            "moved, stopped: by plan. fenced: another worker had taken over.",
            "cpm",
            (Query(per_minute("lanes_sealed", "cause"), "{{cause}}"),),
            kind="stack",
        ),
        Panel(
            "Calls dropped",
            "Running calls whose results nobody awaits: drain deadlines are shorter than an analysis.",
            "cpm",
            (Query(per_minute("calls_dropped", "cause"), "{{cause}}"),),
            kind="stack",
        ),
    ),
)
PROCESS = Row(
    "Is the process well?",
    (
        Panel(
            "Workers by state",
            "Not running for long: /readyz says why. One that does not answer has ended, or cannot be reached.",
            "short",
            (
                Query(f"sum by (state) ({selector('state')})", "{{state}}"),
                Query(f"count({_process('up')} == 0) or vector(0)", "does not answer"),
            ),
            kind="stack",
        ),
        Panel(
            "Since the consumer last asked",
            "Above a minute: /livez fails, and the orchestrator restarts the worker.",
            "s",
            (each("consumer_loop_age_seconds"),),
        ),
        Panel(
            "Event loop late by",
            "At worst within a minute. Above a second: the process lacks CPU, or stood still.",
            "s",
            (each("event_loop_lag_seconds"),),
            warn_above=1,
        ),
        Panel(
            "CPU",
            "Of one core. At 100 %: more workers, as many as there are partitions.",
            "percentunit",
            (Query(f"rate({_process('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "Memory",
            "Resident. It grows without end: keep a copy of /status, then restart.",
            "bytes",
            (Query(_process("process_resident_memory_bytes"), "{{instance}}"),),
        ),
        Panel(
            "Starts within an hour",
            "More than a rollout explains: see the log's last line, and the exit codes in the README.",
            "short",
            (Query(f"changes({_process('process_start_time_seconds')}[1h])", "{{instance}}"),),
        ),
        Panel(
            "Versions",
            "Workers by version. Two for long: a rollout stands.",
            "short",
            (Query(f"count by (version) ({selector('build_info')})", "{{version}}"),),
            width=12,
        ),
        Panel(
            "Policies in force",
            "Workers by policy and digest of what it decides. Two digests of one name: replicas have different files.",
            "short",
            (Query(f"count by (policy, digest, default) ({selector('policy_info')})", "{{policy}} {{digest}}"),),
            width=12,
        ),
    ),
)
WORKER = Board(
    "track-intake-worker",
    "Track intake: Worker",
    "A row for each question: keeping up, waiting for, stuck, the API, Kafka, the process.",
    "now-3h",
    (KEEPING_UP, WAITING_FOR, STUCK, API, KAFKA, PROCESS),
)
