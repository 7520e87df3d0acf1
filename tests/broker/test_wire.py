"""A reply is told from the others on its connection by the order alone, however the bytes are cut."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tests.broker.echo import frame
from tests.broker.wire import END_TXN, HEAD_BYTES, PRODUCE, Correlation


@given(st.lists(st.tuples(st.sampled_from([PRODUCE, END_TXN]), st.binary(max_size=9)), max_size=8), st.data())
def test_replies_are_matched_to_requests_however_the_bytes_are_cut(
    requests: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    frames = [frame(*request) for request in requests]
    stream, correlation = b"".join(frames), Correlation()
    for piece in pieces_of(stream, data):
        correlation.requested(piece)
    position, found = 0, None
    for piece in pieces_of(stream, data):
        at = correlation.answered(piece, END_TXN)
        found = position + at if found is None and at is not None else found
        position += len(piece)
    keys = [key for key, _ in requests]
    if END_TXN not in keys:
        assert found is None
    else:
        start = sum(map(len, frames[: keys.index(END_TXN)]))
        assert found is not None
        assert start <= found < start + HEAD_BYTES  # never a byte of an earlier reply, never a whole one of this


def pieces_of(stream: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(st.lists(st.binary(max_size=20)))
@example([bytes(HEAD_BYTES), bytes(HEAD_BYTES)])
def test_what_is_not_kafka_is_no_trouble(pieces: list[bytes]) -> None:
    correlation = Correlation()
    for piece in pieces:
        correlation.requested(piece)
        at = correlation.answered(piece, END_TXN)
        assert at is None or 0 <= at <= len(piece)
