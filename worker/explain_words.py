"""The words of `track-intake explain`: what each state means, durations, foreign text, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.domain.printable import printable
from worker.pipeline.explanation import JobWaitsFor, WaitsFor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MEANINGS: Mapping[WaitsFor, str] = {
    WaitsFor.CALL: "the reply: a request for it is under way",
    WaitsFor.NEXT_POLL: "its next poll: the API analyses it",
    WaitsFor.RETRY: "its next attempt",
    WaitsFor.RETRY_BUDGET: "a retry: its own is due, but the process has none left (RETRY_BUDGET_SHARE)",
    WaitsFor.QUOTA: "quota: RATE_LIMIT_PER_MINUTE, or what the API says is left",
    WaitsFor.SLOT: "a slot: as many analyses are in flight as may be",
    WaitsFor.TURN: "nothing; it is about to start",
    WaitsFor.PREDECESSOR: "an earlier record with its key",
    WaitsFor.GATHERING: "a job: enough tracks for one, or BULK_MAX_WAIT_SECONDS",
    WaitsFor.JOB_ROOM: "a job: its partition has as many open as may be, or no metadata for one more",
    WaitsFor.JOB: "its result: it is in a job of many tracks",
    WaitsFor.KEY: "the outcome of an earlier record with its key: its own result is here",
    WaitsFor.PUBLICATION: "its publication: it is decided, the commit is to come",
    WaitsFor.COMMITS: "Kafka: too many decisions wait for their commit, so nothing more is bought",
    WaitsFor.HELD: "the operator: the API refuses the key, the account or the client; see /readyz",
    WaitsFor.OUTAGE: "the API: it is out, only probes leave; tracks keep their place and time",
    WaitsFor.DEAD_LETTERS: "a restart, after too many dead letters: mend the format or the schema",
    WaitsFor.OPENING: "Kafka: the partition is being taken over; if that lasts, see its commits",
    WaitsFor.REBALANCE: "the group: a rebalance is under way",
    WaitsFor.SETTLING: "a rebalance, before which running calls may end (REBALANCE_DRAIN_SECONDS)",
    WaitsFor.DRAINING: "nothing; the worker was told to stop (DRAIN_SECONDS)",
    WaitsFor.DOUBT: "a commit: the process stood still, and has to prove that it owns this",
    WaitsFor.METADATA: "the oldest record: three quarters of the commit metadata are in use",
    WaitsFor.WINDOW: "the oldest record: this one is too far above the watermark",
    WaitsFor.BUFFER_FULL: "room in memory (MAX_BUFFERED_RECORDS, MAX_BUFFERED_BYTES)",
}
JOB_MEANINGS: Mapping[JobWaitsFor, str] = {
    JobWaitsFor.REPLY: "the reply: its call is under way",
    JobWaitsFor.INTENT: "a commit: what is to be bought is written down before",
    JobWaitsFor.RECORDS: "its records: they are being delivered again, and the request needs all of them",
    JobWaitsFor.PARTITION: "its partition, which starts nothing now: see what is paused, and the commits",
    JobWaitsFor.ROOM: "a commit: too many decisions, of its partition or of all, wait for theirs",
    JobWaitsFor.TIME: "the time of its next call",
    JobWaitsFor.SERVICE: "the API: it refuses the key or the account, or is out",
    JobWaitsFor.QUOTA: "quota: RATE_LIMIT_PER_MINUTE, or what the API says is left",
    JobWaitsFor.TURN: "nothing; its next call is about to leave",
    JobWaitsFor.COMMIT: "the commit of its last decisions; it needs no more calls",
}
_TEXT_BYTES = 200
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_EXACT_BELOW = 10


def seconds(value: float) -> str:
    """A duration for people: 0.4 s, 23 s, 12 min 4 s, 3 h 12 min, 2 d 4 h."""
    whole = round(value)
    if whole < _EXACT_BELOW:
        return f"{value:.1f} s"
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def shown(text: str, limit: int = _TEXT_BYTES) -> str:
    """Foreign text on one line."""
    return printable(text.encode("utf-8", "surrogatepass"), limit)


def due(value: float | None) -> str:
    """When something comes, where that is known."""
    if value is None:
        return "-"
    return f"in {seconds(value)}" if value else "now"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, in short: 0-3, 7, 9-10."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
