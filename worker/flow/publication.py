"""The commit point as Kafka keeps it, and how a publication can fail: what the pipeline and the Kafka adapter share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Committed:
    """A partition's commit point: the next offset to read, and the metadata that goes with it."""

    offset: int
    metadata: str = ""


class PublishFailedError(Exception):
    """The outcome is unknown or the publication failed; this publisher is done for. Settle with a new one."""


class NoSuchPartitionError(Exception):
    """The topic has no such partition: asking again helps only when somebody has added it."""


class FencedError(Exception):
    """Another producer has taken the partition's place: another owner, or the broker after a transaction time-out."""


class SourceFailedError(Exception):
    """Kafka did not answer a question about the group; asking again may help."""
