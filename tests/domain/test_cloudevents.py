"""CloudEvents beyond the plain case: data in base64, and the distributed tracing extension."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contracts import ENVELOPE
from worker.domain.analysis import Analysis, AnalysisStatus
from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN
from worker.domain.record import Headers, Record
from worker.domain.submission import ReadError, TrackSubmitted, Unreadable

DECIDER = Decider(BUILT_IN, "two-tier", Topics("in", "a", "r", "j", "d"))
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)
PLAIN = {"item_id": "i", "url": "https://audio.example.com/a.flac"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"


def record(value: object, headers: Headers = STRUCTURED) -> Record:
    return Record("track-submitted", 0, 7, 0, None, json.dumps(value).encode(), headers)


def read(value: object, headers: Headers = STRUCTURED) -> TrackSubmitted | Unreadable:
    return DECIDER.read(record(value, headers))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


# Data in base64.

DATA = st.one_of(
    st.sampled_from(
        [PLAIN, {**PLAIN, "policy": "strict"}, {**PLAIN, "policy": "none"}, {"item_id": "i"}, {}, [], 1, None]
    ),
    st.builds(lambda metadata: {**PLAIN, "metadata": metadata}, st.dictionaries(st.text(), st.integers() | st.text())),
)


@given(DATA, st.booleans())
def test_base64_reads_what_data_would_say_and_names_the_problem_there(data: object, announced: bool) -> None:
    headers = STRUCTURED if announced else ()
    plain = read({"specversion": "1.0", "data": data}, headers)
    found = read({"specversion": "1.0", "data_base64": encoded(json.dumps(data).encode())}, headers)
    if isinstance(plain, Unreadable):
        assert found == Unreadable(plain.code, plain.path.replace("/data", "/data_base64"))
    else:
        assert found == plain


@given(st.text(alphabet="Aa0+/=-_ \n", max_size=12) | st.text(max_size=6) | st.binary(max_size=9).map(encoded))
@example("")
@example("eyJ9=")
@example("eyJ9\n")
@example("e30")
@example("e===")
@example("=")
@example("é30=")
def test_text_is_base64_exactly_where_the_schema_says_so(text: str) -> None:
    """What passes for base64 is then no event for another reason: nothing this short is a track."""
    found = read({"specversion": "1.0", "data_base64": text})
    assert isinstance(found, Unreadable)
    refused = found == Unreadable(ReadError.BAD_CLOUDEVENT, "/data_base64")
    assert refused != ENVELOPE.is_valid({"specversion": "1.0", "data_base64": text})
    if not refused:
        base64.b64decode(text, validate=True)


@pytest.mark.parametrize(
    ("rest", "code", "path"),
    [
        ({"data_base64": 7}, ReadError.WRONG_TYPE, "/data_base64"),
        ({"data_base64": ["e30="]}, ReadError.WRONG_TYPE, "/data_base64"),
        ({"data_base64": "e30"}, ReadError.BAD_CLOUDEVENT, "/data_base64"),
        ({"data_base64": "e30=", "data": {}}, ReadError.BAD_CLOUDEVENT, "/data_base64"),
        ({"data_base64": "", "data": PLAIN}, ReadError.BAD_CLOUDEVENT, "/data_base64"),
        ({"data_base64": ""}, ReadError.NOT_JSON, "/data_base64"),
        ({"data_base64": encoded(b"<track/>")}, ReadError.NOT_JSON, "/data_base64"),
        ({"data_base64": encoded(b"[]")}, ReadError.NOT_AN_OBJECT, "/data_base64"),
        ({"data_base64": encoded(b"{}")}, ReadError.MISSING_FIELD, "/data_base64/item_id"),
        ({"data_base64": None}, ReadError.BAD_CLOUDEVENT, "/data"),
        ({"data": None}, ReadError.NOT_AN_OBJECT, "/data"),
        ({}, ReadError.BAD_CLOUDEVENT, "/data"),
    ],
)
def test_each_problem_of_an_envelope_has_its_code_and_path(rest: dict[str, Any], code: ReadError, path: str) -> None:
    assert read({"specversion": "1.0", **rest}) == Unreadable(code, path)


@pytest.mark.parametrize(
    "rest",
    [
        {"data": PLAIN, "data_base64": None},
        {"data": None, "data_base64": encoded(json.dumps(PLAIN).encode())},
        {"data_base64": encoded(json.dumps(PLAIN).encode()), "datacontenttype": "application/json"},
    ],
)
def test_a_member_that_is_null_counts_as_absent(rest: dict[str, Any]) -> None:
    value = {"specversion": "1.0", **rest}
    assert read(value) == TrackSubmitted(PLAIN["item_id"], PLAIN["url"])
    assert ENVELOPE.is_valid(value)


def test_both_members_are_refused_by_the_schema_as_well() -> None:
    assert not ENVELOPE.is_valid({"specversion": "1.0", "data": PLAIN, "data_base64": "e30="})
    assert not ENVELOPE.is_valid({"specversion": "1.0", "data_base64": None})


# The distributed tracing extension.


def passed_on(value: object, headers: Headers) -> list[tuple[str, bytes | None]]:
    """Trace headers of the decision on this record."""
    event = record(value, headers)
    track = DECIDER.read(event)
    assert isinstance(track, TrackSubmitted)
    analysis = Analysis(AnalysisStatus.FAILED)
    made = DECIDER.decide(event, track, analysis, attempts=1, at=datetime(2026, 9, 14, tzinfo=UTC)).message
    return [header for header in made.headers if "trace" in header[0].lower()]


def envelope(**attributes: object) -> dict[str, object]:
    return {"specversion": "1.0", "data": PLAIN, **attributes}


def test_structured_attributes_become_the_decisions_trace() -> None:
    value = envelope(traceparent=PARENT, tracestate="vendor=1")
    assert passed_on(value, STRUCTURED) == [("traceparent", PARENT.encode()), ("tracestate", b"vendor=1")]
    base64_value = {"specversion": "1.0", "data_base64": encoded(json.dumps(PLAIN).encode()), "traceparent": PARENT}
    assert passed_on(base64_value, STRUCTURED) == [("traceparent", PARENT.encode())]


def test_binary_attributes_are_passed_on_as_they_are_and_become_the_trace() -> None:
    given_headers: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_traceparent", PARENT.encode()),
        ("ce_tracestate", b"vendor=1"),
    )
    trace: Headers = (("traceparent", PARENT.encode()), ("tracestate", b"vendor=1"))
    assert passed_on(PLAIN, given_headers) == [*given_headers[1:], *trace]


@pytest.mark.parametrize("name", ["traceparent", "TraceParent"])
def test_the_records_own_header_wins(name: str) -> None:
    own: Headers = ((name, OTHER.encode()),)
    assert passed_on(envelope(traceparent=PARENT, tracestate="a=b"), STRUCTURED + own) == [*own]
    promoted: Headers = (("ce_specversion", b"1.0"), ("ce_traceparent", PARENT.encode()), *own)
    assert passed_on(PLAIN, promoted) == [*promoted[1:]]


def test_a_header_without_a_value_is_none() -> None:
    headers: Headers = (*STRUCTURED, ("traceparent", None))
    assert passed_on(envelope(traceparent=PARENT), headers) == [("traceparent", PARENT.encode())]


NO_TEXT = (b"\xff", b"00-\xc3", b"\xed\xa0\x80", PARENT.encode() + b"\x80")


@pytest.mark.parametrize("content", NO_TEXT)
@pytest.mark.parametrize("name", ["traceparent", "TraceParent", "tracestate", "ce_traceparent", "ce_tracestate"])
def test_what_is_no_text_is_left_out(name: str, content: bytes) -> None:
    """A decision's headers are UTF-8 by contract; the rest of the trace stays."""
    sound: Headers = (("Traceparent", PARENT.encode()), ("TRACESTATE", "vendor=\u00e9".encode()))
    assert passed_on(PLAIN, ((name, content), *sound, (name, content))) == [*sound]
    assert passed_on(PLAIN, ((name, content),)) == []


@pytest.mark.parametrize("content", NO_TEXT)
def test_the_envelopes_trace_stands_in_for_one_that_is_no_text(content: bytes) -> None:
    headers: Headers = (*STRUCTURED, ("traceparent", content), ("tracestate", content))
    expected = [("traceparent", PARENT.encode()), ("tracestate", b"a=b")]
    assert passed_on(envelope(traceparent=PARENT, tracestate="a=b"), headers) == expected


def test_a_state_of_the_records_own_is_not_doubled() -> None:
    headers: Headers = (*STRUCTURED, ("tracestate", b"own=1"))
    assert passed_on(envelope(traceparent=PARENT, tracestate="a=b"), headers) == [
        ("tracestate", b"own=1"),
        ("traceparent", PARENT.encode()),
    ]


@given(
    parent=st.none()
    | st.integers()
    | st.text()
    | st.from_regex(r"[0-9a-f]{2}-[0f]{32}-[0f]{16}-0[01]-?", fullmatch=True),
    state=st.none() | st.integers() | st.text() | st.integers(500, 520).map(lambda size: "a" * size),
)
@example(parent=PARENT, state="a" * 512)
@example(parent=PARENT, state="a" * 513)
@example(parent=PARENT, state="a=ü")
@example(parent=PARENT, state="")
@example(parent=PARENT + "\n", state="a=b")
@example(parent=PARENT.upper(), state="a=b")
@example(parent="ff" + PARENT[2:], state="a=b")
@example(parent="00-" + "0" * 32 + PARENT[35:], state="a=b")
@example(parent=PARENT[:36] + "0" * 16 + "-01", state="a=b")
def test_whatever_stands_there_the_track_is_decided_and_only_what_is_sound_is_passed_on(
    parent: object, state: object
) -> None:
    found = dict(passed_on(envelope(traceparent=parent, tracestate=state), STRUCTURED))
    if "traceparent" in found:
        version, trace, span, flags = str(parent).split("-")
        assert (len(version), len(trace), len(span), len(flags)) == (2, 32, 16, 2)
        assert version != "ff"
        assert int(trace, 16)
        assert int(span, 16)
        assert found["traceparent"] == str(parent).encode()
    if "tracestate" in found:
        assert "traceparent" in found
        assert len(str(state)) <= 512
        assert found["tracestate"] == str(state).encode("ascii")
    if parent == PARENT:
        assert "traceparent" in found
        assert ("tracestate" in found) == (state == "a" * 512)
