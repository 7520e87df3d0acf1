"""The first half of the dashboard *Worker*: what becomes of the tracks, and what they wait for."""

from __future__ import annotations

from tests.deploy.boards.panels import (
    OF_TOPIC,
    SELECTED,
    Panel,
    Query,
    Row,
    per_minute,
    quantiles,
    selector,
    total,
)

_PLACE = "{{topic}}/{{partition}}"
_WAITING = (
    ("partition_queued", "queued"),
    ("partition_in_flight", "in flight"),
    ("partition_retrying", "retrying"),
    ("partition_in_jobs", "in jobs"),
    ("partition_behind_key", "behind their key"),
    ("partition_unpublished", "unpublished"),
)
_QUOTA_WAIT = selector("quota_wait_seconds_total")
_NOT_CLOSED = 'state!="closed"'


def _largest(metric: str, of: int = 5) -> Query:
    return Query(f"topk({of}, {selector(metric, chosen=OF_TOPIC)})", _PLACE)


def each(metric: str, legend: str = "{{instance}}") -> Query:
    return Query(selector(metric), legend)


KEEPING_UP = Row(
    "Is it keeping up?",
    (
        Panel(
            "Received and committed",
            "Committed messages are decisions and dead letters that consumers can read. Below received for long: a "
            "backlog grows.",
            "cpm",
            (
                Query(per_minute("records_received"), "received"),
                Query(per_minute("decisions"), "decided"),
                Query(per_minute("messages_published"), "committed"),
            ),
        ),
        Panel(
            "Left to do",
            "Records without an outcome, in memory and in the topic.",
            "short",
            (Query(f"{total('partition_lag_records')} - {total('partition_done_above_watermark')}", "left"),),
        ),
        Panel(
            "Age when decided",
            "From the event's timestamp to the commit of its decision.",
            "s",
            quantiles("track_age_seconds", 0.5, 0.95),
        ),
        Panel(
            "Wait for the first call",
            "From receipt to the first call. Long with all slots in use: raise MAX_CONCURRENCY or the quota.",
            "s",
            quantiles("queue_wait_seconds", 0.5, 0.95),
        ),
        Panel(
            "Analysis",
            "First call to result. About 45 s is normal; more: the API is slow, or quota delays the polls.",
            "s",
            quantiles("analysis_duration_seconds", 0.5, 0.95),
        ),
        Panel(
            "Records in memory",
            "Their bytes; MAX_BUFFERED_BYTES bounds those of each worker.",
            "bytes",
            (Query(total("partition_buffered_bytes", "instance"), "{{instance}}"),),
        ),
    ),
)
WAITING_FOR = Row(
    "What is it waiting for?",
    (
        Panel(
            "What the records in memory wait for",
            "unpublished: Kafka. in flight, in jobs: the API. retrying: see the API's row. queued: a slot or quota.",
            "short",
            tuple(Query(total(metric), name) for metric, name in _WAITING),
            kind="stack",
            width=12,
        ),
        Panel(
            "Analyses in flight, and how many may be",
            "At the limit for long: the limit is the brake. It follows 429s, time-outs and latency.",
            "short",
            (
                Query(total("in_flight", chosen=SELECTED), "in flight"),
                Query(total("concurrency_limit", chosen=SELECTED), "limit"),
            ),
            width=12,
        ),
        Panel(
            "Requests a minute, and how many may be",
            "At what is allowed: the quota is the brake.",
            "opm",
            (
                Query(per_minute("api_calls"), "requests"),
                Query(total("quota_requests_per_minute", chosen=SELECTED), "allowed"),
            ),
        ),
        Panel(
            "Waiting for quota",
            "Seconds waited in a second, a worker on average. submit at 1: the quota is the brake. poll above that: it "
            "is far too small.",
            "short",
            (Query(f"avg by (operation) (rate({_QUOTA_WAIT}[$__rate_interval]))", "{{operation}}"),),
        ),
        Panel(
            "Left of the API's window",
            "By its last reply, of the whole key. Near 0 with requests below what is allowed: somebody else uses it.",
            "short",
            (each("quota_remaining"),),
        ),
        Panel(
            "Held by the operator's cause",
            "1: nothing starts until it is mended. key_refused: HS_API_KEY. credits_exhausted: buy some. cdn_refused: "
            "the egress address. misconfigured: HS_BASE_URL.",
            "none",
            (Query(f"max by (reason) ({selector('held')})", "{{reason}}"),),
            most=1,
        ),
        Panel(
            "Breaker not closed",
            "Workers whose breaker is open or half open: the API as a whole is out. Tracks wait and lose nothing.",
            "none",
            (Query(f"sum by (state) ({selector('breaker', _NOT_CLOSED)})", "{{state}}"),),
        ),
        Panel(
            "Retries that may leave",
            "Below 1: retries wait for the process's budget (RETRY_BUDGET_SHARE).",
            "short",
            (each("retry_budget"),),
        ),
    ),
)
STUCK = Row(
    "Is anything stuck?",
    (
        Panel(
            "Oldest unfinished record",
            "By when it was received; the five worst partitions. Above RECORD_DEADLINE_SECONDS plus the queue: "
            "track-intake explain says why.",
            "s",
            (_largest("partition_oldest_unfinished_seconds"),),
        ),
        Panel(
            "Oldest event without an outcome",
            "By its own timestamp; the five worst partitions.",
            "s",
            (_largest("partition_oldest_event_seconds"),),
        ),
        Panel(
            "Watermark moves",
            "Offsets a minute, by partition. 0 where something is left to do: the oldest record holds it.",
            "cpm",
            (Query(f"60 * deriv({selector('partition_watermark_offset', chosen=OF_TOPIC)}[5m])", _PLACE),),
        ),
        Panel(
            "Done above the watermark",
            "Many behind one slow track. They are remembered one by one, in the commit metadata.",
            "short",
            (_largest("partition_done_above_watermark"),),
        ),
        Panel(
            "Commit metadata in use",
            "At 75 % the partition starts nothing new until its oldest record is done.",
            "percentunit",
            (_largest("partition_metadata_used_ratio"),),
            warn_above=0.75,
            most=1,
        ),
        Panel(
            "Partitions that stand, by reason",
            "Each once, in the words of track-intake explain. buffer_full: usual in a backlog. rebalance, opening or "
            "commits for minutes: the group or the brokers. dead_letters: until a restart.",
            "short",
            (Query(total("partitions_paused", "reason", chosen=SELECTED), "{{reason}}"),),
            kind="stack",
        ),
    ),
)
