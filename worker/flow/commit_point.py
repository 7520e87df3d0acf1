"""The commit point of a partition and its text form, the offset metadata of the consumer group.

Rules that this module alone decides:

- The offset committed is the lowest offset that is not done. The metadata carries what lies above it and must
  outlive a crash: the offsets already done, and the jobs already paid for whose results are not yet decided.
- The done set is part of the guarantee: it is always written, whole, and so are the intents of jobs of many tracks
  (`job_intent`): without them a set of tracks would be bought twice. The jobs of single tracks only save money: they
  are written while there is space, lowest offset first.
- The text never exceeds `METADATA_LIMIT`: brokers refuse 4,096 bytes, and aiokafka's producer does not survive that.
  The ledger's window (`WINDOW`) bounds the done set so that it always fits, and `INTENT_SPACE` is what that leaves.
- A text of another version is refused, never skipped: reading past it would decide tracks twice. A text that is not
  ours (another consumer used the group) means that nothing above the offset is done.

- A text that was damaged, cut, or moved to another offset (as tools that mirror groups do) is refused: one wrong bit in
  the done set would lose a track.

Layout, version 1: `ti1:` and the base85 form of: CRC-32 of the watermark and of what follows; form of the done set (0
runs, 1 bitmap), length, bytes; then per job the distance of its offset, the kind of its id (0 UUID in 16 bytes, else
length + 1 and UTF-8). Numbers are LEB128. Version 2, `ti2:`, has the number of intents and the intents before the jobs,
and the checksum is of the mark, too; it is written only where there are any, so that whoever has none can go back to a
worker that reads version 1.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.flow import job_intent
from worker.flow.packing import Reader, number, offsets_of, pack_runs, runs_of, unpack_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.flow.job_intent import Intent

METADATA_LIMIT = 4000  # characters; brokers refuse more than 4,096 bytes (offset.metadata.max.bytes)
BUDGET_BYTES = METADATA_LIMIT * 4 // 5 - 8  # base85 writes 4 bytes as 5 characters; 8 for the prefix and the checksum
WINDOW = 16_384  # offsets above the watermark: a bitmap of 2,048 bytes at most

_MARK = "ti"
_PREFIX, _PREFIX_2 = "ti1:", "ti2:"
_SUM_BYTES = 4
_REACH = BUDGET_BYTES * 8  # offsets that the largest bitmap could speak of


class MetadataError(Exception):
    """The committed metadata is ours but cannot be read; going on would repeat decisions."""


@dataclass(frozen=True, slots=True)
class CommitPoint:
    """`watermark`: next offset to read. `done`: offsets >= watermark already published. `jobs`: offset -> job id.

    `intents`: what is meant to become of sets of tracks, each in one job; bounded by INTENT_SPACE.
    """

    watermark: int
    done: frozenset[int] = frozenset()
    jobs: Mapping[int, str] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()


def encode(point: CommitPoint) -> str:
    """Write the metadata. Jobs beyond the space are left out, highest offsets first; intents where all is done, too."""
    intents = [intent for intent in point.intents if intent.last >= point.watermark]
    if not point.done and not point.jobs and not intents:
        return ""
    body = bytearray(_encode_done(sorted(offset - point.watermark for offset in point.done)))
    if intents:
        body += number(len(intents))
        for intent in intents:
            body += job_intent.pack(intent, point.watermark)
    position = point.watermark
    for offset in sorted(point.jobs):
        job = _encode_job(offset - position, point.jobs[offset])
        if len(body) + len(job) > BUDGET_BYTES:
            break
        body += job
        position = offset
    prefix = _PREFIX_2 if intents else _PREFIX
    return prefix + base64.b85encode(_checksum(prefix, point.watermark, body) + body).decode("ascii")


def decode(watermark: int, metadata: str) -> CommitPoint:
    """Read what `encode` wrote. Raises MetadataError for a text of ours that cannot be understood."""
    if not metadata.startswith(_MARK):
        return CommitPoint(watermark)
    prefix, text = metadata[: len(_PREFIX)], metadata[len(_PREFIX) :]
    if prefix not in (_PREFIX, _PREFIX_2):
        raise MetadataError(
            f"the group's offset metadata has the version {prefix!r}, this worker reads {_PREFIX!r} and {_PREFIX_2!r}: "
            "run the version that wrote it, or a newer one"
        )
    try:
        return _decode_body(prefix, watermark, base64.b85decode(text))
    except (ValueError, IndexError) as exc:
        raise MetadataError(f"the group's offset metadata at offset {watermark} is damaged: {exc}") from exc


def job_bytes(job_id: str) -> int:
    """Upper bound of what one job takes of BUDGET_BYTES."""
    return len(_encode_job(WINDOW, job_id))


def done_bytes(count: int, span: int) -> int:
    """Upper bound of what `count` done offsets within `span` offsets take of BUDGET_BYTES."""
    return 4 + min(6 * count, span // 8 + 1)


# Reserved bytes of all intents: what the largest done set and the intents' number leave.
INTENT_SPACE = BUDGET_BYTES - done_bytes(WINDOW, WINDOW) - 2


def _encode_done(distances: list[int]) -> bytes:
    form, data = pack_runs(runs_of(distances), distances)
    return bytes((form, *number(len(data)))) + data


def _encode_job(distance: int, job_id: str) -> bytes:
    return number(distance) + job_intent.pack_id(job_id)


def _checksum(prefix: str, watermark: int, body: bytes | bytearray) -> bytes:
    version = b"" if prefix == _PREFIX else prefix.encode()  # version 1 did not foresee another
    return zlib.crc32(body, zlib.crc32(b"%d%s" % (watermark, version))).to_bytes(_SUM_BYTES, "big")


def _decode_body(prefix: str, watermark: int, raw: bytes) -> CommitPoint:
    body = raw[_SUM_BYTES:]
    if raw[:_SUM_BYTES] != _checksum(prefix, watermark, body):
        raise ValueError("its checksum is wrong")
    reader = Reader(body)
    form = reader.number()
    done = unpack_runs(form, reader.take(reader.number()), _REACH)
    count = reader.number() if prefix == _PREFIX_2 else 0
    intents = tuple(job_intent.unpack(reader, watermark, _REACH) for _ in range(count))
    jobs, position = {}, watermark
    while reader.more:
        position += reader.number()
        jobs[position] = job_intent.unpack_id(reader)
    return CommitPoint(watermark, frozenset(watermark + at for at in offsets_of(done)), jobs, intents)
