"""What the pipeline tells of itself, in plain values: a partition as it stands now, and the line of a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.flow.entry import State
from worker.flow.mode import Mode
from worker.pipeline.facts import TrackDecided
from worker.pipeline.statuses import LaneStatus, PausedBy

if TYPE_CHECKING:
    from datetime import datetime

    from worker.domain.analysis import Analysis
    from worker.domain.decider import Decided
    from worker.domain.record import Record
    from worker.domain.trace import TraceContext
    from worker.pipeline.lane import Lane


def lane_status(lane: Lane, now: float, at: datetime, end: int | None) -> LaneStatus:
    """One partition. `now` is the loop's time, `at` the wall's, `end` the offset after the topic's last record."""
    ledger, committed_at = lane.ledger, lane.writer.progress.committed_at
    if ledger is None:
        return LaneStatus(lane.topic, lane.partition)
    oldest, jobs = ledger.oldest, lane.book.jobs if lane.book is not None else []
    return LaneStatus(
        topic=lane.topic,
        partition=lane.partition,
        suspended=not lane.flowing,
        paused=lane.paused,
        watermark=lane.writer.committed.offset if lane.writer.committed else None,
        highest_completed=ledger.highest_completed,
        queued=ledger.count(State.READY) + ledger.count(State.BLOCKED),
        in_flight=ledger.count(State.RUNNING),
        retrying=ledger.count(State.WAITING),
        in_jobs=ledger.count(State.GATHERED),
        behind_key=ledger.count(State.HELD),
        unpublished=ledger.count(State.FINISHED),
        buffered_bytes=ledger.buffered_bytes,
        oldest_seconds=now - oldest.received_at if oldest else None,
        oldest_event_seconds=max(0.0, at.timestamp() - oldest.record.timestamp_ms / 1000) if oldest else None,
        lag=max(0, end - ledger.watermark) if end is not None else None,
        done_above=ledger.done_above,
        commit_seconds=now - committed_at if committed_at is not None else None,
        metadata_used=ledger.metadata_used,
        stopped=lane.burials.stopped is not None,
        bulk=lane.mode is Mode.BULK,
        direct_estimate_seconds=lane.chooser.estimate_seconds if lane.chooser else None,
        bulk_above_seconds=lane.chooser.above_seconds if lane.chooser else None,
        jobs=len(jobs),
        oldest_job_seconds=max((now - job.since for job in jobs if job.since is not None), default=None),
        paused_by=_paused_by(lane),
        publish_error=lane.publish_error,
    )


def _paused_by(lane: Lane) -> PausedBy | None:
    """Why it stands, as `explain` says it: first what stops all of it, then what stops starting, then fetching."""
    if not lane.flowing:
        return "settling" if lane.is_unsettled and not lane.writer.assigned.is_set() else "rebalance"
    causes: tuple[tuple[PausedBy, object], ...] = (
        ("doubt", lane.in_doubt),
        ("dead_letters", lane.burials.stopped),
        ("commits", lane.publish_error),
        ("buffer_full", lane.paused),
    )
    return next((why for why, stands in causes if stands), None)


def track_decided(
    record: Record,
    item_id: str,
    analysis: Analysis,
    decided: Decided,
    *,
    attempts: int,
    analysis_seconds: float,
    queued_seconds: float,
    trace: TraceContext | None,
    job_trace: TraceContext | None,
) -> TrackDecided:
    """The fact of one decision."""
    return TrackDecided(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        decision_id=decided.decision_id,
        item_id=item_id,
        decision=decided.decision,
        reason=decided.reason,
        policy=decided.policy,
        policy_digest=decided.policy_digest,
        output_topic=decided.output_topic,
        status=analysis.status.value,
        tiers={
            "press_safe": analysis.press_safe.value,
            "human_safe": analysis.human_safe.value,
            "recall": analysis.recall.value,
        },
        error=analysis.error,
        job_id=analysis.job_id,
        attempts=attempts,
        analysis_seconds=analysis_seconds,
        queued_seconds=queued_seconds,
        trace=trace,
        job_trace=job_trace,
    )
