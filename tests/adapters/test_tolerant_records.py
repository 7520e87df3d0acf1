"""Header names that are not UTF-8, in batches as a broker sends them.

Each batch has a twin whose names are the replaced text, properly encoded: what aiokafka itself reads of the twin
is what must be read of the batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from tests.raw_batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, Raw, RawName, batch, legacy_batch, marker, sealed
from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.tolerant_records import FetchedRecords, TolerantPartitionRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TP = TopicPartition("tracks", 3)
CODECS = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
BAD_NAMES = (b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"a\xf0\x9f\x8e", b"\xc0\x80\x00")
PADDING = b"v" * 200  # enough for every codec to be worth its while; else the builder leaves the batch as it is
GOOD = Raw(PADDING, (("name", b"\xff"), ("nothing", None), ("name", b"")))
BAD = Raw(PADDING, (("before", b"\x00"), (RawName(b"\xfftenant"), b"\xff\xfe"), ("behind", None)))
RECORDS_COUNT_OFFSET = 57
_CHECKED_AND_COMMITTED = (True, fetcher.READ_COMMITTED)

Reading = list[tuple[Any, int]]  # each record, and where aiokafka would fetch next


def twin(records: Sequence[Raw]) -> list[Raw]:
    return [replace(record, headers=tuple((str(name), value) for name, value in record.headers)) for record in records]


def read(raw: bytes, *, tolerant: bool, start: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> Reading:
    """Everything that a consumer at read_committed gets, by way of aiokafka's own class or of ours."""
    strict: type = TolerantPartitionRecords.__base__ or object
    kinds = (TolerantPartitionRecords, FetchedRecords) if tolerant else (strict, MemoryRecords)
    records = kinds[0](TP, kinds[1](raw), list(aborted), start, None, None, *_CHECKED_AND_COMMITTED)
    found = [(record, records.next_fetch_offset) for record in records]
    return [*found, (None, records.next_fetch_offset)]


def require_as_twin(make: Callable[[Callable[[Sequence[Raw]], Sequence[Raw]]], bytes], **options: Any) -> Reading:
    expected = read(make(twin), tolerant=False, **options)
    found = read(make(list), tolerant=True, **options)
    assert found == expected
    return found


def offsets(reading: Reading) -> list[int]:
    return [record.offset for record, _ in reading[:-1]]


@pytest.mark.parametrize("codec", CODECS)
def test_the_fault_that_is_mended_is_still_there(codec: int) -> None:
    raw = batch([GOOD, BAD], 0, codec)
    assert raw[22] & 7 == codec
    with pytest.raises(UnicodeDecodeError):
        read(raw, tolerant=False)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [{0}, {2}, {4}, {0, 1}, {1, 3}, {3, 4}, {0, 1, 2, 3, 4}])
def test_each_record_is_read_once_and_in_its_place(codec: int, bad: set[int]) -> None:
    records = [BAD if place in bad else GOOD for place in range(5)]
    found = require_as_twin(lambda names: batch(names(records), 40, codec), start=40)
    assert offsets(found) == [40, 41, 42, 43, 44]
    assert found[min(bad)][0].headers == (("before", b"\x00"), ("\ufffdtenant", b"\xff\xfe"), ("behind", None))
    assert found[min(bad)][0].value == PADDING


@pytest.mark.parametrize("name", BAD_NAMES)
def test_any_bytes_become_text_that_can_be_sent_on(name: bytes) -> None:
    (record, _), _ = read(batch([Raw(b"", ((RawName(name), b""),))], 0), tolerant=True)
    ((text, _),) = record.headers
    assert "\ufffd" in text
    assert text.encode().decode() == text


RAWS = st.builds(
    Raw,
    st.none() | st.binary(max_size=9) | st.just(PADDING),
    st.lists(
        st.tuples(
            st.text(max_size=3) | st.sampled_from(BAD_NAMES).map(RawName) | st.binary(max_size=4).map(RawName),
            st.none() | st.binary(max_size=4) | st.just(b"\xff" * 130),
        ),
        max_size=3,
    ).map(tuple),
)
BATCHES = st.lists(
    st.tuples(st.lists(RAWS, min_size=1, max_size=5), st.sampled_from(CODECS), st.integers(0, 3)),
    min_size=1,
    max_size=5,
)


@given(batches=BATCHES, skipped=st.integers(0, 4), cut=st.integers(0, 60))
def test_wherever_bad_names_stand_nothing_is_lost_and_nothing_comes_twice(
    batches: Sequence[tuple[Sequence[Raw], int, int]], skipped: int, cut: int
) -> None:
    """Several batches with gaps as compaction leaves them, fetched from within the first, and one that is cut off."""

    def raw(names: Callable[[Sequence[Raw]], Sequence[Raw]]) -> bytes:
        pieces, first = [], 100
        for records, codec, gap in batches:
            pieces.append(batch(names(records), first, codec))
            first += len(records) + gap
        return b"".join((*pieces, batch([BAD], first)[:cut]))

    start = 100 + min(skipped, len(batches[0][0]) - 1)
    found = offsets(require_as_twin(raw, start=start))
    assert found == sorted(set(found))
    assert len(found) == sum(len(records) for records, _, _ in batches) - (start - 100)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_batches_of_the_old_formats_are_read_as_before(magic: int, codec: int) -> None:
    old = legacy_batch([b"a" * 99, b"b" * 99, b"c" * 99], 0, magic, codec)
    assert offsets(require_as_twin(lambda _: old + legacy_batch([b"d"], 3, magic))) == [0, 1, 2, 3]


def test_what_was_aborted_stays_unread_and_the_rest_is_read() -> None:
    def log(names: Callable[[Sequence[Raw]], Sequence[Raw]]) -> bytes:
        return b"".join(
            (
                batch(names([BAD, GOOD]), 0, producer_id=7),  # aborted
                batch(names([GOOD, BAD]), 2, producer_id=8),
                marker(4, 7, commit=False),
                batch(names([BAD]), 5, LZ4, producer_id=7),  # a new transaction of the same producer, committed
                batch(names([BAD, BAD]), 6, producer_id=9),  # aborted
                marker(8, 7, commit=True),
                marker(9, 8, commit=True),
                batch(names([GOOD, BAD]), 10),
                marker(12, 9, commit=False),
                batch(names([BAD]), 13, producer_id=9),
                marker(14, 9, commit=True),
            )
        )

    found = require_as_twin(log, aborted=[(9, 6), (7, 0)])
    assert offsets(found) == [2, 3, 5, 10, 11, 13]
    assert found[-1] == (None, 15)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_wrong_check_sum_is_an_error_as_before(broken: int) -> None:
    pieces = [bytearray(batch([GOOD, BAD], 0)), bytearray(batch([BAD], 2))]
    pieces[broken][-1] ^= 1
    with pytest.raises(CorruptRecordException, match="Invalid CRC"):
        read(b"".join(pieces), tolerant=True)


@pytest.mark.parametrize("records", [[GOOD, GOOD], [GOOD, BAD], [BAD, GOOD]])
@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_that_is_no_batch_is_an_error_as_before(records: Sequence[Raw], count: int) -> None:
    raw = bytearray(batch(records, 0))
    raw[RECORDS_COUNT_OFFSET + 3] = count
    with pytest.raises(CorruptRecordException):
        read(sealed(raw), tolerant=True)


def test_every_client_of_ours_reads_so() -> None:
    for _ in range(2):
        Connection("127.0.0.1:1", "test").arguments()
        assert fetcher.MemoryRecords is FetchedRecords
        assert fetcher.PartitionRecords is TolerantPartitionRecords
    assert TolerantPartitionRecords.__base__ is not TolerantPartitionRecords
