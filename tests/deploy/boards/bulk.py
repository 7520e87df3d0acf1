"""The dashboard *Bulk*: jobs of many tracks, what they bought and what they brought, and the webhooks of them."""

from __future__ import annotations

from tests.deploy.boards.panels import (
    OF_TOPIC,
    Board,
    Panel,
    Query,
    Row,
    increase,
    per_minute,
    quantile,
    rate,
    seen,
    selector,
    share,
    total,
)

_PLACE = "{{topic}}/{{partition}}"
_OF_ALL = selector("partition_bulk", chosen=OF_TOPIC)
_AVERAGE = share(
    f"sum(rate({selector('job_tracks_sum')}[$__rate_interval]))",
    f"sum(rate({selector('job_tracks_count')}[$__rate_interval]))",
)

MODE = Row(
    "Direct calls or jobs?",
    (
        Panel(
            "Partitions whose tracks go in jobs",
            "MODE=auto: those whose backlog single calls would need too long for.",
            "short",
            (Query(total("partition_bulk"), "in jobs"), Query(f"count({_OF_ALL})", "all")),
        ),
        Panel(
            "What direct calls would need",
            "Jobs begin above the threshold and end below half of it. It only grows: the quota is too small.",
            "s",
            (
                Query(f"max({selector('partition_direct_estimate_seconds', chosen=OF_TOPIC)})", "estimate, largest"),
                Query(f"max({selector('partition_bulk_above_seconds', chosen=OF_TOPIC)})", "threshold, highest"),
            ),
        ),
        Panel(
            "Changes of mode",
            "Many an hour: raise BULK_ABOVE_SECONDS.",
            "cpm",
            (Query(per_minute("mode_changes", "mode"), "to {{mode}}"),),
        ),
    ),
)
OPEN = Row(
    "Jobs that are open",
    (
        Panel(
            "Open jobs",
            "Two at most for each partition; track-intake explain says what each waits for.",
            "short",
            (Query(total("partition_jobs_open"), "open"),),
        ),
        Panel(
            "Tracks in them",
            "in jobs: without a result. behind their key: with one, and an earlier track of their key has none.",
            "short",
            (
                Query(total("partition_in_jobs"), "in jobs"),
                Query(total("partition_behind_key"), "behind their key"),
            ),
            kind="stack",
        ),
        Panel(
            "Oldest job",
            "The five worst partitions. Near BULK_DEADLINE_SECONDS people are about to decide what is left.",
            "s",
            (Query(f"topk(5, {selector('partition_oldest_job_seconds', chosen=OF_TOPIC)})", _PLACE),),
        ),
    ),
)
WORKED_OFF = Row(
    "Jobs that were worked off",
    (
        Panel(
            "Jobs taken and ended",
            "Taken by the API, and ended by outcome. All but complete leave tracks.",
            "cpm",
            (
                Query(per_minute("jobs_accepted"), "taken"),
                Query(per_minute("jobs_ended", "outcome"), "{{outcome}}"),
            ),
        ),
        Panel(
            "Tracks in a job",
            "On average. Small while the backlog is large: jobs are refused and halved.",
            "short",
            (Query(_AVERAGE, "tracks"),),
        ),
        Panel(
            "Duration of a job",
            "From its acceptance to its end; 95 % are below.",
            "s",
            (Query(quantile(0.95, "job_duration_seconds", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Results by source and outcome",
            "webhook decides nothing: see webhooks below. foreign, unreadable: the API's answers have changed.",
            "cpm",
            (Query(per_minute("job_results", "source, outcome"), "{{source}}: {{outcome}}"),),
            kind="stack",
        ),
        Panel(
            "Tracks left at the end",
            "hopeless, timeout: people decide them. refused, failed, lost: they go into other jobs, or alone.",
            "cpm",
            (Query(per_minute("job_tracks_left", "outcome"), "{{outcome}}"),),
            kind="stack",
        ),
        Panel(
            "Calls for jobs",
            "create_job buys, ask_job and read_results are free; faults by their kind.",
            "cpm",
            (
                Query(
                    seen(per_minute("api_calls", "operation, outcome", 'operation=~"create_job|ask_job|read_results"')),
                    "{{operation}}: {{outcome}}",
                ),
            ),
        ),
    ),
)
MONEY = Row(
    "What was bought, and who told",
    (
        Panel(
            "Credits by mode, in the time shown",
            "Analyses that the API has taken. A job whose creation was repeated counts twice, and costs once.",
            "short",
            (Query(increase("analyses_bought", "mode"), "{{mode}}"),),
            kind="number",
        ),
        Panel(
            "Bought again, by cause",
            "Analyses bought although they may have been before. job_failed: ask the API for the credits.",
            "cpm",
            (Query(per_minute("analyses_bought_again", "cause"), "{{cause}}"),),
            kind="stack",
        ),
        Panel(
            "Webhooks answered",
            "refused: the secret. not_published: the brokers. All 0 with WEBHOOK_URL set: the API does not reach it.",
            "reqps",
            (Query(rate("webhooks", "outcome"), "{{outcome}}"),),
        ),
    ),
)
BULK = Board(
    "track-intake-bulk",
    "Track intake: Bulk",
    "Jobs of many tracks: which partitions use them, what is open, what was worked off, and what it cost.",
    "now-12h",
    (MODE, OPEN, WORKED_OFF, MONEY),
)
