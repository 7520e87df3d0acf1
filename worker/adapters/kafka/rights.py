"""Which rights are missing, found by asking for things that cannot be had.

A worker may not read the brokers' lists of rights. But brokers look at the rights first: whoever may not write a topic
is refused before anybody looks whether the partition exists, and whoever may write it is told that it does not. So each
question names something that never exists, changes nothing, and has its answer in the error code.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.admin import AIOKafkaAdminClient

NO_PARTITION = (1 << 31) - 1
NO_GENERATION, NO_MEMBER = -1, ""
WAIT_MILLISECONDS = 1000
NO_RECORDS = b""
_FLAGS = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}


@dataclass(frozen=True, slots=True)
class Right:
    """An operation on a resource, in Kafka's words. `prefix`: the name is the beginning of many."""

    operation: str
    resource: str
    name: str = ""
    prefix: bool = False

    def __str__(self) -> str:
        return f"{self.resource} {self.name}{'*' if self.prefix else ''}".rstrip()

    def granted_by(self, user: str | None) -> str:
        """The administrator's command."""
        flag = _FLAGS.get(self.resource)
        on = f"{flag} {quote(self.name)}" if flag else "--cluster"
        pattern = " --resource-pattern-type prefixed" if self.prefix else ""
        who = quote(f"User:{user}") if user else "User:..."
        return f"kafka-acls.sh --add --allow-principal {who} --operation {self.operation} {on}{pattern}"


class Rights:
    """Asks by way of an admin client that is connected. Raises what the client raises."""

    def __init__(self, admin: AIOKafkaAdminClient) -> None:
        self._admin = admin

    async def missing_on_topics(self, read: Sequence[str], written: Sequence[str]) -> list[Right]:
        """Those that are missing to read and to write these topics; a topic that is not there lacks none."""
        found = [Right("Read", "topic", name) for name in await self._unreadable(read)]
        return found + [Right("Write", "topic", name) for name in await self._unwritable(written)]

    async def _unreadable(self, topics: Sequence[str]) -> list[str]:
        asked = [(topic, [(NO_PARTITION, 0, 1)]) for topic in topics]
        return _refused(await self._ask(FetchRequest(0, 0, 1, 0, asked))) if asked else []

    async def _unwritable(self, topics: Sequence[str]) -> list[str]:
        asked = [(topic, [(NO_PARTITION, NO_RECORDS)]) for topic in topics]
        return _refused(await self._ask(ProduceRequest(None, -1, WAIT_MILLISECONDS, asked))) if asked else []

    async def missing_on_group(self, group_id: str) -> list[Right]:
        """A heartbeat of nobody: it needs what joining the group needs."""
        lacking = [Right("Read", "group", group_id)]
        try:
            coordinator = await self._admin.find_coordinator(group_id)
        except GroupAuthorizationFailedError:
            return lacking
        answer = await self._ask(HeartbeatRequest(group_id, NO_GENERATION, NO_MEMBER), coordinator)
        return lacking if answer.error_code == GroupAuthorizationFailedError.errno else []

    async def missing_on_cluster(self) -> list[Right]:
        """An idempotent producer without transactions; since Kafka 2.8 the right to write any topic is enough."""
        answer = await self._ask(InitProducerIdRequest(None, WAIT_MILLISECONDS))
        refused = answer.error_code == ClusterAuthorizationFailedError.errno
        return [Right("IdempotentWrite", "cluster")] if refused else []

    async def _ask(self, request: Any, node: int | None = None) -> Any:
        return await self._admin._send_request(request, node)  # noqa: SLF001 - its own calls hide error codes


def _refused(answer: Any) -> list[str]:
    code = TopicAuthorizationFailedError.errno
    return [topic for topic, partitions in answer.topics if any(error == code for _, error, *_ in partitions)]
