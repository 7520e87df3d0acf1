"""The pipeline as it stands now, in plain values for whoever asks: metrics, readiness, people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.flow.entry import State
from worker.pipeline.facts import LaneStatus

if TYPE_CHECKING:
    from worker.pipeline.lane import Lane


def lane_status(lane: Lane, now: float) -> LaneStatus:
    """One partition. `now` is the loop's time."""
    ledger = lane.ledger
    if ledger is None:
        return LaneStatus(lane.topic, lane.partition)
    oldest = ledger.oldest
    return LaneStatus(
        topic=lane.topic,
        partition=lane.partition,
        suspended=not lane.flowing,
        paused=lane.paused,
        watermark=lane.committed.offset if lane.committed else None,
        highest_completed=ledger.highest_completed,
        queued=ledger.count(State.READY) + ledger.count(State.BLOCKED),
        in_flight=ledger.count(State.RUNNING),
        retrying=ledger.count(State.WAITING),
        unpublished=ledger.count(State.FINISHED),
        buffered_bytes=ledger.buffered_bytes,
        oldest_seconds=now - oldest.received_at if oldest else None,
        metadata_used=ledger.metadata_used,
    )
