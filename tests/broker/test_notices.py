"""Webhooks on a real broker: durable before they are acknowledged, and seen by whoever owns the partition."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.broker.kafka import KafkaCluster
from tests.broker.notice_scene import Replica, event, replicas
from tests.broker.waiting import wait_until
from worker.adapters.kafka.connection import Connection
from worker.adapters.kafka.notices import NoticeProducer
from worker.domain.webhook import MAX_EVENT_BYTES
from worker.flow.publication import NoSuchPartitionError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker
SEED = 20261107


@pytest.fixture
def own(tmp_path: Path) -> Iterator[KafkaCluster]:
    """A broker that this test may kill."""
    kafka = KafkaCluster(tmp_path / "own")
    try:
        yield kafka
    finally:
        kafka.stop()


async def test_while_the_broker_is_away_nothing_is_acknowledged_and_nothing_is_lost(own: KafkaCluster) -> None:
    """503 until it is back; then the repeats are taken, and the consumer has seen everything that was acknowledged."""
    await own.start()
    await own.create_topics({"notices": 2})
    async with replicas(2, own.bootstrap_servers, "notices") as [replica, successor]:
        replica.consumer.assigned([0, 1])
        assert await replica.post(1, event(0)) == 204
        assert await replica.sees(1) == [(1, event(0))]
        own.kill(1)
        for number in (1, 2):  # the one fails on the old connection, the other on a new one
            assert await replica.post(1, event(number)) == 503
            assert await replica.consumer.fetch() == []
        await own.restart(1)

        async def taken() -> bool:
            replica.seen += await replica.consumer.fetch()
            return await replica.post(1, event(1)) == 204

        await wait_until("the repeat is taken", taken, 60)
        assert await replica.post(0, event(2)) == 204

        async def all_seen() -> bool:
            replica.seen += await replica.consumer.fetch()
            return set(replica.seen) >= {(1, event(0)), (1, event(1)), (0, event(2))}

        await wait_until("everything acknowledged is seen", all_seen, 60)
        assert set(replica.outcomes) == {"published", "not_published"}
        successor.consumer.assigned([0, 1])  # also what was acknowledged before the kill
        assert set(await successor.sees(len(replica.seen))) == set(replica.seen)


async def test_whoever_is_told_the_owner_sees_it_and_nobody_else(cluster: KafkaCluster) -> None:
    topic = "notices-any-replica"
    await cluster.create_topics({topic: 4})
    async with replicas(2, cluster.bootstrap_servers, topic) as both:
        both[0].consumer.assigned([0, 1])
        both[1].consumer.assigned([2, 3])
        sent = [(number % 4, event(number)) for number in range(40)]
        posts = [both[number // 4 % 2].post(partition, body) for number, (partition, body) in enumerate(sent)]
        assert set(await asyncio.gather(*posts)) == {204}
        for replica, owned in zip(both, ({0, 1}, {2, 3}), strict=True):
            assert sorted(await replica.sees(20)) == sorted(each for each in sent if each[0] in owned)
            assert await replica.consumer.fetch() == []


async def test_what_came_while_nobody_had_the_partition_is_seen_by_its_next_owner(cluster: KafkaCluster) -> None:
    """The next owner reaches back; one that keeps its partition goes on without a repeat."""
    topic = "notices-moved"
    await cluster.create_topics({topic: 2})
    async with replicas(2, cluster.bootstrap_servers, topic) as [one, other]:
        one.consumer.assigned([0, 1])
        for number in (0, 1):
            await one.post(number, event(number))
        await one.sees(2)
        one.consumer.revoked()
        assert await one.post(0, event(2)) == 204
        assert await one.consumer.fetch() == []
        one.consumer.assigned([0], kept=[0])
        other.consumer.assigned([1])
        assert (await one.sees(3))[2:] == [(0, event(2))]
        assert await other.sees(1) == [(1, event(1))]
        one.consumer.revoked()
        other.consumer.assigned([0, 1], kept=[1])
        assert (await other.sees(3))[1:] == [(0, event(0)), (0, event(2))]
        one.consumer.assigned([0], kept=[])
        assert (await one.sees(5))[3:] == [(0, event(0)), (0, event(2))]


async def test_what_arrives_while_its_partition_goes_is_neither_returned_nor_passed_over(cluster: KafkaCluster) -> None:
    topic = "notices-going"
    await cluster.create_topics({topic: 1})
    async with replicas(1, cluster.bootstrap_servers, topic) as [replica]:
        replica.consumer.assigned([0])
        assert await replica.post(0, event(1)) == 204
        await replica.sees(1)
        fetching = asyncio.create_task(replica.consumer.fetch())
        await asyncio.sleep(0)  # it waits for records now
        replica.consumer.revoked()
        assert await replica.post(0, event(2)) == 204
        assert await fetching == []
        replica.consumer.assigned([0], kept=[0])
        assert (await replica.sees(2))[1:] == [(0, event(2))]


async def test_without_partitions_there_is_no_connection_and_its_place_is_not_forgotten(cluster: KafkaCluster) -> None:
    topic = "notices-idle"
    await cluster.create_topics({topic: 1})
    async with replicas(1, cluster.bootstrap_servers, topic) as [replica]:
        replica.consumer.assigned([0])
        assert await replica.post(0, event(1)) == 204
        await replica.sees(1)
        replica.consumer.revoked()
        assert await replica.consumer.fetch() == []
        assert replica.consumer._consumer is None
        assert await replica.post(0, event(2)) == 204
        replica.consumer.assigned([0], kept=[0])
        assert (await replica.sees(2))[1:] == [(0, event(2))]


async def test_how_far_an_owner_reaches_back_is_bounded(cluster: KafkaCluster) -> None:
    topic = "notices-reach-back"
    await cluster.create_topics({topic: 3})
    now = round(time.time() * 1000)
    async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers) as producer:
        for partition, minutes in ((0, 20), (0, 11), (0, 9), (0, 1), (1, 20)):
            body = event(minutes)
            await producer.send_and_wait(topic, body, partition=partition, timestamp_ms=now - minutes * 60_000)
    async with replicas(1, cluster.bootstrap_servers, topic) as [replica]:
        replica.consumer.assigned([0, 1, 2])
        assert await replica.sees(2) == [(0, event(9)), (0, event(1))]
        for partition in (1, 2):
            assert await replica.post(partition, event(0)) == 204
        assert sorted((await replica.sees(4))[2:]) == [(1, event(0)), (2, event(0))]


async def test_partitions_that_the_topic_has_not_are_told_and_taken_up_when_added(cluster: KafkaCluster) -> None:
    topic = "notices-grows"
    await cluster.create_topics({topic: 1})
    async with replicas(1, cluster.bootstrap_servers, topic) as [replica]:
        replica.consumer.assigned([0, 2])
        assert [await replica.post(each, event(each)) for each in (0, 2)] == [204, 400]
        assert await replica.sees(1) == [(0, event(0))]
        assert replica.consumer.missing == {2}
        with pytest.raises(NoSuchPartitionError):
            await replica.producer.send(2, b"{}")
        await cluster.add_partitions(topic, 3)
        assert await replica.post(2, event(2)) == 204
        replica.consumer._recheck_at = 0.0  # half a minute otherwise
        assert (await replica.sees(2))[1:] == [(2, event(2))]
        assert replica.consumer.missing == frozenset()


async def test_without_the_topic_nobody_is_told_that_all_is_well(cluster: KafkaCluster) -> None:
    async with replicas(1, cluster.bootstrap_servers, "notices-absent") as [replica]:
        replica.consumer.assigned([0])
        assert await replica.post(0, event(0)) == 503
        assert await replica.consumer.fetch() == []
        assert replica.consumer.missing == {0}
        assert replica.consumer.failure == "UnknownTopicOrPartitionError"


async def test_the_largest_event_passes(cluster: KafkaCluster) -> None:
    topic = "notices-large"
    await cluster.create_topics({topic: 1})
    frame = orjson.dumps({"event": "job.failed", "job_id": "job-1", "pad": ""})
    body = frame[:-2] + b"x" * (MAX_EVENT_BYTES - len(frame)) + frame[-2:]
    async with replicas(1, cluster.bootstrap_servers, topic) as [replica]:
        replica.consumer.assigned([0])
        assert [await replica.post(0, body) for _ in range(3)] == [204] * 3
        assert await replica.sees(3) == [(0, body)] * 3


async def test_a_closed_producer_takes_nothing(cluster: KafkaCluster) -> None:
    producer = NoticeProducer(Connection(cluster.bootstrap_servers, "test"), topic="notices-closed")
    await producer.close()
    with pytest.raises(PublishFailedError, match="closed"):
        await producer.send(0, b"{}")


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
async def test_whatever_the_assignments_no_event_is_passed_over(cluster: KafkaCluster, seed: int) -> None:
    """Two consumers whose partitions move at random. Only owners see, in order, and the last owner has seen it all."""
    draw, topic, partitions = random.Random(seed), f"notices-history-{seed}", range(4)  # noqa: S311 - a reproducible run
    await cluster.create_topics({topic: len(partitions)})
    sent: dict[int, list[bytes]] = {each: [] for each in partitions}
    async with replicas(2, cluster.bootstrap_servers, topic) as both:
        owned: list[set[int]] = [set(), set()]
        runs: list[dict[int, list[bytes]]] = [{}, {}]  # since a partition was begun
        for step in range(40):
            who, partition = draw.randrange(2), draw.choice(partitions)
            replica, other = both[who], 1 - who
            match draw.randrange(4):
                case 0:
                    assert await replica.post(partition, event(step)) == 204
                    sent[partition].append(event(step))
                case 1:
                    for each in both:
                        each.consumer.revoked()
                    before = owned[who]
                    owned[who] = {each for each in partitions if draw.random() < 0.5}
                    owned[other] -= owned[who]
                    kept = {each for each in before & owned[who] if draw.random() < 0.7}
                    both[other].consumer.assigned(owned[other], kept=owned[other])
                    replica.consumer.assigned(owned[who], kept=kept)
                    runs[other] = {each: run for each, run in runs[other].items() if each in owned[other]}
                    runs[who] = {each: run for each, run in runs[who].items() if each in kept}
                case _:
                    note(runs[who], await replica.consumer.fetch(), owned[who], sent)
        await finish(both, owned, runs, sent)


def note(
    runs: dict[int, list[bytes]], found: list[tuple[int, bytes]], owned: set[int], sent: dict[int, list[bytes]]
) -> None:
    """Add what was fetched; each partition's events from its beginning, without gaps or repeats."""
    for partition, body in found:
        assert partition in owned
        runs.setdefault(partition, []).append(body)
        assert runs[partition] == sent[partition][: len(runs[partition])]


async def finish(
    both: list[Replica], owned: list[set[int]], runs: list[dict[int, list[bytes]]], sent: dict[int, list[bytes]]
) -> None:
    """Every event of an owned partition is seen."""

    async def complete() -> bool:
        for replica, partitions, run in zip(both, owned, runs, strict=True):
            note(run, await replica.consumer.fetch(), partitions, sent)
        return all(run.get(each, []) == sent[each] for run, has in zip(runs, owned, strict=True) for each in has)

    await wait_until("all is seen", complete, 30)
