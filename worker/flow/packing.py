"""Numbers and sets of offsets as few bytes, for the commit metadata; what is read back is bounded.

Numbers are LEB128. A set is written as runs, pairs of (gap before the run, its length), or as a bitmap, whichever is
shorter: fragments cost a bit for each offset at most, and few runs a few bytes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RUNS, BITMAP = 0, 1
Runs = tuple[tuple[int, int], ...]  # (first, after the last) of each, ascending, with something between them

_SEVEN_BITS, _MORE = 0x7F, 0x80


def number(value: int) -> bytes:
    """Write a number that is not negative."""
    out = bytearray()
    while value > _SEVEN_BITS:
        out.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Reads numbers and bytes off the front; raises IndexError past the end."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self) -> int:
        """Read what `number` wrote."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & _SEVEN_BITS) << shift
            if byte < _MORE:
                return value
            shift += 7

    def take(self, length: int) -> bytes:
        """Read so many bytes."""
        if self.at + length > len(self.data):
            raise IndexError("truncated")
        self.at += length
        return self.data[self.at - length : self.at]

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self.at < len(self.data)


def runs_of(ascending: Sequence[int]) -> Runs:
    """Find the runs of distinct numbers."""
    if not ascending:
        return ()
    breaks = [0, *(i for i, (a, b) in enumerate(pairwise(ascending), 1) if b != a + 1), len(ascending)]
    return tuple((ascending[begin], ascending[end - 1] + 1) for begin, end in pairwise(breaks))


def offsets_of(runs: Runs) -> Iterator[int]:
    """Give every number of the runs."""
    for first, end in runs:
        yield from range(first, end)


def pack_runs(runs: Runs, numbers: Iterable[int] | None = None) -> tuple[int, bytes]:
    """Write the shorter form, and say which it is; `numbers` are those of the runs, where they are at hand."""
    if not runs:
        return RUNS, b""
    as_runs = _as_runs(runs)
    if len(as_runs) < (runs[-1][1] - 1) // 8 + 1:
        return RUNS, as_runs
    return BITMAP, _as_bitmap(runs[-1][1], offsets_of(runs) if numbers is None else numbers)


def unpack_runs(form: int, data: bytes, reach: int) -> Runs:
    """Read what `pack_runs` wrote. Raises ValueError for another form or numbers from `reach` on, else IndexError."""
    if form not in (RUNS, BITMAP):
        raise ValueError(f"form {form} of a set")
    runs = _from_runs(data) if form == RUNS else runs_of(_from_bitmap(data))
    if runs and runs[-1][1] > reach:
        raise ValueError("a set beyond what can be done at once")
    return runs


def _as_runs(runs: Runs) -> bytes:
    out, at = bytearray(), 0
    for first, end in runs:
        out += number(first - at) + number(end - first)
        at = end
    return bytes(out)


def _as_bitmap(end: int, numbers: Iterable[int]) -> bytes:
    bits = bytearray((end - 1) // 8 + 1)
    for each in numbers:
        bits[each >> 3] |= 1 << (each & 7)
    return bytes(bits)


def _from_runs(data: bytes) -> Runs:
    reader, end, out = Reader(data), 0, list[tuple[int, int]]()
    while reader.more:
        first = end + reader.number()
        end = first + reader.number()
        out.append((first, end))
    return tuple(out)


def _from_bitmap(data: bytes) -> list[int]:
    return [index * 8 + bit for index, byte in enumerate(data) for bit in range(8) if byte >> bit & 1]
