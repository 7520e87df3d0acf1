"""Sample traffic: a seeded stream of events with every outcome in it, each with what must become of it.

- Pure: the same seed, count and generation give the same events.
- Every case of `cases_of` comes at least once; the rest is what a catalogue mostly consists of.
- What must become of an event is written down here by hand and not computed by the worker's own rules, so that the
  two can be compared.
- No two events share an address: what the simulated API charges for an address was bought for one event.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from worker.sandbox.cases import DEAD_LETTER, MALFORMED, Case, Malformed, cases_of, smallest_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.domain.record import Headers

ARTISTS = 40  # keys of the readable events: tracks of one artist are decided in their order
_NO_KEY_SHARE = 0.1
_FILL = (("human", 10), ("ai", 3), ("borderline", 2), ("inconclusive", 2))
_TRACE = "00-{:032x}-{:016x}-01"


@dataclass(frozen=True, slots=True)
class Expected:
    """What must become of an event: a decision and its reason, or `dead_letter` and its code; analyses bought."""

    outcome: str
    reason: str | None
    credits: int


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """One record to produce. `case` names what it is an example of."""

    case: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = field(repr=False)
    expected: Expected


def sample_events(seed: int, count: int, *, generation: int = 2, prefix: str = "sample") -> list[SampleEvent]:
    """Make `count` events for an API of this generation; ValueError below `smallest_count(generation)`."""
    if count < smallest_count(generation):
        raise ValueError(f"every case once takes {smallest_count(generation)} events")
    draw = random.Random(f"{seed}/{generation}")  # noqa: S311 - reproducible samples, no secret
    cases: list[Case | Malformed] = [*cases_of(generation), *MALFORMED]
    cases += _filling(draw, generation, count - len(cases))
    draw.shuffle(cases)
    return [_event(case, f"{prefix}-{number:04d}", draw) for number, case in enumerate(_waiting_first(cases), 1)]


def backlog_events(seed: int, count: int, *, prefix: str = "backlog") -> list[SampleEvent]:
    """Make `count` tracks that may wait for a worker of generation 1; ValueError below `smallest_backlog()`.

    Every readable case is among them but those that time out: a job has the same cases, and a deadline of hours.
    """
    if count < smallest_backlog():
        raise ValueError(f"every case once takes {smallest_backlog()} tracks")
    draw = random.Random(f"{seed}/backlog")  # noqa: S311 - reproducible samples, no secret
    cases = _jobs_cases()
    cases += _filling(draw, 1, count - len(cases))
    draw.shuffle(cases)
    return [_event(case, f"{prefix}-{number:04d}", draw) for number, case in enumerate(cases, 1)]


def smallest_backlog() -> int:
    """Count how many tracks it takes to show every case of a backlog once."""
    return len(_jobs_cases())


def _jobs_cases() -> list[Case]:
    return [case for case in cases_of(1) if not case.times_out]


def _filling(draw: random.Random, generation: int, count: int) -> list[Case]:
    by_name = {case.name: case for case in cases_of(generation)}
    names = draw.choices([name for name, _ in _FILL], [weight for _, weight in _FILL], k=count)
    return [by_name[name] for name in names]


def _waiting_first(cases: list[Case | Malformed]) -> Iterator[Case | Malformed]:
    """Spread what waits for its deadline over the first part, so that the stream does not end in waiting."""
    waiting = [case for case in cases if isinstance(case, Case) and case.times_out]
    others = iter([case for case in cases if not (isinstance(case, Case) and case.times_out)])
    for case in waiting:
        yield case
        yield from (each for _, each in zip(range(3), others, strict=False))
    yield from others


def _event(case: Case | Malformed, item_id: str, draw: random.Random) -> SampleEvent:
    if isinstance(case, Malformed):
        expected = Expected(DEAD_LETTER, case.code, 0)
        return SampleEvent(case.name, item_id.encode(), case.value, _trace(draw), expected)
    expected = Expected(case.decision, case.reason, case.credits)
    value, headers = _FORMS[case.form](_body(case, item_id), item_id)
    return SampleEvent(case.name, _key(case, item_id, draw), value, headers + _trace(draw), expected)


def _body(case: Case, item_id: str) -> dict[str, Any]:
    audio = {
        "url": {"url": f"https://audio.example/{item_id}.flac?sandbox={case.scenario}&signature=s3cr3t"},
        "file_id": {"file_id": f"sandbox:{case.scenario}/{item_id}"},
    }[case.audio]
    policy = {"policy": case.policy} if case.policy else {}
    return {"item_id": item_id, **audio, **policy, "metadata": {"case": case.name}}


def _key(case: Case, item_id: str, draw: random.Random) -> bytes | None:
    """Give what waits for its deadline a key of its own: it would hold back whatever shares its key."""
    artist, keyless = draw.randrange(ARTISTS), draw.random() < _NO_KEY_SHARE
    if case.times_out:
        return item_id.encode()
    return None if keyless else f"artist-{artist:02d}".encode()


def _trace(draw: random.Random) -> Headers:
    return (("traceparent", _TRACE.format(draw.getrandbits(128), draw.getrandbits(64)).encode()),)


def _plain(body: dict[str, Any], _item_id: str) -> tuple[bytes, Headers]:
    return orjson.dumps(body), ()


def _structured(body: dict[str, Any], item_id: str) -> tuple[bytes, Headers]:
    envelope = {name: text.decode() for name, text in _attributes(item_id)} | {"data": body}
    return orjson.dumps(envelope), (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def _binary(body: dict[str, Any], item_id: str) -> tuple[bytes, Headers]:
    headers = tuple((f"ce_{name}", text) for name, text in _attributes(item_id))
    return orjson.dumps(body), (*headers, ("content-type", b"application/json"))


def _attributes(item_id: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("specversion", b"1.0"),
        ("type", b"track.submitted.v1"),
        ("source", b"/catalogue"),
        ("id", item_id.encode()),
    )


_FORMS = {"plain": _plain, "structured": _structured, "binary": _binary}
