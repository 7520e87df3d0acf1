"""Numbers and sets in few bytes: what is written comes back, the shorter form is taken, nothing unbounded is read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.flow.packing import BITMAP, RUNS, Reader, number, offsets_of, pack_runs, runs_of, unpack_runs

REACH = 20_000
OFFSETS = st.integers(0, REACH - 1)
SPANS = st.tuples(OFFSETS, st.integers(1, 900)).map(lambda span: set(range(span[0], min(sum(span), REACH))))
STRIDES = st.tuples(OFFSETS, st.integers(1, 97)).map(lambda stride: set(range(stride[0], REACH, stride[1])))
SETS = st.one_of(
    st.sets(OFFSETS, max_size=80), SPANS, STRIDES, st.tuples(SPANS, SPANS).map(lambda two: two[0] | two[1])
)


@given(st.lists(st.integers(0, 1 << 70)))
def test_numbers_come_back_one_after_another(numbers: list[int]) -> None:
    reader = Reader(b"".join(map(number, numbers)))
    assert [reader.number() for _ in numbers] == numbers
    assert not reader.more


@given(st.integers(0, 1 << 70))
def test_a_number_takes_seven_bits_a_byte(value: int) -> None:
    assert len(number(value)) == max(1, -(-value.bit_length() // 7))


@given(st.integers(0, 1 << 70), st.integers(1, 20))
def test_a_number_cut_short_is_refused(value: int, cut: int) -> None:
    with pytest.raises(IndexError):
        Reader(number(value)[:-cut]).number()


def test_bytes_beyond_the_end_are_refused() -> None:
    reader = Reader(b"abc")
    assert reader.take(2) == b"ab"
    with pytest.raises(IndexError, match="truncated"):
        reader.take(2)
    assert reader.take(1) == b"c"


@given(SETS)
@settings(deadline=None)
def test_runs_are_the_set(numbers: set[int]) -> None:
    """Ascending, none of them empty, with something between them."""
    runs = runs_of(sorted(numbers))
    assert list(offsets_of(runs)) == sorted(numbers)
    assert all(first < end for first, end in runs)
    assert all(end < after for (_, end), (after, _) in pairwise(runs))


@given(SETS)
@example(set(range(REACH)))
@example(set(range(0, REACH, 2)))
@example(set(range(0, REACH, 10)))  # runs would take somewhat more than the bitmap
@example({0})
@example({127, 128})
@settings(deadline=None)
def test_a_set_comes_back_in_the_shorter_form(numbers: set[int]) -> None:
    runs = runs_of(sorted(numbers))
    form, data = pack_runs(runs)
    assert unpack_runs(form, data, REACH) == runs
    assert pack_runs(runs, numbers) == (form, data)
    assert len(data) <= max(numbers, default=-1) // 8 + 1
    assert len(data) <= 6 * len(runs)
    assert form in (RUNS, BITMAP)


@given(SETS.filter(bool), st.integers(0, 8))
@settings(deadline=None)
def test_a_set_beyond_the_reach_is_refused(numbers: set[int], short: int) -> None:
    """In both forms, by one as by many."""
    form, data = pack_runs(runs_of(sorted(numbers)))
    end = max(numbers) + 1
    if short == 0:
        assert unpack_runs(form, data, end)
    else:
        with pytest.raises(ValueError, match="beyond"):
            unpack_runs(form, data, end - short)


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form 2"):
        unpack_runs(2, b"", REACH)


@given(st.integers(0, 1), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(form: int, data: bytes) -> None:
    try:
        runs = unpack_runs(form, data, REACH)
    except (ValueError, IndexError):
        return
    assert all(0 <= first <= end <= REACH for first, end in runs)
