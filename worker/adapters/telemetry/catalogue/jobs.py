"""Counters and histograms of jobs of many tracks, of their results and of the webhooks that tell of them."""

from __future__ import annotations

from worker.adapters.telemetry.catalogue.metric import Metric, counter, histogram

_TRACKS = (1, 8, 32, 128, 512, 1000, 2000, 5000, 10_000)
# A job of 10,000 tracks takes minutes to hours; BULK_DEADLINE_SECONDS is 6 hours unless it was set.
_JOB = (30, 60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800, 14_400, 21_600, 43_200)

JOB_TRACKS = histogram(
    "job_tracks",
    (),
    _TRACKS,
    "Tracks gathered into one job; the sum is all of them.",
    "Small ones while the backlog is large: jobs are refused and halved, see jobs_ended.",
)
JOBS_ACCEPTED = counter(
    "jobs_accepted", (), "Jobs that the API has taken.", "Flat while jobs are gathered: see api_calls for create_job."
)
JOBS_ENDED = counter(
    "jobs_ended",
    ("outcome",),
    "Jobs of which nothing more is expected: complete, refused, failed, lost, hopeless or timeout.",
    "refused: a track that the API does not take is being looked for. All others: the log line has the detail.",
)
JOB_SECONDS = histogram(
    "job_duration_seconds",
    ("outcome",),
    _JOB,
    "From a job's acceptance, or from when this replica took it over, to its end.",
    "Near BULK_DEADLINE_SECONDS: tracks are about to go to people. Smaller BULK_MAX_ITEMS make shorter jobs.",
)
JOB_TRACKS_LEFT = counter(
    "job_tracks_left",
    ("outcome",),
    "Tracks without a result at the end of their job.",
    "hopeless, timeout: people decide them. refused, failed, lost: they go into smaller jobs, or one by one.",
)
JOB_RESULTS = counter(
    "job_results",
    ("source", "outcome"),
    "Results of single tracks of jobs, by page or webhook; decided, or why not.",
    "webhook decides nothing: see webhooks and WEBHOOK_URL. foreign, unreadable: the API's answers have changed.",
)
MODE_CHANGES = counter(
    "mode_changes",
    ("mode",),
    "Times that a partition went over to direct calls or to jobs.",
    "Many an hour: raise BULK_ABOVE_SECONDS.",
)
WEBHOOKS = counter(
    "webhooks", ("outcome",), "Webhooks answered.", "refused: check WEBHOOK_SECRET. not_published: the brokers."
)

ALL: tuple[Metric, ...] = (
    JOB_TRACKS,
    JOBS_ACCEPTED,
    JOBS_ENDED,
    JOB_SECONDS,
    JOB_TRACKS_LEFT,
    JOB_RESULTS,
    MODE_CHANGES,
    WEBHOOKS,
)
