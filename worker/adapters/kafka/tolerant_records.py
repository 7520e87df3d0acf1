"""Records whose header names are not UTF-8: what makes aiokafka fail is read again, with what is no text replaced.

Kafka calls a header's name a string, but brokers do not look, and some producers (librdkafka's) send any bytes.
aiokafka decodes names strictly, so one such record would end every process that comes to its offset. Here the batch
that holds it is read once more from the bytes as they were fetched, with U+FFFD for what is no UTF-8, as the Java
client does from the start. Nothing else of a record is decoded, and a batch that can be read costs nothing more.

The second reading goes through aiokafka's own loop over batches and its parser in Python: check sums, compression,
aborted transactions, markers and offsets that were delivered already are treated as ever. Batches of the old formats
have no headers, and aiokafka takes everything that one fetch gave for one format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = _DefaultRecordBatchPy.HEADER_STRUCT


class FetchedRecords(MemoryRecords):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's reader, which still has what it reads."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


class _LenientBytes(bytearray):
    """Slices of it decode to text, whatever they are."""

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        return _LenientBytes(found) if isinstance(where, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # aiokafka ships no types
    """A batch in whose records any bytes are a name."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _OneBatch:
    """What `PartitionRecords` asks of a reader, over a single batch."""

    def __init__(self, batch: LenientBatch) -> None:
        self._batches = [batch]

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> LenientBatch:
        return self._batches.pop()


class TolerantPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's iterator over what was fetched of one partition, without its fault."""

    _records: Any
    _records_iterator: Any

    def __next__(self) -> Any:
        """As aiokafka's own, which is not called because that would cost every record some time."""
        try:
            return next(self._records_iterator)
        except UnicodeDecodeError:
            self._records_iterator = self._with_the_batch_again()
            return next(self)

    def _with_the_batch_again(self) -> Iterator[Any]:
        """Continue with the record that could not be read; `_unpack_records` passes over those before it."""
        behind = self._records
        self._records = _OneBatch(LenientBatch(_batch_around(behind.raw, self.next_fetch_offset)))
        yield from self._unpack_records()
        self._records = behind
        yield from self._unpack_records()


def _batch_around(raw: bytes, offset: int) -> bytes:
    """Cut out the first batch that ends at this offset or behind it."""
    start = 0
    while True:
        base_offset, length, _, _, _, _, last_offset_delta, *_ = _HEADER.unpack_from(raw, start)
        stop = start + LenientBatch.AFTER_LEN_OFFSET + length
        if base_offset + last_offset_delta >= offset:
            return raw[start:stop]
        start = stop


def install() -> None:
    """Do so for every consumer of this process; harmless when done already."""
    fetcher.MemoryRecords = FetchedRecords
    fetcher.PartitionRecords = TolerantPartitionRecords
