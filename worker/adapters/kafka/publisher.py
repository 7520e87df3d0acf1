"""The writers of one lane: transactional (exactly once), or idempotent with a commit after the acks (at least once).

A failure of any kind ends a publisher: after a failed send aiokafka would commit the transaction without the record,
and its sequence numbers have moved. `close` abandons what does not end in time: `stop` flushes, and waits for ever for
a broker that is away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata

from worker.adapters.kafka import cancellation
from worker.flow.publication import FencedError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from worker.adapters.kafka.connection import Connection
    from worker.domain.record import Message
    from worker.flow.publication import Committed

# Decisions can carry a megabyte of echoed metadata; the broker's own limit is what `topics` sets and `check` reads.
MAX_REQUEST_BYTES = 8 << 20
MAX_BATCH_BYTES = 256 << 10  # aiokafka's 16 kB holds not one decision with a risk series
CLOSE_SECONDS = 3.0

# What aiokafka raises for a producer that was replaced, or whose transaction timed out: the lane asks which.
_FENCED = (ProducerFenced, InvalidProducerEpoch, CommitFailedError)
# AssertionError: aiokafka's transaction state machine, after a fence it has reported once.
_FAILED = (KafkaError, IllegalOperation, AssertionError, TimeoutError, OSError)


class BoundedProducer:
    """One AIOKafkaProducer with bounded calls and our errors."""

    def __init__(self, connection: Connection, seconds: float, **options: Any) -> None:
        self._producer = AIOKafkaProducer(
            **connection.arguments(),
            acks="all",
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            **options,
        )
        self._seconds = seconds
        self._in_transaction = False

    async def start(self) -> None:
        """Connect; a transactional producer fences and settles its predecessor here."""
        await self._bounded(self._producer.start())

    async def _bounded(self, step: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await step
        except _FENCED as exc:
            raise FencedError(_name(exc)) from exc
        except _FAILED as exc:
            raise PublishFailedError(_name(exc)) from exc
        except asyncio.CancelledError as exc:
            if cancellation.is_ours():
                raise
            raise PublishFailedError("cancelled within aiokafka") from exc

    async def _send(self, messages: Sequence[Message]) -> None:
        """Send all and wait for every ack: a send that fails does not fail the transaction by itself."""
        acks = [
            await self._producer.send(message.topic, message.value, message.key, headers=list(message.headers))
            for message in messages
        ]
        for ack in acks:
            await ack

    async def close(self) -> None:
        """Abort what is open and stop, within a bound; then abandon."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._in_transaction:
                    await self._producer.abort_transaction()
                await self._producer.stop()
        except (*_FENCED, *_FAILED):
            await self._abandon()
        except asyncio.CancelledError:
            await self._abandon()
            if cancellation.is_ours():
                raise

    async def _abandon(self) -> None:
        # aiokafka offers no close that neither flushes nor waits: end its sender, then its connections.
        # Said first: only a completed stop() says it, and what is collected without it is reported as a leak of ours.
        self._producer._closed = True  # noqa: SLF001 - see above
        sender = self._producer._sender  # noqa: SLF001 - see above
        for close in (sender.close if sender is not None else None, self._producer.client.close):
            if close is not None:
                await self._end(close)

    async def _end(self, close: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await close()
        except _FAILED:
            return  # nothing is left to end: the object is dropped, its sockets close with it
        except asyncio.CancelledError:
            if cancellation.is_ours():
                raise


class TransactionalPublisher(BoundedProducer):
    """Exactly once. The fixed id per input partition is what fences a zombie."""

    def __init__(
        self, connection: Connection, *, group_id: str, topic: str, partition: int, transaction_timeout_seconds: float
    ) -> None:
        super().__init__(
            connection,
            transaction_timeout_seconds,
            transactional_id=f"{group_id}-{topic}-{partition}",
            transaction_timeout_ms=round(transaction_timeout_seconds * 1000),
        )
        self._group_id = group_id
        self._input = TopicPartition(topic, partition)

    async def publish(self, messages: Sequence[Message], commit: Committed) -> None:
        """Publish and commit in one transaction; opened only with everything in hand."""
        await self._bounded(self._publish(messages, commit))

    async def _publish(self, messages: Sequence[Message], commit: Committed) -> None:
        await self._producer.begin_transaction()
        self._in_transaction = True
        await self._send(messages)
        offsets = {self._input: OffsetAndMetadata(commit.offset, commit.metadata)}
        await self._producer.send_offsets_to_transaction(offsets, self._group_id)
        await self._producer.commit_transaction()
        self._in_transaction = False


class IdempotentPublisher(BoundedProducer):
    """At least once: the commit follows the acks, so a crash in between repeats what was published."""

    def __init__(
        self,
        connection: Connection,
        *,
        topic: str,
        partition: int,
        timeout_seconds: float,
        commit: Callable[[Mapping[TopicPartition, OffsetAndMetadata]], Awaitable[None]],
    ) -> None:
        super().__init__(connection, timeout_seconds)
        self._input = TopicPartition(topic, partition)
        self._commit = commit

    async def publish(self, messages: Sequence[Message], commit: Committed) -> None:
        """Publish, then commit."""
        await self._bounded(self._publish(messages, commit))

    async def _publish(self, messages: Sequence[Message], commit: Committed) -> None:
        await self._send(messages)
        await self._commit({self._input: OffsetAndMetadata(commit.offset, commit.metadata)})


def _name(exc: BaseException) -> str:
    """The error's name, and what to do where the operator can do something; never its text, which may quote records."""
    if isinstance(exc, MessageSizeTooLargeError):
        return f"{type(exc).__name__}: raise max.message.bytes of the decision and dead-letter topics"
    if isinstance(exc, KafkaError) and type(exc) is KafkaError:
        return f"KafkaError: {str(exc)[:200]}"
    return type(exc).__name__
