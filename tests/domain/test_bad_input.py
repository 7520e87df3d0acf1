"""Whatever is sent becomes one message that the contracts describe: ten thousand events made on purpose, and more."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.bad_input import KIND, bad_input, kinds, marked
from tests.broker.bad_values import GIANT_BYTES, MARK
from tests.broker.contracts import dead_letter_mistakes, decision_mistakes
from tests.broker.traffic import DEAD_LETTER, DECISION, EXPECTATION, SECRET, Event
from tests.contracts import check
from worker.domain.analysis import Analysis, AnalysisStatus, TierValue
from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN
from worker.domain.record import Headers, Message, Record
from worker.domain.submission import TrackSubmitted, Unreadable

TOPICS = Topics("in", "approve", "review", "reject", "dead")
DECIDER = Decider(BUILT_IN, "two-tier", TOPICS)
HUMAN = Analysis(AnalysisStatus.SUCCESS, TierValue.HUMAN, TierValue.HUMAN, TierValue.HUMAN)
AT = datetime(2026, 9, 14, 9, 31, tzinfo=UTC)
SEED, COUNT = 20261005, 10_000


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return bad_input(COUNT, run="bad", partitions=8, seed=SEED)


def record(event: Event, offset: int = 7) -> Record:
    return Record("in", event.partition, offset, 1_789_378_200_000, event.key, event.value, event.headers)


def outcome(given_: Record) -> tuple[Message, TrackSubmitted | Unreadable]:
    found = DECIDER.read(given_)
    if isinstance(found, Unreadable):
        return DECIDER.dead_letter(given_, found, at=AT), found
    return DECIDER.decide(given_, found, HUMAN, attempts=1, at=AT).message, found


def require(given_: Record) -> bytes:
    """Hold the outcome against the contracts; returns which of the two it is."""
    message, found = outcome(given_)
    check(message, TOPICS)
    sent = Record(message.topic, 0, 0, 0, message.key, message.value, message.headers)
    if isinstance(found, Unreadable):
        assert [*dead_letter_mistakes(given_, sent)] == []
        assert message.key == given_.key
        return DEAD_LETTER
    decision = orjson.loads(message.value or b"")
    assert [*decision_mistakes(decision, message.headers)] == []
    assert message.key == (given_.key if given_.key is not None else found.item_id.encode())
    assert SECRET.encode() not in (message.value or b"")
    return DECISION


def test_each_bad_and_odd_event_becomes_what_it_must(events: list[Event]) -> None:
    wrong = Counter[tuple[bytes, bytes]]()
    for offset, event in enumerate(events):
        headers = dict(event.headers)
        became = require(record(event, offset))
        if became != headers.get(EXPECTATION, became):
            wrong[headers[KIND] or b"", became] += 1
    assert wrong == Counter()


def test_no_reason_and_no_repr_quotes_a_payload(events: list[Event]) -> None:
    """What the worker logs of a record is made of these: neither the mark nor the secret is in them."""
    for event in events:
        given_ = record(event)
        found = DECIDER.read(given_)
        shown = f"{given_!r} {found!r}"
        assert MARK not in shown
        assert SECRET not in shown


def test_the_ten_thousand_are_what_they_say(events: list[Event]) -> None:
    """Every kind, some accidents of either fate, some giants, the mark nearly everywhere, and no more than 100 MB."""
    made = Counter(dict(event.headers)[KIND] or b"" for event in events)
    assert {kind.decode() for kind in made} == kinds() | {"mutated"}
    assert min(made.values()) >= 4
    accidents = Counter(require(record(event)) for event in events if EXPECTATION not in dict(event.headers))
    assert min(accidents.values()) > 100
    assert len(accidents) == 2
    sizes = [len(event.value or b"") for event in events]
    assert sum(size > GIANT_BYTES * 0.9 for size in sizes) > 20
    assert sum(sizes) < 100_000_000
    assert marked(events) > COUNT / 2
    assert sum(event.key is None for event in events) > COUNT / 20
    assert all(event.key is not None or event.value is not None for event in events)
    slots = {(event.key, event.partition) for event in events if event.key is not None}
    assert len(slots) == len({key for key, _ in slots})


def test_the_same_seed_gives_the_same_events_and_another_gives_others(events: list[Event]) -> None:
    assert bad_input(300, run="bad", partitions=8, seed=SEED) == events[:300]
    assert bad_input(100, run="bad", partitions=8, seed=SEED, first=200) == events[200:300]
    assert bad_input(300, run="bad", partitions=8, seed=SEED + 1) != events[:300]


HEADERS: st.SearchStrategy[Headers] = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "Content-Type", "ce_specversion", "ce_id", ""]) | st.text(max_size=5),
        st.none() | st.binary(max_size=9) | st.just(b"application/cloudevents+json"),
    ).filter(lambda header: not header[0].startswith("dlq_")),
    max_size=4,
).map(tuple)
KEYS = st.none() | st.binary(max_size=9)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("item_id", "url", "file_id", "submitted_at", "metadata", "policy", "specversion", "data", "extra")
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), ODD).flatmap(
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "item_id": st.text(min_size=1, max_size=9),
            "url": st.just("https://audio.example/a.flac"),
            "metadata": st.dictionaries(st.text(max_size=4), ODD, max_size=3),
            "data": st.just(inner),
        },
    ).map(lambda event: {**inner, **event})
)
TEXTS = (ODD | OBJECTS).map(lambda value: json.dumps(value).encode())  # with NaN, Infinity and lone surrogates


@given(st.none() | st.binary() | TEXTS, KEYS, HEADERS)
def test_any_record_at_all_becomes_one_message(value: bytes | None, key: bytes | None, headers: Headers) -> None:
    require(Record("in", 3, 41, 1_789_378_200_000, key, value, headers))


@given(TEXTS, st.data())
def test_any_accident_to_a_text_leaves_one_message(text: bytes, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    damaged = text[:start] + data.draw(st.binary(max_size=4)) + text[end:]
    require(Record("in", 3, 41, 1_789_378_200_000, b"k", damaged, ()))
