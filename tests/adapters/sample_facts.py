"""One of each fact, and a telemetry to tell them to."""

from __future__ import annotations

import io
from types import MappingProxyType

from worker.adapters.telemetry import Infos, Telemetry
from worker.domain.trace import TraceContext
from worker.pipeline import facts as f
from worker.pipeline.statuses import LaneStatus, QuotaStatus, WorkerStatus

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
INFOS = Infos("9.9", (("two-tier", "sha256:abc", "true"),), (("track-approve", "approve", None, "two-tier"),))
LANE = LaneStatus(
    topic="track-submitted",
    partition=3,
    suspended=False,
    paused=True,
    watermark=100,
    highest_completed=None,
    queued=1,
    in_flight=2,
    retrying=3,
    unpublished=4,
    buffered_bytes=5000,
    oldest_seconds=1.5,
    oldest_event_seconds=2.5,
    lag=120,
    done_above=6,
    commit_seconds=0.75,
    metadata_used=0.25,
    in_jobs=9000,
    behind_key=7,
    bulk=True,
    direct_estimate_seconds=7200.5,
    bulk_above_seconds=450.0,
    jobs=2,
    oldest_job_seconds=321.5,
    paused_by="buffer_full",
)
QUOTA = QuotaStatus(
    60, 0.25, 15.0, 14.5, 3, 1.5, api_limit=60, api_remaining=17, api_reset_seconds=12, retries_left=7.5
)
STATUS = WorkerStatus("running", (LANE,), 2, 64, "key_refused", "401", "unavailable", "open", 0.5, QUOTA, 0.125)
DECIDED = f.TrackDecided(
    topic="track-submitted",
    partition=3,
    offset=101,
    decision_id="6f1c7b86-5a4b-5d0e-8d6e-0123456789ab",
    item_id="item-101",
    decision="approve",
    reason=None,
    policy="two-tier",
    policy_digest="abc",
    output_topic="track-approve",
    status="success",
    tiers=MappingProxyType({"press_safe": "not_evaluated", "human_safe": "human", "recall": "human"}),
    error=None,
    job_id="job-1",
    attempts=2,
    analysis_seconds=45.5,
    queued_seconds=0.25,
    trace=TRACE,
)
FACTS: tuple[f.Fact, ...] = (
    f.RecordsReceived(3, 10, 2000),
    f.CallFinished("submit", "throttled", 0.2, 3, 101, TRACE),
    f.CallFinished("submit", "accepted", 0.25, 3, 101, TRACE),
    f.CallFinished("poll", "finished", 0.5, 3, 101, TRACE),
    f.QuotaWaited("poll", 1.25, 3, 101, TRACE),
    f.RetryScheduled(3, 101, "id-101", "throttled", 1, 2.0, TRACE),
    f.BoughtAgain(3, 101, "outcome_unknown"),
    f.BoughtAgain(3, 200, "job_failed", 5000),
    f.JobGathered(3, 200, 10_199, 9990, 30.5),
    f.JobAccepted(3, "job-2", 9990, 0.75),
    f.JobEnded(3, "complete", 0, 1800.5, None),
    f.JobEnded(3, "failed", 5000, 600.0, "the job failed"),
    f.JobResult("webhook", "incomplete"),
    f.JobResult("page", "decided"),
    f.JobResult("page", "decided"),
    f.ModeChanged(3, "bulk", 100_000, 7200.5),
    DECIDED,
    f.DeadLettered(3, 102, "not_json", "", "track-dead-letter"),
    f.PartitionStopped(3, 51, 100, 7),
    f.CommitFinished(3, "committed", 7, 0.036),
    f.CommitFinished(3, "fenced", 9, 0.1, "ProducerFenced"),
    f.TracksCommitted(3, (2**60,), (TRACE,), 0.04),  # of the future
    f.RebalanceFinished(2, 3, 1, 0.4),
    f.LaneSealed(3, "moved", 2),
    f.AdmissionHeld("key_refused", "401"),
    f.AdmissionResumed("key_refused", 12.5),
    f.OutageBegan("unavailable", "503"),
    f.OutageEnded("unavailable", 61.5),
    f.WebhookReceived("published"),
    f.Stopping("SIGTERM"),
    f.Stopped(0, 1.0),
)


def telemetry(
    level: str = "debug", layout: str = "json", status: WorkerStatus = STATUS
) -> tuple[Telemetry, io.BytesIO]:
    stream = io.BytesIO()
    return Telemetry(lambda: status, INFOS, level, layout, stream), stream
