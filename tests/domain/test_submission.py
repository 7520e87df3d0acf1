"""Reading is total, and accepts exactly what the schema accepts."""

from __future__ import annotations

import calendar
import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contracts import ENVELOPE, SUBMITTED, SUBMITTED_VALUE
from worker.domain.record import Headers, Record
from worker.domain.submission import (
    ID_MAX_CHARS,
    METADATA_MAX_DEPTH,
    URL_MAX_CHARS,
    ReadError,
    TrackSubmitted,
    Unreadable,
    decode,
)

POLICIES = frozenset({"two-tier", "certification"})
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
BINARY: Headers = (("ce_specversion", b"1.0"), ("content-type", b"application/json"))
URL = "https://audio.example.com/a.flac?sig=s3cr3t"
PLAIN = {"item_id": "i", "url": URL}


def record(value: bytes | None, headers: Headers = ()) -> Record:
    return Record("track-submitted", 0, 7, 1_789_378_200_000, None, value, headers)


def read(value: object, headers: Headers = ()) -> TrackSubmitted | Unreadable:
    return decode(record(json.dumps(value).encode(), headers), POLICIES)


# Values around every edge that the schema draws, mixed freely.
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from([ID_MAX_CHARS, ID_MAX_CHARS + 1]).map(lambda size: "\U0001f3b5" * size),
)
EDGE_URLS = [
    URL,
    "HTTP://x",
    "https://",
    "https:///x",
    "http://x/\n",
    "https://x/a b",
    " https://x",
    "ftp://x/y",
    "//x/y",
    "https://[::1]:8443/é\u00a0",
    "https://u:p@x",
    "https://:80",
    "http://x\x7f",
    "https://x/" + "a" * (URL_MAX_CHARS - 10),
    "https://x/" + "a" * (URL_MAX_CHARS - 9),
]
URLS = st.sampled_from(EDGE_URLS) | st.from_regex(r"https?://\S+", fullmatch=True)
TIMES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    st.builds(
        "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
        st.integers(0, 9999),
        st.integers(0, 13),
        st.integers(0, 32),
        st.sampled_from("Tt Z"),
        st.integers(0, 24),
        st.integers(0, 60),
        st.integers(0, 61),
        st.sampled_from(["", ".5", ".", ".123456789", ",5"]),
        st.sampled_from(["Z", "z", "+00:00", "-23:59", "+24:00", "+2", "", "Z\n"]),
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
JUNK = st.recursive(
    SCALARS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "item_id": TEXTS | JUNK,
        "url": URLS | st.none() | JUNK,
        "file_id": TEXTS | st.none() | JUNK,
        "submitted_at": TIMES | JUNK,
        "metadata": st.dictionaries(st.text(max_size=3), JUNK, max_size=3) | JUNK,
        "policy": st.sampled_from(sorted(POLICIES)) | JUNK,
        "some_other_field": JUNK,
    },
)
NEAR_MISSES = st.one_of(
    EVENTS,
    st.builds(lambda base, change: {**base, **change}, st.sampled_from(SUBMITTED["examples"]), EVENTS),
    st.builds(lambda url: {**PLAIN, "url": url}, URLS),
    st.builds(lambda at: {**PLAIN, "submitted_at": at}, TIMES),
    JUNK,
)


def schema_accepts(value: Any) -> bool:
    policy = value.get("policy") if isinstance(value, dict) else None
    return SUBMITTED_VALUE.is_valid(value) and (policy is None or policy in POLICIES)


@given(NEAR_MISSES)
def test_the_decoder_accepts_exactly_what_the_schema_accepts(value: object) -> None:
    assert isinstance(read(value), TrackSubmitted) == schema_accepts(value)


@pytest.mark.parametrize("url", EDGE_URLS, ids=lambda url: ascii(url[:20]))
def test_the_decoder_and_the_schema_draw_the_line_around_addresses_alike(url: str) -> None:
    value = {**PLAIN, "url": url}
    assert isinstance(read(value), TrackSubmitted) == schema_accepts(value)


@given(NEAR_MISSES)
def test_binary_mode_reads_the_value_as_a_plain_event(value: object) -> None:
    assert read(value, BINARY) == read(value)


ENVELOPES = st.fixed_dictionaries(
    {},
    optional={"specversion": st.sampled_from(["1.0", "1.1", "0.3", "10", 1, None]), "data": NEAR_MISSES},
)


@given(ENVELOPES, st.booleans())
def test_structured_mode_accepts_exactly_what_the_envelopes_schema_accepts(
    value: dict[str, Any], announced: bool
) -> None:
    accepted = ENVELOPE.is_valid(value) and schema_accepts(value["data"])
    assert isinstance(read(value, STRUCTURED if announced else ()), TrackSubmitted) == accepted


@pytest.mark.parametrize("version", ["1.0", "1.1", "10", "1", "0.3", "", 1, None])
def test_only_version_1_envelopes_are_opened(version: object) -> None:
    value = {"specversion": version, "data": PLAIN}
    found = read(value, STRUCTURED)
    assert isinstance(found, TrackSubmitted) == (version in {"1.0", "1.1"}) == ENVELOPE.is_valid(value)
    if isinstance(found, Unreadable):
        assert found == Unreadable(ReadError.BAD_CLOUDEVENT, "/specversion")


@given(NEAR_MISSES)
def test_structured_mode_tells_the_same_problem_below_data(data: object) -> None:
    plain = read(data)
    enveloped = read({"specversion": "1.0", "data": data}, STRUCTURED)
    if isinstance(plain, Unreadable):
        assert enveloped == Unreadable(plain.code, f"/data{plain.path}")
    else:
        assert enveloped == plain


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "Content-Type", "ce_specversion", "x", ""]),
        st.sampled_from([None, b"", b"\xff", b"1.0", STRUCTURED[0][1]]) | st.binary(max_size=4),
    ),
    max_size=3,
).map(tuple)


@given(st.none() | st.binary() | NEAR_MISSES.map(lambda value: json.dumps(value).encode()), HEADERS)
@example(b"\xff\xfe", ())
@example(b'"\\ud800"', ())
@example(b'{"item_id":"\\udfff","url":"http://x"}', ())
@example(b'{"item_id":"a\x00","url":"http://x"}', ())
@example(b"[" * 100_000, ())
@example(b'{"a":' * 100_000, ())
@example(b'{"item_id":"a","file_id":"f","metadata":' + b'{"a":' * 1000 + b"1" + b"}" * 1001, ())
@example(b'{"item_id":' + b"9" * 10_000 + b"}", ())
@example(b'{"item_id":1e999}', ())
@example(b"NaN", ())
@example(b"\xef\xbb\xbf{}", ())
@example(b"", STRUCTURED)
@example(b'{"specversion":"1.0"}', STRUCTURED)
def test_no_bytes_make_it_raise(value: bytes | None, headers: Headers) -> None:
    found = decode(record(value, headers), POLICIES)
    assert isinstance(found, TrackSubmitted) or found.code in ReadError


@pytest.mark.parametrize("value", SUBMITTED["examples"])
@pytest.mark.parametrize("headers", [(), BINARY])
def test_the_schemas_examples_are_read(value: dict[str, Any], headers: Headers) -> None:
    expected = TrackSubmitted(**value)
    assert decode(record(orjson.dumps(value), headers), POLICIES) == expected
    assert read({"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": value}, STRUCTURED) == expected


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        (None, ReadError.TOMBSTONE, ""),
        (b"", ReadError.NOT_JSON, ""),
        (b"{", ReadError.NOT_JSON, ""),
        (b"[]", ReadError.NOT_AN_OBJECT, ""),
        (b"null", ReadError.NOT_AN_OBJECT, ""),
        (b"{}", ReadError.MISSING_FIELD, "/item_id"),
        (b'{"item_id":null}', ReadError.WRONG_TYPE, "/item_id"),
        (b'{"item_id":""}', ReadError.TOO_SHORT, "/item_id"),
        (b'{"item_id":"' + b"a" * 513 + b'"}', ReadError.TOO_LONG, "/item_id"),
        (b'{"item_id":"a"}', ReadError.NO_AUDIO, ""),
        (b'{"item_id":"a","url":null}', ReadError.NO_AUDIO, ""),
        (b'{"item_id":"a","url":"http://x","file_id":"f"}', ReadError.TWO_AUDIOS, ""),
        (b'{"item_id":"a","url":1}', ReadError.WRONG_TYPE, "/url"),
        (b'{"item_id":"a","url":""}', ReadError.TOO_SHORT, "/url"),
        (b'{"item_id":"a","url":"http://' + b"a" * 8186 + b'"}', ReadError.TOO_LONG, "/url"),
        (b'{"item_id":"a","url":"s3://x/y"}', ReadError.BAD_URL, "/url"),
        (b'{"item_id":"a","file_id":[]}', ReadError.WRONG_TYPE, "/file_id"),
        (b'{"item_id":"a","file_id":""}', ReadError.TOO_SHORT, "/file_id"),
        (b'{"item_id":"a","file_id":"f","submitted_at":"yesterday"}', ReadError.BAD_TIME, "/submitted_at"),
        (b'{"item_id":"a","file_id":"f","submitted_at":0}', ReadError.WRONG_TYPE, "/submitted_at"),
        (b'{"item_id":"a","file_id":"f","metadata":[]}', ReadError.WRONG_TYPE, "/metadata"),
        (b'{"item_id":"a","file_id":"f","policy":"nope"}', ReadError.UNKNOWN_POLICY, "/policy"),
        (b'{"item_id":"a","file_id":"f","policy":["two-tier"]}', ReadError.WRONG_TYPE, "/policy"),
        (b'{"specversion":"1.0"}', ReadError.BAD_CLOUDEVENT, "/data"),
        (b'{"specversion":"0.3","data":{}}', ReadError.BAD_CLOUDEVENT, "/specversion"),
        (b'{"specversion":"1.0","data":"{}"}', ReadError.NOT_AN_OBJECT, "/data"),
        (b'{"specversion":"1.0","data":{}}', ReadError.MISSING_FIELD, "/data/item_id"),
    ],
)
def test_each_problem_has_its_code_and_path(value: bytes | None, code: ReadError, path: str) -> None:
    assert decode(record(value), POLICIES) == Unreadable(code, path)


def test_the_content_type_header_decides_whatever_its_case() -> None:
    event = {**PLAIN, "specversion": "1.0", "data": {**PLAIN, "item_id": "inner"}}
    assert read(event) == TrackSubmitted("i", URL)
    for name, content in (
        ("Content-Type", b"Application/CloudEvents+JSON"),
        ("content-type", b" application/cloudevents"),
    ):
        assert read(event, ((name, content),)) == TrackSubmitted("inner", URL)


def test_a_binary_event_is_never_taken_for_an_envelope() -> None:
    assert read({"specversion": "1.0", "data": PLAIN}, BINARY) == Unreadable(ReadError.MISSING_FIELD, "/item_id")


def test_of_a_repeated_name_the_last_value_counts() -> None:
    assert decode(record(b'{"item_id":"a","item_id":"b","file_id":"f"}'), POLICIES) == TrackSubmitted("b", None, "f")


@given(levels=st.integers(1, 3 * METADATA_MAX_DEPTH), lists=st.booleans(), siblings=st.integers(0, 3))
@example(levels=METADATA_MAX_DEPTH, lists=False, siblings=0)
@example(levels=METADATA_MAX_DEPTH + 1, lists=False, siblings=0)
@example(levels=METADATA_MAX_DEPTH, lists=True, siblings=2)
@example(levels=METADATA_MAX_DEPTH + 1, lists=True, siblings=2)
def test_metadata_nests_up_to_its_bound(levels: int, lists: bool, siblings: int) -> None:
    inner: Any = {} if levels == 1 or not lists else []
    for _ in range(levels - 2):
        inner = [*range(siblings), copy.copy(inner)] if lists else {"k": inner, "s": {}}
    metadata = {"deep": inner} if levels > 1 else {}
    found = read({**PLAIN, "metadata": metadata})
    if levels <= METADATA_MAX_DEPTH:
        assert isinstance(found, TrackSubmitted)
        assert found.metadata == metadata
    else:
        assert found == Unreadable(ReadError.TOO_DEEP, "/metadata")


@given(st.integers(0, 9999), st.integers(1, 12), st.integers(1, 31))
@example(2000, 2, 29)
@example(1900, 2, 29)
@example(2024, 2, 29)
@example(2023, 2, 29)
def test_submitted_at_knows_the_calendar(year: int, month: int, day: int) -> None:
    leap = calendar.isleap(year)
    days = 29 if month == 2 and leap else 28 if month == 2 else 30 if month in {4, 6, 9, 11} else 31
    found = read({**PLAIN, "submitted_at": f"{year:04}-{month:02}-{day:02}T23:59:60Z"})
    assert isinstance(found, TrackSubmitted) == (day <= days)


def test_no_problem_and_no_repr_quotes_the_payload() -> None:
    assert "s3cr3t" not in repr(read(PLAIN))
    assert "s3cr3t" not in repr(read({**PLAIN, "item_id": 7}))
    assert "s3cr3t" not in repr(record(json.dumps(PLAIN).encode()))
