"""When partitions without an owner are a reason to join the group again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.kafka.overlooked import Overlooked, look

if TYPE_CHECKING:
    from collections.abc import Sequence

UNOWNED = st.frozensets(st.integers(0, 3))
LOOKS = st.lists(st.none() | UNOWNED, max_size=12)


@given(LOOKS)
def test_a_partition_is_a_reason_once_and_only_after_two_looks_in_a_row(looks: list[frozenset[int] | None]) -> None:
    overlooked, before, joined_for = Overlooked(), frozenset[int](), set[int]()
    for unowned in looks:
        now = unowned or frozenset()
        joined_for = joined_for if unowned is None else {partition for partition in joined_for if partition in now}
        reasons = {partition for partition in now if partition in before and partition not in joined_for}
        assert overlooked.saw(unowned) == bool(reasons)
        joined_for |= reasons
        before = now


def test_one_that_stays_without_an_owner_is_no_reason_for_ever_and_one_that_loses_it_again_is_another() -> None:
    """A group that rebalanced every minute would decide little."""
    overlooked, lost, whole = Overlooked(), frozenset({2}), frozenset[int]()
    looks: Sequence[frozenset[int] | None] = [lost, lost, lost, None, lost, lost, whole, lost, lost]
    assert [overlooked.saw(unowned) for unowned in looks] == [False, True, *[False] * 6, True]


class Group:
    """Answers as brokers do: a topic's partitions, and a group whose members have some of them."""

    def __init__(self, partitions: int, *members: list[int], state: str = "Stable", code: int = 0) -> None:
        self._partitions = partitions
        rows = [("member", "client", "host", b"", _assignment(owned)) for owned in members]
        self.groups = [(code, "group", state, "consumer", "range", rows)]

    async def describe_topics(self, _topics: list[str]) -> list[dict[str, Any]]:
        return [{"partitions": [{"partition": number} for number in range(self._partitions)]}]

    async def describe_consumer_groups(self, _groups: list[str]) -> list[Group]:
        return [self]


class Away(Group):
    async def describe_consumer_groups(self, _groups: list[str]) -> list[Group]:
        raise KafkaConnectionError


def _assignment(partitions: list[int]) -> bytes:
    encoded: bytes = ConsumerProtocolMemberAssignment(0, [("input", partitions), ("another", [7])], b"").encode()
    return encoded


@pytest.mark.parametrize(
    ("group", "found"),
    [
        (Group(3, [0, 1], [2]), frozenset()),
        (Group(5, [0, 1], [2]), frozenset({3, 4})),
        (Group(8, [0, 1]), frozenset({2, 3, 4, 5, 6, 7})),
        (Group(3, [0], state="PreparingRebalance"), None),
        (Group(3, [0], code=30), None),
        (Away(3, [0]), None),
    ],
    ids=["all owned", "two added", "another topic's 7", "rebalance", "not allowed", "coordinator away"],
)
async def test_a_look_names_what_nobody_has(group: Group, found: frozenset[int] | None) -> None:
    assert await look(group, "group", "input") == found
