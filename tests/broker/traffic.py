"""The events that a run submits: each with an address and a secret of its own, so that whatever leaks can be named."""

from __future__ import annotations

import asyncio
import random
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaProducer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.domain.record import Headers

# What a record must become: a header on it, so that the verifier needs no memory of who sent what.
EXPECTATION = "test-expects"
DECISION, DEAD_LETTER = b"decision", b"dead-letter"
SECRET = "secret-in-query-"  # noqa: S105 - the mark by which a leaked one is recognised

SCENARIOS = ("human",) * 6 + ("ai", "ai", "borderline", "inconclusive", "failed", "null-tiers")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Event:
    """One record to submit. Equal keys share a partition."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ((EXPECTATION, DECISION),)


def tracks(
    count: int,
    *,
    run: str,
    partitions: int,
    seed: int,
    scenarios: Sequence[str] = SCENARIOS,
    per_key: int = 4,
    first: int = 0,
) -> list[Event]:
    """Readable events. A key has `per_key` of them on average, every tenth event has none; 0: every event its own."""
    draw = random.Random(f"{seed}-{first}")  # noqa: S311 - a reproducible run, no secret
    return [
        track(
            number,
            run=run,
            scenario=draw.choice(scenarios),
            key=_key(draw, number, count, per_key),
            partitions=partitions,
        )
        for number in range(first, first + count)
    ]


def track(number: int, *, run: str, scenario: str, key: str | None, partitions: int) -> Event:
    """One readable event."""
    body = {
        "item_id": f"{run}-{number}",
        "url": f"https://audio.example/{run}/{number}.flac?sandbox={scenario}&token={SECRET}{run}-{number}",
        "metadata": {"number": number},
    }
    slot = number if key is None else zlib.crc32(key.encode())
    headers = ((EXPECTATION, DECISION), ("traceparent", TRACE.encode()))
    return Event(slot % partitions, None if key is None else key.encode(), orjson.dumps(body), headers)


def poison(partitions: int) -> list[Event]:
    """Records that are no event, in as many ways."""
    values: tuple[bytes | None, ...] = (
        None,
        b"",
        b"\x00",
        b"not json",
        b'{"item_id": "x", "url": "https://audio.example/x.flac"',
        b'{"item_id": "\xff\xfe", "url": "https://audio.example/x.flac"}',
        b'{"item_id": "\\ud800", "url": "https://audio.example/x.flac"}',
        b"[]",
        b"17",
        b"NaN",
        b"{}",
        b'{"item_id": 7, "url": "https://audio.example/x.flac"}',
        b'{"item_id": "", "url": "https://audio.example/x.flac"}',
        b'{"item_id": "x", "url": "ftp://audio.example/x.flac"}',
        b'{"item_id": "x", "url": "https://audio.example/x.flac", "policy": "no-such-policy"}',
        b"[" * 100_000,
        b'{"item_id": "' + b"x" * 900_000 + b'"}',
    )
    headers = ((EXPECTATION, DEAD_LETTER), ("tenant", b"caf\xc3\xa9"), ("binary", b"\x00\xff"), ("nothing", None))
    return [
        Event(number % partitions, f"poison-{number}".encode(), value, headers) for number, value in enumerate(values)
    ]


async def submit(bootstrap_servers: str, topic: str, events: Iterable[Event]) -> None:
    """Produce them all; returns when the broker has them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, event.value, event.key, event.partition, headers=list(event.headers))
            for event in events
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def _key(draw: random.Random, number: int, count: int, per_key: int) -> str | None:
    if not per_key:
        return f"track-{number}"
    return None if number % 10 == 0 else f"label-{draw.randrange(max(1, count // per_key))}"
