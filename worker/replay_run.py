"""One run of `dead-letters replay` or `decide-again`: choose, fetch the originals, publish them once, say so.

Memory holds one batch (`BATCH_RECORDS`, `BATCH_BYTES`) and the ledger, however long the topics are. What is said to be
replayed is committed: the lines come after the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from worker.domain.record import Message
from worker.domain.replay import from_dead_letter, from_event, refusal, spans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from worker.domain.record import Record
    from worker.domain.replay import Candidate, Origin, Resubmission, Selection
    from worker.flow.replay_ledger import ReplayLedger

BATCH_RECORDS = 100
BATCH_BYTES = 4 << 20
READ_ON_OFFSETS = 200  # reading over so many unwanted records is cheaper than another seek


class Reader(Protocol):
    """Reads what is committed."""

    async def bounds(self, topic: str, partitions: int) -> Mapping[int, range]:
        """Offsets that can be read now, by partition."""

    async def first_since(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """The lowest offset whose record is not older, or None."""

    def records(self, topic: str, partition: int, span: range) -> AsyncIterator[Record]:
        """Records of the range that still exist, in order."""


class Writer(Protocol):
    """Publishes all or none, as the only one."""

    async def publish(self, messages: Sequence[tuple[Message, int | None]]) -> None:
        """Each to its partition; None: the key chooses."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and how many partitions it has."""

    name: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Job:
    """What is replayed whence and whither. `limit` counts what is replayed, `force` ignores the ledger.

    `batch_records`: how many one transaction has at most.
    """

    source: Topic
    submitted: Topic
    ledger_topic: str
    selection: Selection
    limit: int | None = None
    force: bool = False
    batch_records: int = BATCH_RECORDS


@dataclass(slots=True)
class Tally:
    """How the run went, in dead letters or decisions."""

    replayed: int = 0
    already: int = 0
    refused: int = 0
    missing: int = 0


async def search(
    reader: Reader, topic: Topic, selection: Selection, read: Callable[[Record], Candidate | None]
) -> AsyncIterator[tuple[Candidate, Record]]:
    """Everything on the topic that the selection takes, partition by partition; ends where the topic ended."""
    bounds = await reader.bounds(topic.name, topic.partitions)
    for partition, bound in sorted(bounds.items()):
        for span in await _spans(reader, topic.name, partition, bound, selection):
            async for record in reader.records(topic.name, partition, span):
                candidate = read(record)
                if candidate is not None and selection.takes(candidate):
                    yield candidate, record


async def _spans(reader: Reader, topic: str, partition: int, bound: range, selection: Selection) -> Sequence[range]:
    if selection.positions:
        wanted = [each.offset for each in selection.positions if each.partition == partition and each.offset in bound]
        return spans(wanted, READ_ON_OFFSETS)
    if selection.since_ms is None or not bound:
        return [bound]
    first = await reader.first_since(topic, partition, selection.since_ms)
    return [] if first is None else [range(max(first, bound.start), bound.stop)]


@dataclass(slots=True)
class Replay:
    """One run. Without a writer it only says what it would do."""

    job: Job
    reader: Reader
    ledger: ReplayLedger
    writer: Writer | None
    say: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    _waiting: set[Origin] = field(default_factory=set)
    _chosen: int = 0

    async def dead_letters(self, read: Callable[[Record], Candidate | None]) -> Tally:
        """Put chosen dead letters back."""
        await self._publish_all(self._carried(read))
        return self.tally

    async def decisions(self, read: Callable[[Record], Candidate | None], originals: Reader) -> Tally:
        """Submit the events of chosen decisions again; `originals` reads the input topic."""
        await self._publish_all(self._fetched(read, originals))
        return self.tally

    # Choosing.

    async def _choose(self, read: Callable[[Record], Candidate | None]) -> AsyncIterator[tuple[Candidate, Record]]:
        unseen = set(self.job.selection.positions)
        async for candidate, record in search(self.reader, self.job.source, self.job.selection, read):
            unseen.discard(candidate.position)
            if self._takes(candidate):
                yield candidate, record
            if self.job.limit is not None and self._chosen >= self.job.limit:
                return
        for position in sorted(unseen, key=str):
            self.tally.missing += 1
            self.say(f"not found  {position}: {self.job.source.name} has nothing there that fits (or has no longer)")

    def _takes(self, candidate: Candidate) -> bool:
        if (problem := refusal(candidate, self.job.submitted.name)) is not None or candidate.origin is None:
            self.tally.refused += 1
            self.say(f"refused    {candidate.position}: {problem}")
            return False
        if candidate.origin in self._waiting or (not self.job.force and candidate.origin in self.ledger):
            self.tally.already += 1
            if self.job.selection.positions:  # elsewhere the number says enough: the next run meets all of them again
                self.say(f"skipped    {candidate.position}: replayed before; --force replays it again")
            return False
        self._waiting.add(candidate.origin)
        self._chosen += 1
        return True

    # Originals.

    async def _carried(self, read: Callable[[Record], Candidate | None]) -> AsyncIterator[Resubmission]:
        async for candidate, letter in self._choose(read):
            if candidate.origin is not None:
                yield from_dead_letter(candidate, candidate.origin, letter, self.job.submitted.partitions)

    async def _fetched(
        self, read: Callable[[Record], Candidate | None], originals: Reader
    ) -> AsyncIterator[Resubmission]:
        chunk: dict[Origin, Candidate] = {}
        async for candidate, _ in self._choose(read):
            if candidate.origin is not None:
                chunk[candidate.origin] = candidate
            if len(chunk) >= self.job.batch_records:
                async for found in self._events(chunk, originals):
                    yield found
                chunk = {}
        async for found in self._events(chunk, originals):
            yield found

    async def _events(self, wanted: dict[Origin, Candidate], originals: Reader) -> AsyncIterator[Resubmission]:
        """Events of these decisions, by partition in the order of their offsets; says which are gone."""
        submitted, missing = self.job.submitted, dict(wanted)
        bounds = await originals.bounds(submitted.name, submitted.partitions) if wanted else {}
        for partition, bound in sorted(bounds.items()):
            offsets = {origin.offset: origin for origin in wanted if origin.partition == partition}
            for span in spans((offset for offset in offsets if offset in bound), READ_ON_OFFSETS):
                async for event in originals.records(submitted.name, partition, span):
                    if (origin := offsets.get(event.offset)) is not None:
                        yield from_event(missing.pop(origin), origin, event, submitted.partitions)
        for origin, candidate in missing.items():
            self._waiting.discard(origin)
            self.tally.missing += 1
            self.say(f"gone       {candidate.position}: {origin} exists no longer (retention): submit the track anew")

    # Publishing.

    async def _publish_all(self, resubmissions: AsyncIterator[Resubmission]) -> None:
        batch: list[Resubmission] = []
        size = 0
        async for each in resubmissions:
            batch.append(each)
            size += each.message.size_bytes
            if len(batch) >= self.job.batch_records or size >= BATCH_BYTES:
                await self._publish(batch)
                batch, size = [], 0
        if batch:
            await self._publish(batch)

    async def _publish(self, batch: Sequence[Resubmission]) -> None:
        entries = self.ledger.entries(each.origin for each in batch)
        if self.writer is not None:
            await self.writer.publish([*((each.message, each.partition) for each in batch), *self._marks(entries)])
        for key, value in entries.items():
            self.ledger.learn(key, value)
        self.tally.replayed += len(batch)
        self._tell(batch)

    def _marks(self, entries: Mapping[bytes, bytes]) -> Iterable[tuple[Message, int | None]]:
        return [(Message(self.job.ledger_topic, key, value, ()), 0) for key, value in entries.items()]

    def _tell(self, batch: Iterable[Resubmission]) -> None:
        verb = "replayed  " if self.writer is not None else "would send"
        for each in batch:
            self.say(f"{verb} {each.candidate.position}: {each.candidate.reason or '-'}, first read at {each.origin}")
