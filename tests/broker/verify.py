"""The invariants, judged from what the broker and the simulated API hold after a run; the worker is not asked.

- Every submitted record has exactly one outcome at read_committed: a decision, or a dead letter where it is no event.
- An outcome carries the key of its event (else the item's id), stands on the topic of its decision, and is valid
  against the schemas.
- Order by key. Within one output partition the offsets are the order, and there the sources of a key ascend. Across
  partitions and topics Kafka has no order that a consumer could see; what remains is that a track is decided only
  after its predecessor with the same key, by the worker's own `decided_at`. That needs all workers on one machine
  whose clock is not set back (`one_clock`).
- No secret appears in a log or a decision.

How often an analysis was bought is counted, not judged: the bound depends on what the run did.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tests.broker.contracts import dead_letter_mistakes, decision_mistakes, source_of_dead_letter
from tests.broker.drive import API_KEY, read_log
from tests.broker.traffic import DEAD_LETTER, DECISION, EXPECTATION, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.broker.topics import Topics
    from worker.domain.record import Headers, Record


class Place(NamedTuple):
    """A record of the input topic."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken invariant."""

    kind: str
    place: Place | None
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record of an output topic, with the input record that it says it comes from."""

    record: Record
    place: Place
    decision: Mapping[str, Any] | None  # None: a dead letter


@dataclass(frozen=True)
class Evidence:
    """What a run left behind. `repeated` is the simulator's: addresses bought more than once, with how often."""

    topics: Topics
    inputs: Sequence[Record]
    outputs: Sequence[Record]
    repeated: Mapping[str, int] = field(default_factory=dict)
    logs: Sequence[Path] = ()
    one_clock: bool = True
    mistakes: Callable[[Mapping[str, Any], Headers], Iterable[str]] = decision_mistakes

    @cached_property
    def events(self) -> dict[Place, Record]:
        return {Place(record.partition, record.offset): record for record in self.inputs}

    @cached_property
    def outcomes(self) -> list[Outcome]:
        return [_outcome(record, self.topics) for record in self.outputs]

    @cached_property
    def by_place(self) -> dict[Place, list[Outcome]]:
        found = defaultdict[Place, list[Outcome]](list)
        for outcome in self.outcomes:
            found[outcome.place].append(outcome)
        return dict(found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a run."""

    events: int
    decisions: int
    dead_letters: int
    bought_again: int
    violations: tuple[Violation, ...]
    report: str = field(repr=False)

    def count(self, kind: str) -> int:
        """How many violations of a kind there are."""
        return sum(violation.kind == kind for violation in self.violations)

    def require(self, *, except_for: Iterable[str] = ()) -> None:
        """AssertionError with the history of the events concerned, if an invariant is broken."""
        broken = [violation for violation in self.violations if violation.kind not in set(except_for)]
        assert not broken, self.report


def judge(evidence: Evidence, *, seed: object) -> Verdict:
    """Find everything that is wrong."""
    checks = (_counted, _kinds, _carried, _topics, _valid, _published_in_order, _decided_in_order, _leaks)
    violations = tuple(violation for check in checks for violation in check(evidence))
    decisions = sum(outcome.decision is not None for outcome in evidence.outcomes)
    return Verdict(
        events=len(evidence.events),
        decisions=decisions,
        dead_letters=len(evidence.outcomes) - decisions,
        bought_again=sum(count - 1 for count in evidence.repeated.values()),
        violations=violations,
        report=report(evidence, violations, seed),
    )


def _outcome(record: Record, topics: Topics) -> Outcome:
    if record.topic == topics.dead_letter:
        return Outcome(record, Place(*source_of_dead_letter(record)), None)
    decision = orjson.loads(record.value or b"")
    source = decision["source"]
    return Outcome(record, Place(source["partition"], source["offset"]), decision)


def _counted(evidence: Evidence) -> Iterator[Violation]:
    """Exactly one outcome for each event, one id for each decision."""
    for place in evidence.events.keys() - evidence.by_place.keys():
        yield Violation("lost", place, "no outcome")
    for place, outcomes in evidence.by_place.items():
        if place not in evidence.events:
            yield Violation("invented", place, "an outcome of no event")
        if len(outcomes) > 1:
            yield Violation("repeated", place, f"{len(outcomes)} outcomes")
    owners = defaultdict[str, set[Place]](set)
    for outcome in evidence.outcomes:
        if outcome.decision is not None:
            owners[outcome.decision["decision_id"]].add(outcome.place)
    for identity, places in owners.items():
        if len(places) > 1:
            yield Violation("shared_id", min(places), f"decision_id {identity} of {sorted(places)}")


def _kinds(evidence: Evidence) -> Iterator[Violation]:
    """Decisions for events, dead letters for the rest, as each record expects; one that does not say may be either."""
    for outcome, event in _pairs(evidence):
        became = DEAD_LETTER if outcome.decision is None else DECISION
        expected = dict(event.headers).get(EXPECTATION, became)
        if became != expected:
            yield Violation("wrong_kind", outcome.place, f"{became!r} instead of {expected!r}")


def _carried(evidence: Evidence) -> Iterator[Violation]:
    """Keys and trace headers of decisions; everything of dead letters."""
    for outcome, event in _pairs(evidence):
        expected = event.key
        if outcome.decision is None:
            for mistake in dead_letter_mistakes(event, outcome.record):
                yield Violation("altered", outcome.place, mistake)
        elif expected is None:
            expected = str(outcome.decision["item_id"]).encode()
        if outcome.record.key != expected:
            yield Violation("wrong_key", outcome.place, f"{outcome.record.key!r} instead of {expected!r}")
        trace = dict(event.headers).get("traceparent")
        if outcome.decision is not None and trace != dict(outcome.record.headers).get("traceparent"):
            yield Violation("untraced", outcome.place, "another traceparent than the event's")


def _topics(evidence: Evidence) -> Iterator[Violation]:
    names = evidence.topics
    homes = dict.fromkeys(("approve", "certified"), names.approve) | dict.fromkeys(("reject", "rejected"), names.reject)
    homes |= dict.fromkeys(("manual_review", "review"), names.review)
    for outcome in evidence.outcomes:
        if outcome.decision is not None and homes.get(outcome.decision["decision"]) != outcome.record.topic:
            yield Violation("wrong_topic", outcome.place, f"{outcome.decision['decision']} on {outcome.record.topic}")


def _valid(evidence: Evidence) -> Iterator[Violation]:
    for outcome in evidence.outcomes:
        if outcome.decision is not None:
            for mistake in evidence.mistakes(outcome.decision, outcome.record.headers):
                yield Violation("malformed", outcome.place, mistake)


def _published_in_order(evidence: Evidence) -> Iterator[Violation]:
    """Within each output partition the sources of a key ascend; a repetition is not blamed twice."""
    latest: dict[tuple[str, int, int, bytes], Place] = {}
    seen = set[Place]()
    for outcome, key in sorted(_keyed(evidence), key=lambda pair: (pair[0].record.topic, pair[0].record.offset)):
        if outcome.place in seen:
            continue
        seen.add(outcome.place)
        where = (outcome.record.topic, outcome.record.partition, outcome.place.partition, key)
        if latest.get(where, outcome.place) > outcome.place:
            yield Violation("out_of_order", outcome.place, f"after {latest[where]} on {outcome.record.topic}")
        latest[where] = outcome.place


def _decided_in_order(evidence: Evidence) -> Iterator[Violation]:
    """The times of decision of a key ascend with its sources, over all topics."""
    times: dict[tuple[int, bytes], datetime] = {}
    for outcome, key in sorted(_keyed(evidence), key=lambda pair: pair[0].place) if evidence.one_clock else ():
        owner, text = (outcome.place.partition, key), (outcome.decision or {})["decided_at"]
        decided_at = datetime.fromisoformat(text)
        if times.get(owner, decided_at) > decided_at:
            yield Violation("decided_out_of_order", outcome.place, f"decided at {text}, its predecessor later")
        times[owner] = decided_at


def _keyed(evidence: Evidence) -> Iterator[tuple[Outcome, bytes]]:
    for outcome, event in _pairs(evidence):
        if event.key is not None and outcome.decision is not None:
            yield outcome, event.key


def _leaks(evidence: Evidence) -> Iterator[Violation]:
    secrets = (API_KEY.encode(), SECRET.encode())
    for outcome in evidence.outcomes:
        public = b"".join(value or b"" for name, value in outcome.record.headers if name != EXPECTATION)
        public += outcome.record.value or b"" if outcome.decision is not None else b""
        if any(secret in public for secret in secrets):
            yield Violation("leaked", outcome.place, f"a secret on {outcome.record.topic}")
    for path in evidence.logs:
        for line in path.read_bytes().splitlines():
            if any(secret in line for secret in secrets):
                yield Violation("leaked", None, f"a secret in {path}: {line[:300]!r}")


def _pairs(evidence: Evidence) -> Iterator[tuple[Outcome, Record]]:
    for outcome in evidence.outcomes:
        if outcome.place in evidence.events:
            yield outcome, evidence.events[outcome.place]


HISTORIES = 3  # a fault that hits hundreds of events is understood from a few of them


def report(evidence: Evidence, violations: Sequence[Violation], seed: object) -> str:
    """The seed, the violations, and the history of the first events concerned."""
    counts = dict(Counter(violation.kind for violation in violations))
    lines = [f"seed {seed}: {len(evidence.events)} events, {len(evidence.outcomes)} outcomes, violations {counts}"]
    lines += [f"  {violation.kind} {violation.place}: {violation.detail}" for violation in violations[:20]]
    places = list(dict.fromkeys(violation.place for violation in violations if violation.place is not None))
    for place in places[:HISTORIES]:
        lines += [f"history of {place}:", *(f"  {line}" for line in history(evidence, place))]
    return "\n".join(lines)


def history(evidence: Evidence, place: Place) -> Iterator[str]:
    """Everything known of one event: input, purchases, outcomes and log lines."""
    event = evidence.events.get(place)
    if event is not None:
        yield f"input at {event.timestamp_ms} ms, key {event.key!r}, value {(event.value or b'')[:120]!r}"
        yield from (f"bought {count} times" for address, count in evidence.repeated.items() if _is_of(event, address))
    for outcome in evidence.by_place.get(place, ()):
        record, decision = outcome.record, outcome.decision or {}
        facts = {name: decision.get(name) for name in ("decision", "reason", "error", "attempts", "decided_at")}
        yield f"{record.topic}/{record.partition}@{record.offset} at {record.timestamp_ms} ms: {facts}"
    for path in evidence.logs:
        for line in read_log(path):
            if line.get("partition") == place.partition and line.get("offset") == place.offset:
                yield f"{path.parent.name}: {json.dumps(line)}"


def _is_of(event: Record, address: str) -> bool:
    return address.encode() in (event.value or b"")
