"""Verified events of jobs on their way from the replica that was told to the one that owns the partition.

- They travel on an internal topic, each to the partition of the input whose tracks are in the job.
- The producer's `send` returns when every replica in sync has the event. One that fails ends its AIOKafkaProducer,
  whose sequence numbers have moved; the next `send` opens another. What was given up may still arrive: a duplicate.
- The consumer is in no group: it follows the assignment of the input. A partition that is new here is read from some
  minutes ago, so that what arrived while nobody had it is seen. Nothing is committed, and seeing an event twice is no
  fault. Its positions are its own: a client that fails is dropped, and the next goes on where it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from worker.adapters.kafka import cancellation
from worker.adapters.kafka.publisher import BoundedProducer
from worker.flow.publication import FencedError, NoSuchPartitionError, PublishFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from worker.adapters.kafka.connection import Connection

SEND_SECONDS = 5.0
REACH_BACK_SECONDS = 600.0
FETCH_SECONDS = 0.5
ASK_SECONDS = 15.0  # above the 10 s after which aiokafka says that there is no such topic
STOP_SECONDS = 3.0
RECHECK_SECONDS = 30.0  # between two looks for partitions that the topic did not have
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 10.0
MAX_RECORDS = 1000  # of one fetch
PARTITION_BYTES, FETCH_BYTES = 512 << 10, 4 << 20  # two events of the largest size; what one broker may send at once


class NoticeProducer:
    """Writes events to the internal topic; connects when it is first needed, and anew after a failure."""

    def __init__(self, connection: Connection, *, topic: str, timeout_seconds: float = SEND_SECONDS) -> None:
        self._connection = connection
        self._topic = topic
        self._seconds = timeout_seconds
        self._opening: asyncio.Task[_NoticeWriter] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<NoticeProducer {self._topic} open={self._opening is not None} ending={len(self._ending)}>"

    async def send(self, partition: int, body: bytes) -> None:
        """Make one event durable, within `timeout_seconds`. Raises PublishFailedError or NoSuchPartitionError."""
        opening = self._opened()
        try:
            async with asyncio.timeout(self._seconds):
                writer = await asyncio.shield(opening)
                await writer.write(self._topic, partition, body)
        except (PublishFailedError, FencedError, TimeoutError) as exc:
            self._retire(opening)
            raise PublishFailedError(f"{self._topic}: {str(exc) or type(exc).__name__}") from exc

    async def close(self) -> None:
        """Disconnect, within a bound; what is being sent may still arrive."""
        self._closed = True
        if self._opening is not None:
            self._retire(self._opening)
        await asyncio.gather(*self._ending)

    def _opened(self) -> asyncio.Task[_NoticeWriter]:
        if self._closed:
            raise PublishFailedError(f"{self._topic}: closed")
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return self._opening

    async def _open(self) -> _NoticeWriter:
        writer = _NoticeWriter(self._connection, self._seconds)
        try:
            await writer.start()
        except (PublishFailedError, FencedError):
            await writer.close()
            raise
        return writer

    def _retire(self, opening: asyncio.Task[_NoticeWriter]) -> None:
        """Let no further event use this one; those on their way have the time that closing takes."""
        if self._opening is opening:
            self._opening = None
            ending = asyncio.get_running_loop().create_task(_end(opening))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


async def _end(opening: asyncio.Task[_NoticeWriter]) -> None:
    try:
        writer = await opening
    except (PublishFailedError, FencedError):
        return  # never open, and closed already
    await writer.close()


class _NoticeWriter(BoundedProducer):
    """One idempotent AIOKafkaProducer."""

    async def write(self, topic: str, partition: int, body: bytes) -> None:
        """Write and wait for the ack. Raises as every publisher does, and NoSuchPartitionError."""
        await self._bounded(self._write(topic, partition, body))

    async def _write(self, topic: str, partition: int, body: bytes) -> None:
        if partition not in await self._producer.partitions_for(topic):
            await self._producer.client.force_metadata_update()  # it may have been added a moment ago
            if partition not in await self._producer.partitions_for(topic):
                raise NoSuchPartitionError(partition)
        await (await self._producer.send(topic, body, partition=partition))


class NoticeConsumer:
    """Reads the events of the partitions that this replica owns. One `fetch` at a time; `wall` tells Unix time."""

    def __init__(
        self,
        connection: Connection,
        *,
        topic: str,
        wall: Callable[[], float],
        reach_back_seconds: float = REACH_BACK_SECONDS,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._wall = wall
        self._reach_back_seconds = reach_back_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._wanted: frozenset[int] = frozenset()
        self._changed = asyncio.Event()  # the assignment is not yet that of the client
        self._positions: dict[int, int] = {}  # next offset to deliver, of partitions that have been begun
        self._recheck_at = float("inf")
        self._failures = 0
        self.missing: frozenset[int] = frozenset()
        """Partitions of ours that the topic did not have when it was last looked at: their events cannot arrive."""
        self.failure: str | None = None
        """Why nothing is read now, as the class of an error."""

    def __repr__(self) -> str:
        return f"<NoticeConsumer {self._topic} {sorted(self._wanted)} missing={sorted(self.missing)}>"

    def assigned(self, partitions: Collection[int], *, kept: Collection[int] = ()) -> None:
        """These are all partitions owned now. Those in `kept` go on where they were, others reach back."""
        self._wanted = frozenset(partitions)
        self._positions = {each: at for each, at in self._positions.items() if each in kept and each in self._wanted}
        self._changed.set()

    def revoked(self) -> None:
        """Nothing is owned until the next `assigned`, which may keep what was."""
        self._wanted = frozenset()
        self._changed.set()

    async def fetch(self) -> list[tuple[int, bytes]]:
        """Everything that came by now as (partition, body), or after half a second nothing; never raises for brokers.

        While they cannot be asked it pauses, longer each time, and returns nothing. What an assignment of meanwhile
        took away is not returned.
        """
        try:
            if not self._wanted:
                await self._idle()
                return []
            if self._changed.is_set() or asyncio.get_running_loop().time() >= self._recheck_at:
                await self._follow()
            found = await self._fetched()
        except (KafkaError, TimeoutError, OSError, AssertionError) as exc:  # the last: aiokafka's own state
            await self._fail(exc)
            return []
        self._failures, self.failure = 0, None
        return found

    async def close(self) -> None:
        """Disconnect, within a bound."""
        consumer, self._consumer = self._consumer, None
        self._changed.set()
        if consumer is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await consumer.stop()
        except (KafkaError, TimeoutError, OSError):
            return  # the broker is away: its side ends by itself
        except asyncio.CancelledError:
            if cancellation.is_ours():
                raise  # else it is aiokafka's own fetch task

    async def _idle(self) -> None:
        """Wait for an assignment; a connection that nobody needs is closed, not in each short rebalance."""
        self._changed.clear()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            await self.close()

    async def _follow(self) -> None:
        """Bring the client to the partitions that are wanted and exist. An assignment meanwhile makes it begin anew."""
        self._changed.clear()
        async with asyncio.timeout(ASK_SECONDS):
            consumer = await self._connected()
            wanted = self._wanted
            there = wanted & await self._existing(consumer, wanted)
            starts = await self._starts(consumer, there - self._positions.keys())
        if self._changed.is_set():
            return
        self._positions |= starts
        self.missing = wanted - there
        self._recheck_at = asyncio.get_running_loop().time() + RECHECK_SECONDS if self.missing else float("inf")
        consumer.assign([TopicPartition(self._topic, each) for each in there])
        for each in there:
            consumer.seek(TopicPartition(self._topic, each), self._positions[each])

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._connection.arguments(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",  # where what was next has been deleted
                max_partition_fetch_bytes=PARTITION_BYTES,
                fetch_max_bytes=FETCH_BYTES,
            )
            await self._consumer.start()
        return self._consumer

    async def _existing(self, consumer: AIOKafkaConsumer, wanted: frozenset[int]) -> frozenset[int]:
        client = consumer._client  # noqa: SLF001 - a consumer without an assignment has no other way to ask
        there = frozenset(await client._wait_on_metadata(self._topic))  # noqa: SLF001 - see above
        if wanted <= there:
            return there
        await client.force_metadata_update()
        return frozenset(consumer.partitions_for_topic(self._topic) or ())

    async def _starts(self, consumer: AIOKafkaConsumer, partitions: Collection[int]) -> Mapping[int, int]:
        """Where to begin. The ends are asked for first: what comes between the two questions is not passed over."""
        if not partitions:
            return {}
        since = max(0, round((self._wall() - self._reach_back_seconds) * 1000))
        tps = [TopicPartition(self._topic, each) for each in partitions]
        ends = await consumer.end_offsets(tps)
        found = await consumer.offsets_for_times(dict.fromkeys(tps, since))
        return {tp.partition: ends[tp] if found[tp] is None else found[tp].offset for tp in tps}

    async def _fetched(self) -> list[tuple[int, bytes]]:
        if self._consumer is None or self._changed.is_set():
            return []
        if not self._consumer.assignment():
            await asyncio.sleep(FETCH_SECONDS)  # none of our partitions exists
            return []
        batches = await self._consumer.getmany(timeout_ms=round(FETCH_SECONDS * 1000), max_records=MAX_RECORDS)
        if self._changed.is_set():  # positions have not moved: what still belongs to us is read again
            return []
        self._positions |= {tp.partition: messages[-1].offset + 1 for tp, messages in batches.items()}
        return [(tp.partition, body) for tp, messages in batches.items() for body in _bodies(messages)]

    async def _fail(self, exc: BaseException) -> None:
        self.failure = type(exc).__name__
        if isinstance(exc, UnknownTopicOrPartitionError):
            self.missing = self._wanted
        self._failures += 1
        await self.close()
        await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 16), LONGEST_PAUSE_SECONDS))


def _bodies(messages: Sequence[Any]) -> list[bytes]:
    return [message.value for message in messages if message.value is not None]
