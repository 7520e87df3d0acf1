"""What becomes of a record that is no event: its own bytes, key and headers, and why and whence it came.

- Six headers are ours. A record that already has them is a dead letter that was replayed and failed again: they
  are replaced. Every other header stays as it is, in its order, repeated names and null values included.
- The payload is never interpreted here, and the reason quotes none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.domain.decision import rfc3339
from worker.domain.record import Message

if TYPE_CHECKING:
    from datetime import datetime

    from worker.domain.record import Record
    from worker.domain.submission import Unreadable

ERROR = "dlq_error"
PATH = "dlq_path"
TOPIC = "dlq_topic"
PARTITION = "dlq_partition"
OFFSET = "dlq_offset"
TIME = "dlq_time"
OWN_HEADERS = frozenset({ERROR, PATH, TOPIC, PARTITION, OFFSET, TIME})


def dead_letter(record: Record, problem: Unreadable, *, topic: str, at: datetime) -> Message:
    """Make the dead letter. `at` is aware and becomes `dlq_time`, RFC 3339 in UTC."""
    kept = tuple(header for header in record.headers if header[0] not in OWN_HEADERS)
    why = (
        (ERROR, problem.code.encode()),
        (PATH, problem.path.encode()),
        (TOPIC, record.topic.encode()),
        (PARTITION, b"%d" % record.partition),
        (OFFSET, b"%d" % record.offset),
        (TIME, rfc3339(at).encode()),
    )
    return Message(topic, record.key, _value(record), kept + why)


def _value(record: Record) -> bytes | None:
    """Kafka clients refuse to send neither key nor value: that null becomes empty, `dlq_error` still tells it."""
    return b"" if record.value is None and record.key is None else record.value
