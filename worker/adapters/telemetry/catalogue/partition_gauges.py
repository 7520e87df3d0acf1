"""Gauges of each partition."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, gauge

_LANE = ("topic", "partition")
# By the LaneStatus field that it shows.
PER_PARTITION: dict[str, Metric] = {
    "watermark": gauge(
        "partition_watermark_offset", _LANE, "Next offset to read after a restart.", "Flat: see oldest_seconds."
    ),
    "highest_completed": gauge(
        "partition_highest_completed_offset",
        _LANE,
        "Highest offset done; those between the watermark and it are remembered one by one.",
        "Far above the watermark: one slow track, normal until its deadline.",
    ),
    "oldest_seconds": gauge(
        "partition_oldest_unfinished_seconds",
        _LANE,
        "Since the oldest unfinished record was received.",
        "Above RECORD_DEADLINE_SECONDS plus the queue: page somebody.",
    ),
    "oldest_event_seconds": gauge(
        "partition_oldest_event_seconds",
        _LANE,
        "Since the oldest unfinished record was written, by its own timestamp.",
        "Grows steadily: one track is stuck, or everything behind it waits; `explain` says which.",
    ),
    "lag": gauge(
        "partition_lag_records",
        _LANE,
        "Offsets from the lowest one that is not done to the topic's end; transaction markers count.",
        "Grows: tracks come faster than they are decided. Less done_above_watermark: what is left to do.",
    ),
    "done_above": gauge(
        "partition_done_above_watermark",
        _LANE,
        "Offsets above the watermark that are done, and remembered one by one.",
        "Large: one slow track holds the watermark. It costs commit metadata, see metadata_used_ratio.",
    ),
    "commit_seconds": gauge(
        "partition_commit_age_seconds",
        _LANE,
        "Since this worker's last commit of the partition.",
        "Grows while unpublished is above 0: the brokers take nothing, see commits.",
    ),
    "queued": gauge(
        "partition_queued", _LANE, "Records waiting for their first call, or for a job.", "The backlog in memory."
    ),
    "in_flight": gauge("partition_in_flight", _LANE, "Analyses in flight.", "Uneven: keys or partitions are skewed."),
    "retrying": gauge("partition_retrying", _LANE, "Records waiting for another attempt.", "See retries."),
    "unpublished": gauge(
        "partition_unpublished", _LANE, "Decisions made and not yet committed.", "Grows: see commits."
    ),
    "buffered_bytes": gauge(
        "partition_buffered_bytes", _LANE, "Bytes of records in memory.", "MAX_BUFFERED_BYTES bounds the sum."
    ),
    "metadata_used": gauge(
        "partition_metadata_used_ratio",
        _LANE,
        "Share of the commit metadata in use, 0-1.",
        "At 0.75 the partition admits nothing new until its oldest record is done.",
    ),
    "paused": gauge("partition_paused", _LANE, "1 while nothing is fetched.", "See partitions_paused for why."),
    "stopped": gauge(
        "partition_stopped",
        _LANE,
        "1 after too many dead letters: nothing more of it starts until a restart.",
        "The topic's format or our schema is wrong. Mend that, restart, then replay the dead letters.",
    ),
    "bulk": gauge(
        "partition_bulk", _LANE, "1 while its tracks go in jobs, 0 while they go one by one.", "See mode_changes, MODE."
    ),
    "direct_estimate_seconds": gauge(
        "partition_direct_estimate_seconds",
        _LANE,
        "What direct calls would need to clear what waits, in memory and in the topic; left out with MODE=direct.",
        "Above partition_bulk_above_seconds jobs begin, below half of it they end (MODE=auto). It only grows: the "
        "quota is too small.",
    ),
    "bulk_above_seconds": gauge(
        "partition_bulk_above_seconds",
        _LANE,
        "The estimate above which jobs begin: BULK_ABOVE_SECONDS, or what a job needs if that is more.",
        "Far above BULK_ABOVE_SECONDS: jobs take long, see job_duration_seconds.",
    ),
    "jobs": gauge("partition_jobs_open", _LANE, "Jobs that are not worked off.", "Two at most; `explain` says why."),
    "in_jobs": gauge(
        "partition_in_jobs", _LANE, "Records in open jobs, without a result.", "Flat for long: see the oldest job."
    ),
    "oldest_job_seconds": gauge(
        "partition_oldest_job_seconds",
        _LANE,
        "Since this replica first knew of its oldest open job, or since the API took that.",
        "Near BULK_DEADLINE_SECONDS: people are about to decide what the job has left.",
    ),
    "behind_key": gauge(
        "partition_behind_key",
        _LANE,
        "Results of jobs that wait for an earlier record with their key.",
        "Grows: one slow track of a busy key.",
    ),
    "suspended": gauge("partition_suspended", _LANE, "1 in a rebalance.", "For minutes: the group does not settle."),
}
