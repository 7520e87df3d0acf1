"""What an operator must have prepared on the brokers: topics, limits, permissions; creates topics when told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TransactionalIdAuthorizationFailed, for_code

from worker.adapters.kafka import diagnosis
from worker.adapters.kafka.publisher import TransactionalPublisher
from worker.adapters.kafka.rights import Right, Rights
from worker.flow.publication import FencedError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from types import TracebackType

    from worker.adapters.kafka.connection import Connection

ASK_SECONDS = 15.0
MAX_REPLICAS = 3
MAX_MESSAGE_BYTES = "max.message.bytes"
CLEANUP_POLICY = "cleanup.policy"
COMPACT = "compact"


class InspectionError(Exception):
    """The brokers cannot be asked. The text names the cause; `mend` says what to do, where that is known."""

    def __init__(self, text: str, mend: str = "") -> None:
        super().__init__(text)
        self.mend = mend


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the cluster says of one topic. Its configuration is None where it may not be read."""

    partitions: int
    replicas: int
    max_message_bytes: int | None
    cleanup_policy: str | None


class Inspection:
    """An admin client for the time of a check: `async with Inspection(connection) as inspection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = AIOKafkaAdminClient(**connection.arguments())

    async def __aenter__(self) -> Self:
        try:
            await _asked(self._admin.start(), "connect to KAFKA_BOOTSTRAP_SERVERS")
        except InspectionError as exc:
            await self._admin.close()
            found = await diagnosis.cause(self._connection)
            raise InspectionError(f"cannot connect to KAFKA_BOOTSTRAP_SERVERS: {found.fact}", found.mend) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._admin.close()

    async def topics(self, names: Sequence[str]) -> Mapping[str, TopicFacts]:
        """Those of these topics that exist and that we may see."""
        there = await _asked(self._admin.list_topics(), "list the topics")
        named = [name for name in names if name in there]  # asking for a topic by name might create it
        described = await _asked(self._admin.describe_topics(named), "describe the topics") if named else ()
        found = {topic["topic"]: topic["partitions"] for topic in described if not topic["error_code"]}
        return {name: await self._facts(name, partitions) for name, partitions in found.items()}

    async def _facts(self, name: str, partitions: Sequence[Mapping[str, Any]]) -> TopicFacts:
        replicas = min((len(partition["replicas"]) for partition in partitions), default=0)
        configs = await self._configs(name)
        limit = configs.get(MAX_MESSAGE_BYTES)
        policy = configs.get(CLEANUP_POLICY)
        return TopicFacts(len(partitions), replicas, int(limit) if limit is not None else None, policy)

    async def _configs(self, name: str) -> Mapping[str, str]:
        wanted = dict.fromkeys((MAX_MESSAGE_BYTES, CLEANUP_POLICY))
        resource = ConfigResource(ConfigResourceType.TOPIC, name, wanted)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                responses = await self._admin.describe_configs([resource])
        except (KafkaError, TimeoutError, OSError):
            return {}
        found = [resource for response in responses for resource in response.resources if not resource[0]]
        return {entry[0]: entry[1] for *_, entries in found for entry in entries}

    async def create(self, name: str, partitions: int, configs: Mapping[str, str]) -> bool:
        """Create one topic with as many replicas as the cluster has brokers, three at most; False if it exists.

        The brokers' word counts, not an earlier description: a topic made a moment ago may not be described yet.
        """
        cluster = await _asked(self._admin.describe_cluster(), "describe the cluster")
        topic = NewTopic(name, partitions, min(MAX_REPLICAS, len(cluster["brokers"])), topic_configs=dict(configs))
        response = await _asked(self._admin.create_topics([topic]), f"create the topic {name}")
        code = response.topic_errors[0][1]
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise InspectionError(f"cannot create the topic {name}: {for_code(code).__name__}")
        return not code

    async def group_readable(self, group_id: str, topic: str) -> None:
        """Read the group's offsets. Raises InspectionError."""
        asked = self._admin.list_consumer_group_offsets(group_id, partitions=[TopicPartition(topic, 0)])
        await _asked(asked, f"read the offsets of the group {group_id}")

    async def missing_rights(self, group_id: str, read: Sequence[str], written: Sequence[str]) -> list[Right]:
        """Rights that the worker lacks on these topics and on the group."""
        rights = Rights(self._admin)
        found: list[Right] = await _asked(rights.missing_on_topics(read, written), "try the rights on the topics")
        found += await _asked(rights.missing_on_group(group_id), "try the rights on the group")
        return found

    async def missing_idempotence(self) -> list[Right]:
        """The right that brokers before 2.8 want for at_least_once, if it is missing."""
        found: list[Right] = await _asked(Rights(self._admin).missing_on_cluster(), "try an idempotent producer")
        return found

    async def transactions(self, group_id: str, topic: str, seconds: float) -> Right | None:
        """Start a transactional producer under an id that no lane uses; the right it lacks. Raises InspectionError."""
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
            if isinstance(exc.__cause__, TransactionalIdAuthorizationFailed):
                return Right("Write", "transactional id", f"{group_id}-{topic}-", prefix=True)
            raise InspectionError(f"cannot start a transactional producer: {exc}") from exc
        finally:
            await publisher.close()
        return None


async def _asked(question: Awaitable[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question
    # AttributeError: aiokafka 0.14 reads a partition's error from the wrong object
    except (KafkaError, TimeoutError, OSError, AttributeError) as exc:
        raise InspectionError(f"cannot {what}: {type(exc).__name__}") from exc
