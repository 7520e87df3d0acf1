"""aiokafka's record as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.domain.record import Record

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


def record_of(message: ConsumerRecord) -> Record:
    """Take over what the worker looks at."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value,
        tuple(message.headers),
    )
