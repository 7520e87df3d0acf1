"""A check changes nothing. The embedded broker creates whatever topic a client names, as brokers may be told to."""

from __future__ import annotations

from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.inspection import Inspection
from worker.sandbox.broker import PARTITIONS, EmbeddedBroker


async def test_asking_for_a_topic_does_not_create_it() -> None:
    with EmbeddedBroker(["there"]) as broker:
        async with Inspection(Connection(broker.address, "test")) as inspection:
            for _ in range(2):
                found = await inspection.topics(["there", "absent"])
                assert {name: facts.partitions for name, facts in found.items()} == {"there": PARTITIONS}


async def test_asking_for_rights_changes_nothing_and_none_is_missing_where_nobody_asks_for_any() -> None:
    with EmbeddedBroker(["there"]) as broker:
        async with Inspection(Connection(broker.address, "test")) as inspection:
            assert await inspection.missing_rights("group", ["there", "absent"], ["there", "nowhere"]) == []
            assert await inspection.missing_idempotence() == []
            found = await inspection.topics(["there", "absent", "nowhere"])
            assert list(found) == ["there"]
