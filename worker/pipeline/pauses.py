"""Why a partition starts or fetches nothing, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.flow.entry import State
from worker.flow.ledger import ADMIT_BELOW
from worker.flow.mode import Mode
from worker.pipeline.explanation import Paused, WaitsFor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.flow.ledger import Ledger
    from worker.pipeline.lane import Lane
    from worker.pipeline.standing import Standing


def pauses(lane: Lane, standing: Standing, *, draining: bool) -> Iterator[Paused]:
    """Everything that stands still, the partition's own causes first."""
    if lane.ledger is None:
        yield Paused("both", WaitsFor.OPENING, standing.ago(lane.suspended_at), "takes the partition over from Kafka")
    elif not lane.flowing:
        yield _suspended(lane, lane.ledger, standing, draining=draining)
    else:
        yield from _halted(lane, lane.ledger, standing)
    yield from _shared(standing)


def _suspended(lane: Lane, ledger: Ledger, standing: Standing, *, draining: bool) -> Paused:
    seconds = standing.ago(lane.suspended_at)
    unsettled = f"{ledger.in_purchase} calls and {ledger.count(State.FINISHED)} decisions are to end first"
    if draining:
        return Paused("both", WaitsFor.DRAINING, seconds, unsettled if lane.is_unsettled else "all is settled")
    if lane.writer.assigned.is_set():
        return Paused("both", WaitsFor.REBALANCE, seconds, "came back; asks Kafka whether anybody else has committed")
    if lane.is_unsettled:
        return Paused("both", WaitsFor.SETTLING, seconds, unsettled)
    return Paused("both", WaitsFor.REBALANCE, seconds, "the group is about to hand its partitions out")


def _halted(lane: Lane, ledger: Ledger, standing: Standing) -> Iterator[Paused]:
    if lane.in_doubt:
        yield Paused("starting", WaitsFor.DOUBT, standing.ago(lane.doubted_at))
    if (stopped := lane.burials.stopped) is not None:
        text = f"{stopped.buried} of the last {stopped.records} records were no events, {stopped.in_a_row} in a row"
        yield Paused("starting", WaitsFor.DEAD_LETTERS, standing.ago(lane.stopped_at), text)
    if lane.publish_error is not None:
        text = f"{lane.writer.progress.failures} publications in a row have failed: {lane.publish_error}"
        yield Paused("starting", WaitsFor.COMMITS, None, text)
    yield from _lack_of_space(lane, ledger)
    if lane.paused:
        records, size_bytes = lane.marks
        text = f"{ledger.buffered} of {records} records, {ledger.buffered_bytes} of {size_bytes} bytes; goes on at half"
        yield Paused("fetching", WaitsFor.BUFFER_FULL, standing.ago(lane.paused_at), text)


def _lack_of_space(lane: Lane, ledger: Ledger) -> Iterator[Paused]:
    """What the ledger would answer to whoever asks it for the next record, or for the next job; see `Ledger.start`."""
    limits, in_jobs = lane.limits, lane.mode is Mode.BULK
    ready = (entry for entry in ledger.entries() if entry.state is State.READY)
    first = next((entry for entry in ready if entry.alone or not in_jobs), None)
    lowest = next(ledger.states.gatherable(), first) if in_jobs else first
    if lowest is not None and not ledger.is_in_window(lowest):
        yield Paused("starting", WaitsFor.WINDOW, None, f"{limits.window} offsets above the watermark")
    if first is None:
        return
    if ledger.count(State.FINISHED) >= limits.unpublished:
        yield Paused("starting", WaitsFor.COMMITS, None, f"{ledger.count(State.FINISHED)} decisions of this partition")
    if first.job_id is None and ledger.count(State.RUNNING) and ledger.metadata_used >= ADMIT_BELOW:
        yield Paused("starting", WaitsFor.METADATA, None, f"{ledger.metadata_used:.0%} in use, jobs to come included")


def _shared(standing: Standing) -> Iterator[Paused]:
    match standing.stop:
        case WaitsFor.COMMITS:
            text = f"{standing.unpublished} decisions of all partitions, {standing.max_unpublished} at most"
            yield Paused("starting", WaitsFor.COMMITS, None, text)
        case None:
            return
        case why:
            cause = standing.service.held or standing.service.outage
            if cause is not None:
                yield Paused("starting", why, standing.ago(cause.since), f"{cause.kind.value}: {cause.detail}")
