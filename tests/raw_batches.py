"""Batches of Kafka records, byte by byte, with header names that no client of ours would send."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.domain.record import Headers

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
MAX_BATCH_BYTES = 1 << 24
_MAGIC = 2
_CRC, _ATTRIBUTES = _DefaultRecordBatchBuilderPy.CRC_OFFSET, _DefaultRecordBatchBuilderPy.ATTRIBUTES_OFFSET
_FIRST_TIMESTAMP = 1_760_000_000_000


class RawName(str):
    """A header's name that is these bytes on the wire, and reads as a tolerant client reads them."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        name = super().__new__(cls, raw.decode("utf-8", "replace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - str's signature
        return self.raw


@dataclass(frozen=True, slots=True)
class Raw:
    """One record to put into a batch. Its key and time follow from its place."""

    value: bytes | None
    headers: Headers = ()


def builder(compression: int = NONE, *, producer_id: int | None = None) -> _DefaultRecordBatchBuilderPy:
    """The builder in Python: aiokafka's own in C takes no name but a plain str. A producer id: in a transaction."""
    transactional = producer_id is not None
    producer = (producer_id if transactional else -1, 0, 0)
    return _DefaultRecordBatchBuilderPy(_MAGIC, compression, int(transactional), *producer, MAX_BATCH_BYTES)


def batch(records: Sequence[Raw], first: int, compression: int = NONE, *, producer_id: int | None = None) -> bytes:
    """A whole batch as a broker keeps it, its first record at this offset."""
    made = builder(compression, producer_id=producer_id)
    for place, record in enumerate(records):
        key, timestamp = b"key-%d" % (first + place), _FIRST_TIMESTAMP + place
        assert made.append(place, timestamp, key, record.value, list(record.headers)) is not None
    raw: bytearray = made.build()
    struct.pack_into(">q", raw, 0, first)  # the check sum leaves the offset out: brokers set it
    return bytes(raw)


def marker(first: int, producer_id: int, *, commit: bool) -> bytes:
    """The broker's word on a transaction: a control batch of one record."""
    made = builder(producer_id=producer_id)
    made.append(0, _FIRST_TIMESTAMP, struct.pack(">hh", 0, int(commit)), b"\x00" * 6, [])
    raw = made.build()
    raw[_ATTRIBUTES + 1] |= made.CONTROL_MASK
    struct.pack_into(">q", raw, 0, first)
    return sealed(raw)


def sealed(raw: bytearray) -> bytes:
    """The batch with the check sum of what it is now."""
    struct.pack_into(">I", raw, _CRC, calc_crc32c(bytes(raw[_ATTRIBUTES:])))
    return bytes(raw)


def legacy_batch(values: Sequence[bytes], first: int, magic: int, compression: int = NONE) -> bytes:
    """Records of the formats before headers, as a log that was never rewritten has them."""
    made = LegacyRecordBatchBuilder(magic, compression, MAX_BATCH_BYTES)
    for place, value in enumerate(values):
        made.append(first + place, _FIRST_TIMESTAMP + place, b"key", value)
    raw: bytearray = made.build()
    if compression:
        struct.pack_into(">q", raw, 0, first + len(values) - 1)
    return bytes(raw)
