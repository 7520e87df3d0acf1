"""Partitions that no member has although the group is at peace, and when to join again because of them.

A static member that comes back gets its old assignment, without a rebalance. If it led the group it leads it still, but
is told of another leader: the id that it had before (KAFKA-13435; KIP-814 mends that, in a request newer than
aiokafka's). Then nobody watches the topic, and partitions that are added are read by nobody, until the group rebalances
for another reason. To join once more is enough: whoever leads is told so, and hands everything out.

A leader that knows itself needs up to the age of its metadata. So a partition counts when two looks, that far apart,
found it without an owner; and it is a reason to join once only, for it may have no owner for reasons of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.adapters.kafka import cancellation
from worker.adapters.kafka.group import partitions_of

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

LOOK_SECONDS = 10.0


class Overlooked:
    """What was seen so far. A look that saw nothing, for want of an answer or of peace, breaks the row of two."""

    __slots__ = ("_before", "_joined_for")

    def __init__(self) -> None:
        self._before: frozenset[int] = frozenset()
        self._joined_for: frozenset[int] = frozenset()

    def saw(self, unowned: frozenset[int] | None) -> bool:
        """These have no owner, as one look found it; whether to join again."""
        lasting = self._before & (unowned or frozenset())
        self._before = unowned or frozenset()
        if unowned is not None:
            self._joined_for &= unowned
        reasons = lasting - self._joined_for
        self._joined_for |= reasons
        return bool(reasons)


async def look(admin: AIOKafkaAdminClient, group_id: str, topic: str) -> frozenset[int] | None:
    """The topic's partitions without an owner; None where nobody tells, or a rebalance is under way."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            [described] = await admin.describe_topics([topic])  # first: what is added after it has no owner yet
            [response] = await admin.describe_consumer_groups([group_id])
    # what aiokafka raises where a broker is away, besides its own: it asserts, and reads errors from wrong objects
    except (KafkaError, TimeoutError, OSError, AssertionError, AttributeError, ValueError):
        return None
    except asyncio.CancelledError:
        if cancellation.is_ours():
            raise
        return None
    code, _, state, _, _, members, *_ = response.groups[0]
    if code or state != "Stable":
        return None
    owned = {partition for _, _, _, _, assignment, *_ in members for partition in partitions_of(assignment, topic)}
    return frozenset(partition["partition"] for partition in described["partitions"]) - owned
