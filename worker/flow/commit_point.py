"""The commit point of a partition and its text form, the offset metadata of the consumer group.

Rules that this module alone decides:

- The offset committed is the lowest offset that is not done. The metadata carries what lies above it and must
  outlive a crash: the offsets already done, and the jobs already paid for whose results are not yet decided.
- The done set is part of the guarantee: it is always written, whole. The jobs only save money: they are written
  while there is space, lowest offset first.
- The text never exceeds `METADATA_LIMIT`: brokers refuse 4,096 bytes, and aiokafka's producer does not survive that.
  The ledger's window (`WINDOW`) bounds the done set so that it always fits.
- A text of another version is refused, never skipped: reading past it would decide tracks twice. A text that is not
  ours (another consumer used the group) means that nothing above the offset is done.

- A text that was damaged, cut, or moved to another offset (as tools that mirror groups do) is refused: one wrong bit in
  the done set would lose a track.

Layout, version 1: `ti1:` and the base85 form of: CRC-32 of the watermark and of what follows; form of the done set (0
runs, 1 bitmap), length, bytes; then per job the distance of its offset, the kind of its id (0 UUID in 16 bytes, else
length + 1 and UTF-8). Numbers are LEB128.
"""

from __future__ import annotations

import base64
import uuid
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

METADATA_LIMIT = 4000  # characters; brokers refuse more than 4,096 bytes (offset.metadata.max.bytes)
BUDGET_BYTES = METADATA_LIMIT * 4 // 5 - 8  # base85 writes 4 bytes as 5 characters; 8 for the prefix and the checksum
WINDOW = 16_384  # offsets above the watermark: a bitmap of 2,048 bytes at most

_MARK = "ti"
_PREFIX = "ti1:"
_RUNS, _BITMAP = 0, 1
_UUID_BYTES = 16
_SUM_BYTES = 4
_REACH = BUDGET_BYTES * 8  # offsets that the largest bitmap could speak of
_SEVEN_BITS, _MORE = 0x7F, 0x80


class MetadataError(Exception):
    """The committed metadata is ours but cannot be read; going on would repeat decisions."""


@dataclass(frozen=True, slots=True)
class CommitPoint:
    """`watermark`: next offset to read. `done`: offsets >= watermark already published. `jobs`: offset -> job id."""

    watermark: int
    done: frozenset[int] = frozenset()
    jobs: Mapping[int, str] = field(default_factory=dict)


def encode(point: CommitPoint) -> str:
    """Write the metadata. Jobs beyond the space are left out, highest offsets first."""
    done = _encode_done(sorted(offset - point.watermark for offset in point.done))
    if not done and not point.jobs:
        return ""
    body = bytearray(done or bytes((_RUNS, 0)))
    position = point.watermark
    for offset in sorted(point.jobs):
        job = _encode_job(offset - position, point.jobs[offset])
        if len(body) + len(job) > BUDGET_BYTES:
            break
        body += job
        position = offset
    return _PREFIX + base64.b85encode(_checksum(point.watermark, body) + body).decode("ascii")


def decode(watermark: int, metadata: str) -> CommitPoint:
    """Read what `encode` wrote. Raises MetadataError for a text of ours that cannot be understood."""
    if not metadata.startswith(_MARK):
        return CommitPoint(watermark)
    if not metadata.startswith(_PREFIX):
        raise MetadataError(
            f"the group's offset metadata has the version {metadata[:4]!r}, this worker reads {_PREFIX!r}: "
            "run the version that wrote it, or a newer one"
        )
    try:
        return _decode_body(watermark, base64.b85decode(metadata[len(_PREFIX) :]))
    except (ValueError, IndexError) as exc:
        raise MetadataError(f"the group's offset metadata at offset {watermark} is damaged: {exc}") from exc


def job_bytes(job_id: str) -> int:
    """Upper bound of what one job takes of BUDGET_BYTES."""
    return len(_encode_job(WINDOW, job_id))


def done_bytes(count: int, span: int) -> int:
    """Upper bound of what `count` done offsets within `span` offsets take of BUDGET_BYTES."""
    return 4 + min(6 * count, span // 8 + 1)


def _encode_done(distances: list[int]) -> bytes:
    if not distances:
        return b""
    runs, bitmap = _as_runs(distances), _as_bitmap(distances)
    form, data = (_RUNS, runs) if len(runs) < len(bitmap) else (_BITMAP, bitmap)
    return bytes((form, *_number(len(data)))) + data


def _as_runs(distances: list[int]) -> bytes:
    """Write pairs of (gap before the run, its length)."""
    breaks = [0, *(i for i, (a, b) in enumerate(pairwise(distances), 1) if b != a + 1), len(distances)]
    out, end = bytearray(), 0
    for first, last in pairwise(breaks):
        out += _number(distances[first] - end) + _number(last - first)
        end = distances[last - 1] + 1
    return bytes(out)


def _as_bitmap(distances: list[int]) -> bytes:
    bits = bytearray(distances[-1] // 8 + 1)
    for distance in distances:
        bits[distance >> 3] |= 1 << (distance & 7)
    return bytes(bits)


def _encode_job(distance: int, job_id: str) -> bytes:
    packed = _packed_uuid(job_id)
    if packed is not None:
        return _number(distance) + _number(0) + packed
    text = job_id.encode("utf-8", "surrogatepass")
    return _number(distance) + _number(len(text) + 1) + text


def _packed_uuid(job_id: str) -> bytes | None:
    """16 bytes where the id is a UUID in its canonical form; only that form comes back unchanged."""
    try:
        value = uuid.UUID(job_id)
    except ValueError:
        return None
    return value.bytes if str(value) == job_id else None


def _number(value: int) -> bytes:
    out = bytearray()
    while value > _SEVEN_BITS:
        out.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Reads numbers and bytes off the front; raises IndexError past the end."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & _SEVEN_BITS) << shift
            if byte < _MORE:
                return value
            shift += 7

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise IndexError("truncated")
        self.at += length
        return self.data[self.at - length : self.at]

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


def _checksum(watermark: int, body: bytes | bytearray) -> bytes:
    return zlib.crc32(body, zlib.crc32(b"%d" % watermark)).to_bytes(_SUM_BYTES, "big")


def _decode_body(watermark: int, raw: bytes) -> CommitPoint:
    body = raw[_SUM_BYTES:]
    if raw[:_SUM_BYTES] != _checksum(watermark, body):
        raise ValueError("its checksum is wrong")
    reader = _Reader(body)
    form = reader.number()
    data = reader.take(reader.number())
    if form not in (_RUNS, _BITMAP):
        raise ValueError(f"form {form} of the done set")
    distances = _from_runs(data) if form == _RUNS else _from_bitmap(data)
    jobs, position = {}, watermark
    while reader.more:
        position += reader.number()
        kind = reader.number()
        jobs[position] = _decode_job(reader, kind)
    return CommitPoint(watermark, frozenset(watermark + distance for distance in distances), jobs)


def _decode_job(reader: _Reader, kind: int) -> str:
    if kind == 0:
        return str(uuid.UUID(bytes=reader.take(_UUID_BYTES)))
    return reader.take(kind - 1).decode("utf-8", "surrogatepass")


def _from_runs(data: bytes) -> list[int]:
    reader, end, out = _Reader(data), 0, list[int]()
    while reader.more:
        first = end + reader.number()
        end = first + reader.number()
        if end > _REACH:
            raise ValueError("a run beyond what can be done at once")
        out.extend(range(first, end))
    return out


def _from_bitmap(data: bytes) -> list[int]:
    return [index * 8 + bit for index, byte in enumerate(data) for bit in range(8) if byte >> bit & 1]
