"""What can be put back on the input topic, which of it is chosen, and the message that does it.

- A dead letter carries its original: bytes and key as they are, headers without the six of its own. A decision only
  names its event, which is fetched from the input topic and goes back as it was.
- One header is added, `replayed_from`: `topic/partition/offset` of the dead letter or decision. An older one is
  replaced. Nothing else changes; only a record that had neither key nor value comes back with an empty value, since
  Kafka clients refuse to send neither.
- It goes back to the partition it came from: whichever way the producer chose it, the key's other events are there.
  Where the input topic has fewer partitions now, the key chooses.
- What is remembered of a replay is the *origin*, the place where the event was first read, not the place of the dead
  letter: a worker at least once may write two dead letters for one event.
- Times are the brokers' timestamps of the dead letter or decision, Unix milliseconds; `until` is exclusive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from worker.domain import cloudevents, deadletter
from worker.domain.record import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.domain.record import Record

REPLAYED_FROM = "replayed_from"

_STRIPPED = deadletter.OWN_HEADERS | {REPLAYED_FROM}
_POSITION = re.compile(r"([0-9]{1,10})@([0-9]{1,19})", re.ASCII)
_NUMBER = re.compile(rb"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic that is known: `partition@offset`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event was first read."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a dead letter or a decision says of itself. `origin` is None where its headers do not tell."""

    topic: str
    position: Position
    timestamp_ms: int
    reason: str
    path: str
    items: frozenset[str] = field(repr=False)
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What an operator asks for; everything empty chooses all. All that is given must hold."""

    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    item: str | None = None
    positions: frozenset[Position] = frozenset()

    def takes(self, candidate: Candidate) -> bool:
        """Whether this one is meant."""
        return (
            (not self.reasons or candidate.reason in self.reasons)
            and (self.since_ms is None or candidate.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or candidate.timestamp_ms < self.until_ms)
            and (self.item is None or self.item in candidate.items)
            and (not self.positions or candidate.position in self.positions)
        )


@dataclass(frozen=True, slots=True)
class Resubmission:
    """One message for the input topic. `partition` None: the key chooses."""

    candidate: Candidate
    origin: Origin
    message: Message
    partition: int | None


def position(text: str) -> Position | None:
    """Read `partition@offset`; None where it is none."""
    found = _POSITION.fullmatch(text)
    return Position(int(found[1]), int(found[2])) if found else None


def of_dead_letter(letter: Record) -> Candidate:
    """Read a dead letter. Items are its key and the `item_id` of its payload, where there is one to be read."""
    told = dict(letter.headers)
    items = {text for text in (_text(letter.key), _item(letter.value)) if text is not None}
    return Candidate(
        topic=letter.topic,
        position=Position(letter.partition, letter.offset),
        timestamp_ms=letter.timestamp_ms,
        reason=_text(told.get(deadletter.ERROR)) or "",
        path=_text(told.get(deadletter.PATH)) or "",
        items=frozenset(items),
        origin=_origin(
            _text(told.get(deadletter.TOPIC)),
            _number(told.get(deadletter.PARTITION)),
            _number(told.get(deadletter.OFFSET)),
        ),
    )


def of_decision(record: Record) -> Candidate | None:
    """Read a decision; None where the record is none."""
    value = _json(record.value)
    if not isinstance(value, dict) or not isinstance(value.get("item_id"), str):
        return None
    source = value.get("source")
    given = source if isinstance(source, dict) else {}
    reason = value.get("reason")
    return Candidate(
        topic=record.topic,
        position=Position(record.partition, record.offset),
        timestamp_ms=record.timestamp_ms,
        reason=reason if isinstance(reason, str) else "",
        path="",
        items=frozenset({value["item_id"]}),
        origin=_origin(given.get("topic"), given.get("partition"), given.get("offset")),
    )


def refusal(candidate: Candidate, submitted: str) -> str | None:
    """Say why this one cannot go back to the input topic, and how to mend that; None where it can."""
    if candidate.origin is None:
        return "it does not say where its event was read: the worker did not write it"
    if candidate.origin.topic != submitted:
        return (
            f"it came from {candidate.origin.topic}, TOPIC_SUBMITTED is {submitted}: "
            "use the settings of the worker that reads that topic"
        )
    return None


def from_dead_letter(candidate: Candidate, origin: Origin, letter: Record, partitions: int) -> Resubmission:
    """Give a dead letter its original form. `partitions`: how many the input topic has."""
    return _resubmission(candidate, origin, letter, _STRIPPED, partitions)


def from_event(candidate: Candidate, origin: Origin, event: Record, partitions: int) -> Resubmission:
    """Submit a decided event again, as it was. `partitions`: how many the input topic has."""
    return _resubmission(candidate, origin, event, frozenset({REPLAYED_FROM}), partitions)


def _resubmission(
    candidate: Candidate, origin: Origin, record: Record, stripped: frozenset[str], partitions: int
) -> Resubmission:
    at = candidate.position
    provenance = (REPLAYED_FROM, f"{candidate.topic}/{at.partition}/{at.offset}".encode())
    headers = (*(header for header in record.headers if header[0] not in stripped), provenance)
    return Resubmission(
        candidate,
        origin,
        Message(origin.topic, record.key, record.value, headers),
        origin.partition if origin.partition < partitions else None,
    )


def spans(offsets: Iterable[int], reach: int) -> list[range]:
    """Cover the offsets by ranges, in order; two neighbours share one where they are at most `reach` apart."""
    found: list[range] = []
    for offset in sorted(set(offsets)):
        if found and offset - (found[-1].stop - 1) <= reach:
            found[-1] = range(found[-1].start, offset + 1)
        else:
            found.append(range(offset, offset + 1))
    return found


def _origin(topic: Any, partition: Any, offset: Any) -> Origin | None:
    if not isinstance(topic, str) or not topic:
        return None
    if not all(type(number) is int and number >= 0 for number in (partition, offset)):
        return None
    return Origin(topic, partition, offset)


def _number(content: bytes | None) -> int | None:
    return int(content) if content is not None and _NUMBER.fullmatch(content) else None


def _text(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return None


def _item(payload: bytes | None) -> str | None:
    """The `item_id` of a plain event, or of the data in an envelope."""
    value = _json(payload)
    envelope = value if isinstance(value, dict) else {}
    encoded = envelope.get(cloudevents.ENCODED)
    inner = _json(cloudevents.decoded(encoded)) if isinstance(encoded, str) else envelope.get("data")
    for holder in (value, inner):
        if isinstance(holder, dict) and isinstance(holder.get("item_id"), str):
            return str(holder["item_id"])
    return None


def _json(payload: bytes | None) -> Any:
    try:
        return None if payload is None else orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
