"""The trace of a record: read where it is sound, passed on as it came, or with a span of our own in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.trace import TraceContext, carried, context, passed_on

if TYPE_CHECKING:
    from worker.domain.record import Headers

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()
HEX = "0123456789abcdef"
NAMES = ["traceparent", "TraceParent", "tracestate", "ce_traceparent", "ce_tracestate", "b3", "X-B3-TraceId", "other"]


def ids(digits: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=digits, max_size=digits).filter(lambda text: text.strip("0") != "")


contexts = st.builds(
    TraceContext,
    ids(32),
    ids(16),
    st.integers(0, 255),
    st.none() | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64),
)
contents = st.none() | st.binary(max_size=70) | st.sampled_from([PARENT, b"a=1", b"00-%s" % (b"0" * 32)])
any_headers = st.lists(st.tuples(st.sampled_from(NAMES), contents), max_size=6).map(tuple)


def as_headers(own: TraceContext) -> Headers:
    return passed_on((), own)


@given(contexts)
def test_what_is_written_is_read_again(own: TraceContext) -> None:
    found = context(as_headers(own))
    assert found is not None
    assert found.is_remote
    assert (found.trace_id, found.span_id, found.flags) == (own.trace_id, own.span_id, own.flags)
    assert found.state == own.state


@given(any_headers, contexts)
def test_a_span_of_our_own_is_the_only_one_that_w3c_headers_name(headers: Headers, own: TraceContext) -> None:
    kept = carried(headers)
    sent = passed_on(kept, own)
    w3c = [(name, content) for name, content in sent if name.lower().endswith(("traceparent", "tracestate"))]
    assert (w3c[0][0], len(w3c)) == ("traceparent", 1 + (own.state is not None))
    found = context(sent)
    assert found is not None
    assert (found.trace_id, found.span_id) == (own.trace_id, own.span_id)
    others = [header for header in kept if header[0].lower() in {"b3", "x-b3-traceid"}]
    assert [header for header in sent if header not in w3c] == others


@given(any_headers)
def test_without_a_span_of_our_own_headers_are_passed_on_as_they_came(headers: Headers) -> None:
    kept = carried(headers)
    assert passed_on(kept, None) == kept
    came = context(kept)
    assert came is None or passed_on(kept, came) == kept


@given(st.binary(max_size=80))
def test_a_context_that_is_not_sound_is_none_and_never_an_error(content: bytes) -> None:
    found = context((("traceparent", content),))
    assert found is None or len(found.trace_id) == 32


def test_a_state_that_is_not_sound_is_left_out() -> None:
    found = context((("TraceParent", PARENT), ("tracestate", b"\x00")))
    assert found == TraceContext(TRACE_ID, SPAN_ID, 1, None, is_remote=True)


def test_what_nobody_keeps_is_not_sampled() -> None:
    kept, not_kept = (context((("traceparent", PARENT[:-2] + flags),)) for flags in (b"03", b"02"))
    assert kept is not None
    assert not_kept is not None
    assert (kept.sampled, not_kept.sampled) == (True, False)
