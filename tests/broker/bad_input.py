"""Ten thousand bad and odd events, from a seed: made on purpose (tests/broker/bad_values.py), or by accident.

What was made on purpose says in a header what it must become. What came about by mutation says nothing, because only
a decoder could know: the verifier then takes a decision as well as a dead letter, but exactly one.

Run a worker on them with the settings `UNSTOPPED`: this much of bad input is what the stop rule is made for.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

from tests.broker.bad_values import GIANT_EVENT, GIANT_NO_EVENT, MARK, NO_EVENT, ODD_EVENT, Base, envelope
from tests.broker.traffic import DEAD_LETTER, DECISION, EXPECTATION, TRACE, Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.broker.bad_values import Kind
    from worker.domain.record import Headers

KIND = "test-kind"  # a header that says how the value was made
UNSTOPPED = {"DEAD_LETTER_STOP_SHARE": "1", "DEAD_LETTER_STOP_CONSECUTIVE": "0"}
GIANT_EVERY = 200
MUTATED_EVERY = 4
STRUCTURED = b"application/cloudevents+json; charset=UTF-8"

_ODD_HEADERS: tuple[Headers, ...] = (
    (),
    (("traceparent", TRACE.encode()), ("tracestate", b"")),
    (("twice", b"1"), ("twice", None), ("twice", b"")),
    (("", b""), ("\u00e9 \U0001f3b5", b"\x00\xff"), ("x" * 300, MARK.encode() * 20)),
    (("content-type", b"application/json"), ("ce_type", b"\xff"), ("ce_id", None)),
    (("ce_specversion", b"1.0"), ("ce_source", b""), ("content-type", None)),
    tuple((f"header-{number}", MARK.encode()) for number in range(60)),
)


def bad_input(count: int = 10_000, *, run: str, partitions: int, seed: int, first: int = 0) -> list[Event]:
    """So many events, each kind as often as any other of its group; the same for the same arguments."""
    return [_event(number, run=run, partitions=partitions, seed=seed) for number in range(first, first + count)]


def kinds() -> frozenset[str]:
    """Every kind of value that is made on purpose."""
    return frozenset(kind for kind, _, _ in (*_SMALL, *_GIANT))


def marked(events: Sequence[Event]) -> int:
    """How many of them have the mark that no log may show."""
    return sum(MARK.encode() in b"".join((event.key or b"", event.value or b"")) for event in events)


def _on_purpose(made: Mapping[str, Kind], expects: bytes) -> Iterator[tuple[str, Kind, bytes]]:
    yield from ((name, make, expects) for name, make in made.items())


_SMALL = (*_on_purpose(NO_EVENT, DEAD_LETTER), *_on_purpose(ODD_EVENT, DECISION))
_GIANT = (*_on_purpose(GIANT_NO_EVENT, DEAD_LETTER), *_on_purpose(GIANT_EVENT, DECISION))


def _event(number: int, *, run: str, partitions: int, seed: int) -> Event:
    draw = random.Random(f"{seed}-bad-{number}")  # noqa: S311 - a reproducible run, no secret
    base = Base(run, number, draw)
    if number % MUTATED_EVERY == MUTATED_EVERY - 1:
        headers: Headers = ((KIND, b"mutated"), *draw.choice(_ODD_HEADERS))
        value: bytes | None = _mutated(base)
    else:
        name, make, expects = _chosen(number)
        headers = ((KIND, name.encode()), (EXPECTATION, expects), *_odd_headers(name, draw))
        value = make(base)
    key = _key(base) if value is not None else b"deleted"  # neither key nor value is no record
    slot = number if key is None else zlib.crc32(key)
    return Event(slot % partitions, key, value, headers)


def _chosen(number: int) -> tuple[str, Kind, bytes]:
    """Each kind in its turn; the mutated ones take no turn."""
    if number % GIANT_EVERY == 0:
        return _GIANT[number // GIANT_EVERY % len(_GIANT)]
    return _SMALL[(number - number // MUTATED_EVERY) % len(_SMALL)]


def _odd_headers(name: str, draw: random.Random) -> Headers:
    """Headers that do not change what the value is; for an envelope some that announce it, or none."""
    if "envelope" not in name:
        return draw.choice(_ODD_HEADERS)
    return draw.choice([(), (("content-type", STRUCTURED),), (("Content-Type", STRUCTURED.upper()),)])


def _key(base: Base) -> bytes | None:
    own = f"{MARK}{base.number}".encode()
    keys = (None, own, own, own, base.draw.randbytes(9), b"\x00" + own + b"\xff", b"", own * 200, own[:-2])
    return base.draw.choice(keys)


def _mutated(base: Base) -> bytes:
    """An event after an accident or three. It has neither mark nor secret: nobody knows which field they end up in."""
    text = bytearray(_clean(base, base.number))
    for _ in range(base.draw.randrange(1, 4)):
        at, length = base.draw.randrange(len(text) + 1), base.draw.randrange(1, 12)
        accident = base.draw.randrange(6)
        if accident == 0 and at < len(text):
            text[at] ^= 1 << base.draw.randrange(8)
        elif accident == 1:
            del text[at : at + length]
        elif accident == 2:
            text[at:at] = text[at : at + length]
        elif accident == 3:
            text[at:at] = base.draw.randbytes(length)
        elif accident == 4:
            text[at:] = _clean(base, base.number + 1_000_000)[base.draw.randrange(200) :]
        else:
            text[at : at + length] = base.draw.choice((b'"', b"\\", b"{", b"}", b":", b",", b"\x00", b"null", b"1e9"))
    return bytes(text)


def _clean(base: Base, number: int) -> bytes:
    plain = {
        "url": f"https://audio.example/{base.run}/{number}.flac",
        "extra": ...,
        "submitted_at": "2026-09-14T09:30:00.250+02:00",
        "metadata": {"label": "Example", "tracks": [1, 2.5, None, True]},
        "policy": base.draw.choice([None, "strict"]),
    }
    return envelope(base, id="1", data=base.event(**plain)) if number % 3 == 0 else base.text(**plain)
