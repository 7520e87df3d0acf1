"""Lines out of chunks: however the bytes are cut, the lines are the same, and memory stays bounded."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain.ndjson import Lines, Overlong

TEXTS = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b" ", b"\n\n", b"{}", b"x" * 9]), max_size=30).map(
    b"".join
)
CUTS = st.lists(st.integers(0, 60), max_size=8)
MAX = 6


def split(text: bytes, cuts: list[int], *, max_bytes: int = MAX) -> list[bytes | Overlong]:
    lines = Lines(max_bytes=max_bytes)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    found = [line for start, end in pairwise(places) for line in lines.feed(text[start:end])]
    return [*found, *lines.rest()]


def expected(text: bytes) -> list[bytes | Overlong]:
    """The same, from the whole text at once."""
    kept = [line for line in text.split(b"\n") if len(line) > MAX or line.strip()]
    return [Overlong(line[:MAX]) if len(line) > MAX else line for line in kept]


@given(text=TEXTS, cuts=CUTS)
@example(text=b"x" * MAX, cuts=[])
@example(text=b"x" * (MAX + 1), cuts=[MAX])
def test_however_the_bytes_are_cut_the_lines_are_the_same(text: bytes, cuts: list[int]) -> None:
    assert split(text, cuts) == expected(text)


@given(chunks=st.lists(st.sampled_from([b"x" * 5, b"y" * 50, b"\n"]), max_size=40))
def test_no_more_than_a_line_is_kept(chunks: list[bytes]) -> None:
    lines = Lines(max_bytes=MAX)
    for chunk in chunks:
        list(lines.feed(chunk))
        assert sum(map(len, lines._parts)) <= MAX


def test_the_rest_is_told_once() -> None:
    lines = Lines(max_bytes=MAX)
    assert list(lines.feed(b"a\nb")) == [b"a"]
    assert [list(lines.rest()), list(lines.rest())] == [[b"b"], []]
