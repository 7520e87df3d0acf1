"""What the pipeline relies on of its source and its publishers; the fakes and Kafka must agree on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.sides import PARTITIONS, Owner, fetched
from worker.domain.record import Message
from worker.flow.commit_point import METADATA_LIMIT
from worker.flow.publication import Committed, FencedError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.contract.sides import Side
    from worker.pipeline.ports import Source

ALL = frozenset(range(PARTITIONS))
METADATA = "x" * METADATA_LIMIT


def message(side: Side, value: bytes) -> Message:
    return Message(side.output, b"key", value, (("name", b"value"),))


async def joined(side: Side) -> tuple[Source, Owner]:
    """Become the only member."""
    source, owner = side.source(), Owner()
    await source.start(owner)
    await settle(source, lambda: owner.owned == ALL)
    return source, owner


async def settle(*sources_and_fact: object) -> None:
    """Let the group go on until this is true: fetching is what passes the time on both sides."""
    *sources, fact = sources_and_fact
    for _ in range(60):
        if fact():  # type: ignore[operator] # the last one
            return
        for source in sources:
            await source.fetch()  # type: ignore[attr-defined] # the others
    raise AssertionError("the group did not settle")


class Counting(Owner):
    """Notes how many partitions the topic has by what its source says in the moment of each assignment."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.counted: list[int] = []

    async def assigned(self, partitions: Collection[int]) -> None:
        self.counted.append(self._source.partitions)
        await super().assigned(partitions)


def test_at_each_assignment_it_is_known_how_many_partitions_there_are_in_all(side: Side) -> None:
    """The part of the quota depends on it: also where another member has some of them."""

    async def body() -> None:
        await side.open()
        first, second = side.source(), side.source()
        ours, theirs = Counting(first), Counting(second)
        await first.start(ours)
        await settle(first, lambda: ours.owned == ALL)
        await second.start(theirs)
        await settle(first, second, lambda: ours.owned | theirs.owned == ALL and ours.owned and theirs.owned)
        assert set(ours.counted) == set(theirs.counted) == {PARTITIONS}
        await second.stop()
        await first.stop()

    side.run(body())


def test_nothing_comes_before_resume_then_everything_in_order(side: Side) -> None:
    async def body() -> None:
        await side.open()
        await side.produce(0, [b"a", b"b", b"c"])
        source, _ = await joined(side)
        assert await fetched(source, 1, fetches=3) == []
        assert await source.seek(0, 0) == 0
        source.resume(0)
        records = await fetched(source, 3)
        assert [(each.partition, each.offset, each.value) for each in records] == [
            (0, 0, b"a"),
            (0, 1, b"b"),
            (0, 2, b"c"),
        ]
        await source.stop()

    side.run(body())


def test_a_pause_loses_and_repeats_nothing(side: Side) -> None:
    async def body() -> None:
        await side.open()
        source, _ = await joined(side)
        assert await source.seek(1, None) == 0
        source.resume(1)
        await side.produce(1, [b"0", b"1"])
        values = [each.value for each in await fetched(source, 2)]
        source.pause(1)
        await side.produce(1, [b"2", b"3"])
        assert await fetched(source, 1, fetches=3) == []
        source.resume(1)
        values += [each.value for each in await fetched(source, 2)]
        assert values == [b"0", b"1", b"2", b"3"]
        await source.stop()

    side.run(body())


def test_a_seek_back_delivers_again(side: Side) -> None:
    async def body() -> None:
        await side.open()
        await side.produce(2, [b"a", b"b", b"c"])
        source, _ = await joined(side)
        await source.seek(2, 0)
        source.resume(2)
        assert len(await fetched(source, 3)) == 3
        await source.seek(2, 1)
        assert [each.value for each in await fetched(source, 2)] == [b"b", b"c"]
        await source.stop()

    side.run(body())


def test_a_partition_that_is_not_ours_can_be_paused_and_resumed_without_harm(side: Side) -> None:
    async def body() -> None:
        await side.open()
        source, _ = await joined(side)
        source.pause(PARTITIONS)
        source.resume(PARTITIONS)
        await source.stop()

    side.run(body())


def test_messages_and_commit_point_become_visible_together(side: Side) -> None:
    async def body() -> None:
        await side.open()
        source, _ = await joined(side)
        assert await source.committed(0) is None
        publisher = side.publisher(0)
        await publisher.start()
        await publisher.publish([message(side, b"a"), message(side, b"b")], Committed(7, METADATA))
        assert await side.visible() == [b"a", b"b"]
        assert await source.committed(0) == Committed(7, METADATA)
        assert await source.committed(1) is None
        await publisher.publish([], Committed(8))
        assert await source.committed(0) == Committed(8, "")
        assert await side.visible() == [b"a", b"b"]
        await publisher.close()
        await source.stop()

    side.run(body())


def test_a_new_publisher_fences_the_old_one_of_its_partition_only(side: Side) -> None:
    async def body() -> None:
        await side.open()
        source, _ = await joined(side)
        old, other, new = side.publisher(0), side.publisher(1), side.publisher(0)
        for publisher in (old, other, new):
            await publisher.start()
        with pytest.raises((FencedError, PublishFailedError)):
            await old.publish([message(side, b"zombie")], Committed(1))
        await other.publish([message(side, b"other")], Committed(2))
        await new.publish([message(side, b"new")], Committed(3))
        assert sorted(await side.visible(), key=str) == [b"new", b"other"]
        assert [await source.committed(each) for each in (0, 1)] == [Committed(3), Committed(2)]
        for publisher in (old, other, new):
            await publisher.close()
        await source.stop()

    side.run(body())


def test_a_fence_is_told_from_a_failure(side: Side) -> None:
    async def body() -> None:
        await side.open()
        old, new = side.publisher(3), side.publisher(3)
        await old.start()
        await old.publish([message(side, b"before")], Committed(1))
        await new.start()
        with pytest.raises(FencedError):
            await old.publish([message(side, b"after")], Committed(2))
        await old.close()
        await new.close()
        assert await side.visible() == [b"before"]

    side.run(body())


def test_a_joining_member_takes_its_share_after_the_revocation_and_gives_it_back(side: Side) -> None:
    async def body() -> None:
        await side.open()
        first, one = await joined(side)
        second, two = side.source(), Owner()
        await second.start(two)
        await settle(first, second, lambda: one.owned and two.owned)
        assert one.owned | two.owned == ALL
        assert not one.owned & two.owned
        assert ("revoked", ALL) in one.told
        await second.stop()
        await settle(first, lambda: one.owned == ALL)
        assert one.told[-2][0] == "revoked"
        await first.stop()

    side.run(body())


def test_an_assignment_is_paused_even_where_a_partition_was_flowing(side: Side) -> None:
    async def body() -> None:
        await side.open()
        first, one = await joined(side)
        for partition in ALL:
            await first.seek(partition, 0)
            first.resume(partition)
        second, two = side.source(), Owner()
        await second.start(two)
        await settle(first, second, lambda: one.owned and two.owned)
        for partition in ALL:
            await side.produce(partition, [b"x"])
        assert await fetched(first, 1, fetches=3) == []
        kept = min(one.owned)
        await first.seek(kept, 0)
        first.resume(kept)
        assert [each.partition for each in await fetched(first, 1)] == [kept]
        await first.stop()
        await second.stop()

    side.run(body())
