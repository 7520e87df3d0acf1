"""What a lane means to do with a set of its tracks: written into the commit metadata before anything is bought.

- An intent names a set: every offset from `first` to `last` that is neither done nor excluded. Gaps and what is done
  need no bytes, and a set that is worked off grows no larger.
- No track of a job that has no id yet is ever done. So whoever finds such an intent reads all of its records again
  from the watermark on, and can repeat the very same request.
- The key stands in the intent until the job's id takes its place. It is a digest of the group, the partition, what the
  request says beside its items, and the offset and content of every track: under one key there is one request, also
  where a topic was deleted and made anew, and in another installation with the same names.
- Every intent has an upper bound of bytes, its id included, which is reserved before it is written.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from worker.flow.packing import number, pack_runs, unpack_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.domain.record import Record
    from worker.flow.packing import Reader, Runs

MAX_ID_BYTES: Final = 128  # of UTF-8; a UUID takes 17 whatever this is
KEY_BYTES: Final = 16
HEAD_BYTES: Final = 7  # flags, three bytes each for the distances of both offsets
SET_BYTES: Final = 3  # the length of the excluded set
ID_BYTES: Final = MAX_ID_BYTES + 2

_KEY_FORMAT: Final = b"ti1"
_UUID_BYTES: Final = 16
_OFFSET_BYTES: Final = 8
_ITEM: Final = re.compile(r"(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,18})", re.ASCII)
_FETCH, _EXCLUDED, _BITMAP = 1, 2, 4
_FLAGS: Final = _FETCH | _EXCLUDED | _BITMAP


class Aim(IntEnum):
    """What is meant to become of the set; the number is the one in the metadata."""

    CREATE = 0  # one job of it, under `key`; it may exist already
    FETCH = _FETCH  # the results of job `job_id`


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose offsets they are."""

    group: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Intent:
    """See the module's rules. `excluded`: runs of offsets within `first` to `last`. `key`: of a job without an id."""

    first: int
    last: int
    aim: Aim
    excluded: Runs = ()
    key: bytes = b""
    job_id: str | None = None

    def covers(self, offset: int) -> bool:
        """Whether the offset is of the set, unless it is done or was never delivered."""
        if not self.first <= offset <= self.last:
            return False
        at = bisect_right(self.excluded, (offset, self.last + 1)) - 1
        return at < 0 or offset >= self.excluded[at][1]


def key_text(key: bytes) -> str:
    """Write the idempotency key as the header carries it: 35 characters, ASCII."""
    return f"ti-{key.hex()}"


def key_of(scope: Scope, records: Iterable[Record], request: bytes) -> bytes:
    """Digest a set: whose it is, and the offset and content of every track.

    `request`: whatever the request says beside its items (the job's name, the webhook's address), and whatever else
    is to tell this job from an earlier one of the same tracks.
    """
    digest = hashlib.sha256(_KEY_FORMAT)
    for part in (_bytes_of(scope.group), _bytes_of(scope.topic), request):
        digest.update(b"%d:%s" % (len(part), part))
    digest.update(b"%d:" % scope.partition)
    for record in records:
        value = record.value or b""
        digest.update(record.offset.to_bytes(_OFFSET_BYTES, "big") + b"%d:" % len(value) + value)
    return digest.digest()[:KEY_BYTES]


def item_id(partition: int, offset: int) -> str:
    """Name a track within its job so that its result leads back to it."""
    return f"{partition}-{offset}"


def offset_of(item: str, partition: int) -> int | None:
    """Read the offset back; None for what we never wrote, or wrote for another partition."""
    found = _ITEM.fullmatch(item)
    return int(found[2]) if found is not None and int(found[1]) == partition else None


def partition_of(item: str) -> int | None:
    """Read the partition: where a result has to go."""
    found = _ITEM.fullmatch(item)
    return int(found[1]) if found is not None else None


# Bytes.


def excluded_bytes(runs: int, span: int) -> int:
    """Upper bound of so many excluded runs within a set of this span."""
    return SET_BYTES + min(6 * runs, span // 8 + 1) if runs else 0


def reserved_bytes(intent: Intent) -> int:
    """Upper bound of what the intent takes, now and with the id that may come."""
    excluded = SET_BYTES + len(_packed_excluded(intent)[1]) if intent.excluded else 0
    tail = ID_BYTES if intent.aim is Aim.CREATE else len(pack_id(intent.job_id or ""))
    return HEAD_BYTES + excluded + tail


def pack(intent: Intent, watermark: int) -> bytes:
    """Write one intent. Its last offset is not below the watermark."""
    form, excluded = _packed_excluded(intent)
    flags = intent.aim | (_EXCLUDED if excluded else 0) | (_BITMAP if form else 0)
    head = bytes((flags,)) + number(intent.last - watermark) + number(intent.last - intent.first)
    packed = number(len(excluded)) + excluded if excluded else b""
    return head + packed + (intent.key if intent.aim is Aim.CREATE else pack_id(intent.job_id or ""))


def unpack(reader: Reader, watermark: int, reach: int) -> Intent:
    """Read one intent. Raises ValueError or IndexError for what `pack` did not write."""
    flags, last, span = reader.number(), watermark + reader.number(), reader.number()
    if flags & ~_FLAGS:
        raise ValueError(f"the flags {flags} of an intent")
    first = last - span
    if first < 0 or last - watermark >= reach or span >= reach:
        raise ValueError("an intent beyond what can be meant at once")
    packed = reader.take(reader.number()) if flags & _EXCLUDED else b""
    runs = unpack_runs(1 if flags & _BITMAP else 0, packed, span + 1)
    excluded = tuple((first + begin, first + end) for begin, end in runs)
    if flags & _FETCH:
        return Intent(first, last, Aim.FETCH, excluded, job_id=unpack_id(reader))
    return Intent(first, last, Aim.CREATE, excluded, key=reader.take(KEY_BYTES))


def pack_id(job_id: str) -> bytes:
    """Write an API's id: kind 0 is a UUID in 16 bytes, any other number the length of its UTF-8 and one."""
    packed = _packed_uuid(job_id)
    if packed is not None:
        return number(0) + packed
    text = _bytes_of(job_id)
    return number(len(text) + 1) + text


def unpack_id(reader: Reader) -> str:
    """Read what `pack_id` wrote."""
    kind = reader.number()
    if kind == 0:
        return str(uuid.UUID(bytes=reader.take(_UUID_BYTES)))
    return reader.take(kind - 1).decode("utf-8", "surrogatepass")


def fits_an_intent(job_id: str) -> bool:
    """Whether the id can be recorded in the space that was reserved for it."""
    return len(pack_id(job_id)) <= ID_BYTES


def _packed_excluded(intent: Intent) -> tuple[int, bytes]:
    return pack_runs(tuple((begin - intent.first, end - intent.first) for begin, end in intent.excluded))


def _packed_uuid(job_id: str) -> bytes | None:
    """16 bytes where the id is a UUID in its canonical form; only that form comes back unchanged."""
    try:
        value = uuid.UUID(job_id)
    except ValueError:
        return None
    return value.bytes if str(value) == job_id else None


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
