"""A dead letter replays to exactly the record it was made of; filters take what they say; ranges cover it all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.deadletter import OWN_HEADERS, dead_letter
from worker.domain.decision import rfc3339
from worker.domain.printable import printable
from worker.domain.record import Message, Record
from worker.domain.replay import (
    REPLAYED_FROM,
    Candidate,
    Origin,
    Position,
    Selection,
    from_dead_letter,
    from_event,
    of_dead_letter,
    of_decision,
    position,
    refusal,
    spans,
)
from worker.domain.submission import ReadError, Unreadable

AT = datetime(2026, 5, 1, tzinfo=UTC)
BYTES = st.one_of(st.none(), st.binary(max_size=40))
NAMES = st.text(max_size=8).filter(lambda name: name not in OWN_HEADERS | {REPLAYED_FROM})
RECORDS = st.builds(
    Record,
    topic=st.just("input"),
    partition=st.integers(0, 20),
    offset=st.integers(0, 2**60),
    timestamp_ms=st.integers(-1, 2**41),
    key=BYTES,
    value=BYTES,
    headers=st.lists(st.tuples(NAMES, BYTES), max_size=6).map(tuple),
)
PROBLEMS = st.builds(Unreadable, st.sampled_from(list(ReadError)), st.sampled_from(["", "/url", "/policy"]))


def as_read(message: Message, *, partition: int = 2, offset: int = 9) -> Record:
    """What a consumer of the dead-letter topic gets."""
    return Record(message.topic, partition, offset, 1_000, message.key, message.value, message.headers)


def made_again(letter: Record, partitions: int = 30) -> tuple[Message, int | None]:
    candidate = of_dead_letter(letter)
    assert candidate.origin is not None
    found = from_dead_letter(candidate, candidate.origin, letter, partitions)
    return found.message, found.partition


@given(record=RECORDS, problem=PROBLEMS)
def test_a_dead_letter_replays_to_the_record_it_was_made_of(record: Record, problem: Unreadable) -> None:
    """One header more says whence; a record of neither key nor value gets an empty value, as its dead letter did."""
    letter = as_read(dead_letter(record, problem, topic="letters", at=AT))
    message, partition = made_again(letter)
    nothing = record.key is None and record.value is None
    assert (message.topic, partition, message.key) == ("input", record.partition, record.key)
    assert message.value == (b"" if nothing else record.value)
    assert message.headers == (*record.headers, (REPLAYED_FROM, b"letters/2/9"))


@given(record=RECORDS, problem=PROBLEMS)
def test_a_dead_letter_tells_why_and_whence(record: Record, problem: Unreadable) -> None:
    candidate = of_dead_letter(as_read(dead_letter(record, problem, topic="letters", at=AT)))
    assert (candidate.reason, candidate.path) == (problem.code.value, problem.path)
    assert candidate.origin == Origin("input", record.partition, record.offset)
    assert candidate.position == Position(2, 9)
    assert refusal(candidate, "input") is None


@given(record=RECORDS, problem=PROBLEMS)
def test_what_fails_again_and_is_replayed_again_names_the_last_dead_letter_only(
    record: Record, problem: Unreadable
) -> None:
    first, _ = made_again(as_read(dead_letter(record, problem, topic="letters", at=AT)))
    again = dead_letter(as_read(first), problem, topic="letters", at=AT)
    second, _ = made_again(as_read(again, offset=77))
    assert second.headers == (*record.headers, (REPLAYED_FROM, b"letters/2/77"))


@given(record=RECORDS)
def test_a_decided_event_goes_back_as_it_was(record: Record) -> None:
    origin = Origin("input", record.partition, record.offset)
    candidate = Candidate("review", Position(1, 5), 0, "analysis_failed", "", frozenset(), origin)
    found = from_event(candidate, origin, record, 10)
    assert found.message == Message(
        "input", record.key, record.value, (*record.headers, (REPLAYED_FROM, b"review/1/5"))
    )
    assert found.partition == (record.partition if record.partition < 10 else None)


@pytest.mark.parametrize("lost", ["dlq_topic", "dlq_partition", "dlq_offset"])
@pytest.mark.parametrize("content", [None, b"", b"\xff", b"-1", b"1" * 20, b"1.5", b" 1"])
def test_a_record_that_is_no_dead_letter_of_ours_is_refused(lost: str, content: bytes | None) -> None:
    headers = {"dlq_topic": b"input", "dlq_partition": b"1", "dlq_offset": b"2"} | {lost: content}
    candidate = of_dead_letter(Record("letters", 0, 0, 0, None, b"x", tuple(headers.items())))
    assert refusal(candidate, "input") is not None


def test_a_dead_letter_of_another_input_is_refused_by_both_names() -> None:
    origin = Origin("elsewhere", 0, 0)
    said = refusal(Candidate("letters", Position(0, 0), 0, "", "", frozenset(), origin), "input")
    assert said is not None
    assert "elsewhere" in said
    assert "TOPIC_SUBMITTED is input" in said


@pytest.mark.parametrize(
    ("key", "value", "items"),
    [
        (b"k", b'{"item_id": "a"}', {"k", "a"}),
        (None, b'{"specversion": "1.0", "data": {"item_id": "a"}}', {"a"}),
        (None, b'{"specversion": "1.0", "data_base64": "eyJpdGVtX2lkIjogImEifQ=="}', {"a"}),
        (b"k", b'{"specversion": "1.0", "data_base64": "eyJp"}', {"k"}),
        (b"k", b'{"specversion": "1.0", "data_base64": "eyJ"}', {"k"}),
        (b"\xff", b"not json", set()),
        (b"k", b'{"item_id": 7, "data": []}', {"k"}),
        (b"k", None, {"k"}),
        (b"k", b"[1]", {"k"}),
    ],
)
def test_a_dead_letter_is_found_by_its_key_and_by_its_item(key: bytes, value: bytes, items: set[str]) -> None:
    assert of_dead_letter(Record("letters", 0, 0, 0, key, value, ())).items == items


def decided(**changes: object) -> Record:
    body = {"item_id": "a", "reason": "analysis_failed", "source": {"topic": "input", "partition": 1, "offset": 2}}
    return Record("review", 3, 4, 50, b"label", orjson.dumps(body | changes), ())


def test_a_decision_tells_its_event() -> None:
    assert of_decision(decided()) == Candidate(
        "review", Position(3, 4), 50, "analysis_failed", "", frozenset({"a"}), Origin("input", 1, 2)
    )


@pytest.mark.parametrize("source", [None, {}, {"topic": "input", "partition": True, "offset": 2}, {"topic": 5}])
def test_a_decision_without_its_event_is_refused(source: object) -> None:
    candidate = of_decision(decided(source=source))
    assert candidate is not None
    assert refusal(candidate, "input") is not None


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"item_id": 1}'])
def test_what_is_no_decision_is_none(value: bytes | None) -> None:
    assert of_decision(Record("review", 0, 0, 0, None, value, ())) is None


CANDIDATES = st.builds(
    Candidate,
    topic=st.just("letters"),
    position=st.builds(Position, st.integers(0, 2), st.integers(0, 2)),
    timestamp_ms=st.integers(0, 5),
    reason=st.sampled_from("ab"),
    path=st.just(""),
    items=st.frozensets(st.sampled_from("xyz")),
    origin=st.none(),
)
SELECTIONS = st.builds(
    Selection,
    reasons=st.frozensets(st.sampled_from("abc")),
    since_ms=st.none() | st.integers(0, 5),
    until_ms=st.none() | st.integers(0, 5),
    item=st.none() | st.sampled_from("xyz"),
    positions=st.frozensets(st.builds(Position, st.integers(0, 2), st.integers(0, 2)), max_size=5),
)


@given(selection=SELECTIONS, candidate=CANDIDATES)
def test_a_selection_takes_what_meets_all_that_is_given(selection: Selection, candidate: Candidate) -> None:
    met = [
        candidate.reason in (selection.reasons or {candidate.reason}),
        candidate.position in (selection.positions or {candidate.position}),
        selection.item is None or selection.item in candidate.items,
        candidate.timestamp_ms
        in range(selection.since_ms or 0, 6 if selection.until_ms is None else selection.until_ms),
    ]
    assert selection.takes(candidate) == all(met)


@given(offsets=st.lists(st.integers(0, 300)), reach=st.integers(1, 50))
def test_ranges_cover_the_wanted_in_order_and_bridge_no_wide_gap(offsets: list[int], reach: int) -> None:
    found = spans(offsets, reach)
    wanted = sorted(set(offsets))
    assert [offset for span in found for offset in span if offset in wanted] == wanted
    assert all(span.start in wanted and span.stop - 1 in wanted for span in found)
    assert all(after.start - (before.stop - 1) > reach for before, after in pairwise(found))
    together = [[offset for offset in wanted if offset in span] for span in found]
    assert all(after - before <= reach for each in together for before, after in pairwise(each))


def test_at_the_reach_two_still_share_a_range() -> None:
    assert spans([5, 0], 5) == [range(6)]
    assert spans([6, 0], 5) == [range(1), range(6, 7)]


@given(st.integers(0, 10**9), st.integers(0, 10**17))
def test_a_position_reads_back(partition: int, offset: int) -> None:
    assert position(str(Position(partition, offset))) == Position(partition, offset)


@pytest.mark.parametrize("text", ["", "3", "@3", "3@", "a@3", "-1@3", "3@-1", "3@4 ", "\u0663@1", "3@" + "9" * 20])
def test_what_is_no_position_is_none(text: str) -> None:
    assert position(text) is None


@given(content=st.binary(max_size=60), limit=st.integers(0, 80))
def test_what_is_shown_is_one_line_without_controls(content: bytes, limit: int) -> None:
    shown = printable(content, limit)
    assert shown.isprintable()
    assert shown.endswith("...") or len(content) <= limit


@given(st.text(max_size=40))
def test_what_is_shown_can_be_told_apart(text: str) -> None:
    """Escapes are those of Python: two different texts never look the same."""
    data = text.encode("utf-8", "surrogatepass")
    shown = printable(data, 1_000)
    raw = shown.encode("latin-1", "backslashreplace").decode("unicode_escape")
    assert raw.encode("utf-8", "surrogatepass") == data or any("\ud800" <= letter <= "\udfff" for letter in text)


def test_examples_of_what_is_shown() -> None:
    assert printable(None, 5) == "-"
    assert printable(b"a\x1b[31m\\\xff\n", 20) == "a\\x1b[31m\\\\\\xff\\n"
    assert printable("caf\u00e9 \u202e".encode(), 20) == "caf\u00e9 \\u202e"
    assert printable(b"abcdef", 3) == "abc..."
    assert rfc3339(AT).endswith("Z")
