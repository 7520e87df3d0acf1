"""Reading bounded ranges of topics, and publishing replays exactly once.

A replay is one transaction: the events on the input topic and the ledger's entries. Its transactional id is fixed, so
starting a second replay fences the first, whose open transaction is aborted; the ledger is read only after that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from worker.adapters.kafka import diagnosis
from worker.adapters.kafka.publisher import BoundedProducer
from worker.adapters.kafka.records import record_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
    from types import TracebackType

    from worker.adapters.kafka.connection import Connection
    from worker.domain.record import Message, Record

ASK_SECONDS = 15.0
STOP_SECONDS = 5.0
FETCH_MILLISECONDS = 500
SILENT_FETCHES = 60  # in a row without a record or a step forward: half a minute
RECORDS_AT_ONCE = 100
FETCH_BYTES = 1 << 20
MAX_REPLICAS = 3
COMPACT = "compact"


class ReplayBrokerError(Exception):
    """The brokers did not do what a replay needs. The text says what, and how to mend it where that is known."""


class TopicReader:
    """A consumer outside any group that reads what is committed: `async with TopicReader(connection) as reader`."""

    def __init__(self, connection: Connection) -> None:
        self._consumer = AIOKafkaConsumer(
            **connection.arguments(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # what was deleted since we asked for the bounds is passed over
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
        )

    async def __aenter__(self) -> Self:
        try:
            await _asked(self._consumer.start(), "connect to KAFKA_BOOTSTRAP_SERVERS")
        except ReplayBrokerError:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Disconnect, within a bound."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._consumer.stop()
        except (KafkaError, TimeoutError, OSError):
            return  # the broker is away: its side ends by itself

    async def bounds(self, topic: str, partitions: int) -> Mapping[int, range]:
        """Offsets that can be read now, by partition: from the oldest kept to the end of what is committed."""
        inputs = [TopicPartition(topic, partition) for partition in range(partitions)]
        what = f"read the offsets of {topic}: is READ on it granted?"
        first = await _asked(self._consumer.beginning_offsets(inputs), what)
        last = await _asked(self._consumer.end_offsets(inputs), what)
        return {tp.partition: range(first[tp], last[tp]) for tp in inputs}

    async def first_since(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """The lowest offset whose record is not older, or None."""
        tp = TopicPartition(topic, partition)
        found = await _asked(self._consumer.offsets_for_times({tp: timestamp_ms}), f"search {topic} by time")
        return None if found[tp] is None else int(found[tp].offset)

    async def records(self, topic: str, partition: int, span: range) -> AsyncIterator[Record]:
        """Records of the range that still exist, in order. One range at a time for each reader."""
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, span.start)
        silent, position = 0, span.start
        while position < span.stop:
            batch = await self._fetched(tp)
            for message in batch:
                if message.offset >= span.stop:
                    return
                yield record_of(message)
            reached = await self._consumer.position(tp)
            silent = 0 if batch or reached > position else silent + 1
            position = reached
            if silent > SILENT_FETCHES:
                raise ReplayBrokerError(f"{topic}/{partition} gives nothing at offset {position}: are its brokers up?")

    async def _fetched(self, tp: TopicPartition) -> Sequence[Any]:
        try:
            found = await self._consumer.getmany(tp, timeout_ms=FETCH_MILLISECONDS, max_records=RECORDS_AT_ONCE)
        except (KafkaError, OSError) as exc:
            raise ReplayBrokerError(f"cannot read {tp.topic}/{tp.partition}: {type(exc).__name__}") from exc
        batch: Sequence[Any] = found.get(tp, ())
        return batch


class ReplayTopics:
    """Which topics there are, and the ledger's own: `async with ReplayTopics(connection) as topics`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = AIOKafkaAdminClient(**connection.arguments())

    async def __aenter__(self) -> Self:
        try:
            await _asked(self._admin.start(), "connect to KAFKA_BOOTSTRAP_SERVERS")
        except ReplayBrokerError as exc:
            await self._admin.close()
            found = await diagnosis.cause(self._connection)
            raise ReplayBrokerError(f"{exc}: {found.fact}. {found.mend}") from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def partitions(self, topic: str) -> int | None:
        """How many it has; None where it does not exist or may not be seen. Asking for it by name might create it."""
        if topic not in await _asked(self._admin.list_topics(), "list the topics"):
            return None
        [described] = await _asked(self._admin.describe_topics([topic]), f"describe {topic}")
        return len(described["partitions"])

    async def require(self, topic: str, setting: str) -> int:
        """How many partitions it has. Raises ReplayBrokerError where there is none."""
        if (found := await self.partitions(topic)) is None:
            raise ReplayBrokerError(
                f"there is no topic {topic}: check {setting}, or grant DESCRIBE on it (`track-intake check` tells more)"
            )
        return found

    async def prepare_ledger(self, topic: str) -> None:
        """Create the ledger's topic where it is missing; refuse one that would forget."""
        if await self.partitions(topic) is None:
            await self._create(topic)
            return
        policy = await self._cleanup_policy(topic)
        if policy not in {None, COMPACT}:
            raise ReplayBrokerError(
                f"{topic} has cleanup.policy={policy}, so it would forget what was replayed: "
                f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy={COMPACT}"
            )

    async def _create(self, topic: str) -> None:
        cluster = await _asked(self._admin.describe_cluster(), "describe the cluster")
        wanted = NewTopic(
            topic, 1, min(MAX_REPLICAS, len(cluster["brokers"])), topic_configs={"cleanup.policy": COMPACT}
        )
        response = await _asked(self._admin.create_topics([wanted]), f"create {topic}")
        for error in response.topic_errors:
            if error[1] not in {0, TopicAlreadyExistsError.errno}:
                raise ReplayBrokerError(
                    f"cannot create {topic}, which remembers what was replayed: {for_code(error[1]).__name__}. Grant "
                    f"CREATE on it, or: kafka-topics.sh --create --topic {topic} --partitions 1 "
                    f"--config cleanup.policy={COMPACT}"
                )

    async def _cleanup_policy(self, topic: str) -> str | None:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": None})
        try:
            async with asyncio.timeout(ASK_SECONDS):
                responses = await self._admin.describe_configs([resource])
        except (KafkaError, TimeoutError, OSError):
            return None  # may not be asked: the operator's word that it is compacted
        values = {entry[0]: str(entry[1]) for reply in responses for found in reply.resources for entry in found[4]}
        return values.get("cleanup.policy")


class ReplayPublisher(BoundedProducer):
    """The one writer of replays from a topic; `start` fences every other."""

    def __init__(self, connection: Connection, *, transactional_id: str, transaction_timeout_seconds: float) -> None:
        super().__init__(
            connection,
            transaction_timeout_seconds,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(transaction_timeout_seconds * 1000),
        )

    async def publish(self, messages: Sequence[tuple[Message, int | None]]) -> None:
        """Publish each to its partition (None: the key chooses), all or none. Raises as every publisher does."""
        await self._bounded(self._publish(messages))

    async def _publish(self, messages: Sequence[tuple[Message, int | None]]) -> None:
        await self._producer.begin_transaction()
        self._in_transaction = True
        acks = [
            await self._producer.send(message.topic, message.value, message.key, partition, headers=[*message.headers])
            for message, partition in messages
        ]
        for ack in acks:
            await ack
        await self._producer.commit_transaction()
        self._in_transaction = False


async def _asked(question: Awaitable[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question
    except (KafkaError, TimeoutError, OSError) as exc:
        raise ReplayBrokerError(f"cannot {what} ({type(exc).__name__})") from exc
