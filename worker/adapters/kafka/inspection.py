"""What an operator must have prepared on the brokers: topics, limits, permissions; creates topics when told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from worker.adapters.kafka.publisher import TransactionalPublisher
from worker.flow.publication import FencedError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from types import TracebackType

    from worker.adapters.kafka.connection import Connection

ASK_SECONDS = 15.0
MAX_REPLICAS = 3


class InspectionError(Exception):
    """The brokers cannot be asked. The text names the cause."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the cluster says of one topic. `max_message_bytes` is None where it may not be read."""

    partitions: int
    replicas: int
    max_message_bytes: int | None


class Inspection:
    """An admin client for the time of a check: `async with Inspection(connection) as inspection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = AIOKafkaAdminClient(**connection.arguments())

    async def __aenter__(self) -> Self:
        await _asked(self._admin.start(), "connect to KAFKA_BOOTSTRAP_SERVERS")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def topics(self, names: Sequence[str]) -> Mapping[str, TopicFacts]:
        """Those of these topics that exist and that we may see."""
        described = await _asked(self._admin.describe_topics(list(names)), "describe the topics")
        found = {topic["topic"]: topic["partitions"] for topic in described if not topic["error_code"]}
        return {name: await self._facts(name, partitions) for name, partitions in found.items()}

    async def _facts(self, name: str, partitions: Sequence[Mapping[str, Any]]) -> TopicFacts:
        replicas = min((len(partition["replicas"]) for partition in partitions), default=0)
        return TopicFacts(len(partitions), replicas, await self._max_message_bytes(name))

    async def _max_message_bytes(self, name: str) -> int | None:
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None})
        try:
            async with asyncio.timeout(ASK_SECONDS):
                responses = await self._admin.describe_configs([resource])
        except (KafkaError, TimeoutError, OSError):
            return None
        for response in responses:
            for code, _, _, _, entries in response.resources:
                values = {entry[0]: entry[1] for entry in entries}
                if not code and "max.message.bytes" in values:
                    return int(values["max.message.bytes"])
        return None

    async def create(self, name: str, partitions: int, max_message_bytes: int | None) -> bool:
        """Create one topic with as many replicas as the cluster has brokers, three at most; False if it exists.

        The brokers' word counts, not an earlier description: a topic made a moment ago may not be described yet.
        """
        configs = {"max.message.bytes": str(max_message_bytes)} if max_message_bytes else {}
        cluster = await _asked(self._admin.describe_cluster(), "describe the cluster")
        topic = NewTopic(name, partitions, min(MAX_REPLICAS, len(cluster["brokers"])), topic_configs=configs)
        response = await _asked(self._admin.create_topics([topic]), f"create the topic {name}")
        code = response.topic_errors[0][1]
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise InspectionError(f"cannot create the topic {name}: {for_code(code).__name__}")
        return not code

    async def group_readable(self, group_id: str, topic: str) -> None:
        """Read the group's offsets. Raises InspectionError."""
        asked = self._admin.list_consumer_group_offsets(group_id, partitions=[TopicPartition(topic, 0)])
        await _asked(asked, f"read the offsets of the group {group_id}")

    async def transactions(self, group_id: str, topic: str, seconds: float) -> None:
        """Start a transactional producer under an id that no lane uses. Raises InspectionError."""
        publisher = TransactionalPublisher(
            self._connection,
            group_id=group_id,
            topic=f"{topic}-check",
            partition=0,
            transaction_timeout_seconds=seconds,
        )
        try:
            await publisher.start()
        except (PublishFailedError, FencedError) as exc:
            raise InspectionError(f"cannot start a transactional producer: {exc}") from exc
        finally:
            await publisher.close()


async def _asked(question: Awaitable[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question
    # AttributeError: aiokafka 0.14 reads a partition's error from the wrong object
    except (KafkaError, TimeoutError, OSError, AttributeError) as exc:
        raise InspectionError(f"cannot {what}: {type(exc).__name__}") from exc
