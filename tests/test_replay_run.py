"""Runs of `dead-letters replay` and `decide-again` over topics in memory: at most once, whatever fails in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.deadletter import dead_letter
from worker.domain.record import Message, Record
from worker.domain.replay import REPLAYED_FROM, Position, Selection, of_dead_letter, of_decision
from worker.domain.submission import ReadError, Unreadable
from worker.flow.publication import PublishFailedError
from worker.flow.replay_ledger import ReplayLedger
from worker.replay_run import BATCH_BYTES, Job, Replay, Tally, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

INPUT, LETTERS, REVIEW = Topic("input", 2), Topic("letters", 2), Topic("review", 2)
AT = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass
class Broker:
    """Topics in memory: reader and writer at once. Every second offset is taken, as by a transaction's marker."""

    logs: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    deleted_below: dict[tuple[str, int], int] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)
    largest_batch: int = 0

    def append(self, message: Message, partition: int) -> Record:
        log = self.logs.setdefault((message.topic, partition), [])
        record = Record(
            message.topic, partition, 2 * len(log), 1_000 + len(log), message.key, message.value, message.headers
        )
        log.append(record)
        return record

    def all(self, topic: str) -> list[Record]:
        return [record for (name, _), log in self.logs.items() for record in log if name == topic]

    async def bounds(self, topic: str, partitions: int) -> Mapping[int, range]:
        ends = {number: 2 * len(self.logs.get((topic, number), [])) for number in range(partitions)}
        return {number: range(self.deleted_below.get((topic, number), 0), end) for number, end in ends.items()}

    async def first_since(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        log = self.logs.get((topic, partition), [])
        return next((record.offset for record in log if record.timestamp_ms >= timestamp_ms), None)

    async def records(self, topic: str, partition: int, span: range) -> AsyncIterator[Record]:
        kept = self.deleted_below.get((topic, partition), 0)
        for record in tuple(self.logs.get((topic, partition), [])):
            if record.offset in span and record.offset >= kept:
                yield record

    async def publish(self, messages: Sequence[tuple[Message, int | None]]) -> None:
        """All or none; "lost": none, "unknown": all, and both look the same to the caller."""
        outcome = self.outcomes.pop(0) if self.outcomes else "committed"
        if outcome != "lost":
            self.largest_batch = max(self.largest_batch, sum(1 for each, _ in messages if each.topic == INPUT.name))
            for message, partition in messages:
                self.append(message, partition or 0)
        if outcome != "committed":
            raise PublishFailedError(outcome)

    def ledger(self, source: Topic) -> ReplayLedger:
        found = ReplayLedger()
        for record in self.all(f"{source.name}-replayed"):
            found.learn(record.key, record.value)
        return found


def replay_of(broker: Broker, source: Topic, *, dry: bool = False, **job: Any) -> tuple[Replay, list[str]]:
    said: list[str] = []
    wanted: dict[str, Any] = {"selection": Selection(), **job}
    task = Job(source=source, submitted=INPUT, ledger_topic=f"{source.name}-replayed", **wanted)
    return Replay(task, broker, broker.ledger(source), None if dry else broker, said.append), said


async def replay(broker: Broker, *, dry: bool = False, **job: Any) -> tuple[Tally, list[str]]:
    run, said = replay_of(broker, LETTERS, dry=dry, **job)
    return await run.dead_letters(of_dead_letter), said


async def again(broker: Broker, **job: Any) -> tuple[Tally, list[str]]:
    run, said = replay_of(broker, REVIEW, **job)
    return await run.decisions(of_decision, broker), said


def with_letters(count: int, *, twice: bool = False, size: int = 1) -> Broker:
    """A broker with so many dead letters; `twice`: the last one was written two times."""
    broker = Broker()
    for number in [*range(count), *([count - 1] if twice else [])]:
        origin = Record(INPUT.name, number % 2, 5 * number, 0, b"key-%d" % number, b"x" * size, ())
        letter = dead_letter(origin, Unreadable(ReadError.NOT_JSON), topic=LETTERS.name, at=AT)
        broker.append(letter, number % LETTERS.partitions)
    return broker


def with_decisions(count: int) -> Broker:
    broker = Broker()
    for number in range(count):
        event = broker.append(Message(INPUT.name, b"k", b"event-%d" % number, ()), number % 2)
        source = {"topic": event.topic, "partition": event.partition, "offset": event.offset}
        body = {"item_id": f"item-{number}", "reason": "analysis_failed", "source": source}
        broker.append(Message(REVIEW.name, b"k", orjson.dumps(body), ()), number % 2)
    return broker


def put_back(broker: Broker) -> list[Record]:
    return [record for record in broker.all(INPUT.name) if REPLAYED_FROM in dict(record.headers)]


RUNS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["committed", "lost", "unknown"]), max_size=4),
        st.none() | st.integers(1, 6),
        st.sets(st.integers(0, 11)),
        st.booleans(),
    ),
    max_size=5,
)


@given(count=st.integers(1, 12), runs=RUNS)
@settings(max_examples=150)
async def test_whatever_fails_each_dead_letter_goes_back_once(
    count: int, runs: list[tuple[list[str], int | None, set[int], bool]]
) -> None:
    """Runs that break off with an unknown outcome are followed by others; a last one without faults ends the work."""
    broker = with_letters(count, twice=True)
    for outcomes, limit, chosen, dry in runs:
        broker.outcomes = list(outcomes)
        positions = frozenset(Position(number % 2, 2 * (number // 2)) for number in chosen)
        before = len(put_back(broker))
        try:
            tally, _ = await replay(
                broker, dry=dry, limit=limit, selection=Selection(positions=positions), batch_records=2
            )
        except PublishFailedError:
            continue
        assert len(put_back(broker)) - before == (0 if dry else tally.replayed)
        assert limit is None or tally.replayed <= limit
    broker.outcomes = []
    await replay(broker, batch_records=2)
    assert sorted(record.key or b"" for record in put_back(broker)) == sorted(b"key-%d" % n for n in range(count))
    assert broker.largest_batch <= 2
    tally, _ = await replay(broker)
    assert (tally.replayed, tally.already) == (0, count + 1)


async def test_force_replays_again_and_is_remembered() -> None:
    broker = with_letters(3)
    await replay(broker)
    tally, _ = await replay(broker, force=True)
    assert (tally.replayed, len(put_back(broker))) == (3, 6)
    assert (await replay(broker))[0] == Tally(already=3)


async def test_a_dry_run_says_the_same_and_publishes_nothing() -> None:
    broker = with_letters(3)
    tally, said = await replay(broker, dry=True)
    assert tally == Tally(replayed=3)
    assert [line.split()[:2] for line in said] == [["would", "send"]] * 3
    assert put_back(broker) == []


async def test_large_ones_fill_a_batch_by_their_bytes() -> None:
    broker = with_letters(6, size=BATCH_BYTES // 2)
    await replay(broker)
    assert (broker.largest_batch, len(put_back(broker))) == (2, 6)


async def test_what_was_asked_for_and_is_not_there_is_named() -> None:
    broker = with_letters(4)
    wanted = frozenset({Position(0, 0), Position(0, 1), Position(1, 99), Position(7, 0)})
    tally, said = await replay(broker, selection=Selection(positions=wanted))
    assert tally == Tally(replayed=1, missing=3)
    assert [line.split()[2] for line in said if line.startswith("not found")] == ["0@1:", "1@99:", "7@0:"]


async def test_a_foreign_one_is_refused_and_the_others_go_on() -> None:
    broker = with_letters(2)
    broker.append(Message(LETTERS.name, b"k", b"x", ()), 0)
    tally, said = await replay(broker)
    assert tally == Tally(replayed=2, refused=1)
    assert any(line.startswith("refused    0@2") for line in said)


async def test_since_starts_reading_there() -> None:
    broker = with_letters(8)
    tally, _ = await replay(broker, selection=Selection(since_ms=1_002))
    assert tally == Tally(replayed=4)
    assert await replay(broker, selection=Selection(since_ms=9_999)) == (Tally(), [])


@pytest.mark.parametrize("batch_records", [1, 3, 100])
async def test_decisions_are_made_again_from_their_events_in_order(batch_records: int) -> None:
    broker = with_decisions(9)
    tally, _ = await again(broker, batch_records=batch_records)
    assert tally == Tally(replayed=9)
    for partition in range(2):
        values = [record.value for record in put_back(broker) if record.partition == partition]
        assert values == [b"event-%d" % number for number in range(partition, 9, 2)]
    assert (await again(broker))[0] == Tally(already=9)


async def test_an_event_that_is_gone_is_named_and_not_remembered_as_replayed() -> None:
    broker = with_decisions(4)
    broker.deleted_below[INPUT.name, 0] = 2
    tally, said = await again(broker)
    assert tally == Tally(replayed=3, missing=1)
    assert [line for line in said if line.startswith("gone")] == [
        "gone       0@0: input/0@0 exists no longer (retention): submit the track anew"
    ]
    broker.deleted_below.clear()
    assert (await again(broker))[0] == Tally(replayed=1, already=3)


async def test_two_decisions_on_an_event_that_is_gone_are_both_named_so() -> None:
    broker = with_decisions(1)
    broker.append(Message(REVIEW.name, b"k", broker.all(REVIEW.name)[0].value, ()), 0)
    broker.deleted_below[INPUT.name, 0] = 2
    assert (await again(broker, batch_records=1))[0] == Tally(missing=2)


async def test_what_is_no_decision_is_passed_over() -> None:
    broker = with_decisions(1)
    broker.append(Message(REVIEW.name, b"k", b"note", ()), 0)
    assert (await again(broker))[0] == Tally(replayed=1)
