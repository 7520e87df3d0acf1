"""The consumer: partitions in, records out, the group's commit points read back.

aiokafka swallows what its rebalance listener raises; here it is kept and raised by the next `fetch`, which ends the
process. `fetch` is never cancelled by a time-out of ours: that would switch aiokafka's poll interval off.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from worker.adapters.kafka import cancellation, overlooked
from worker.adapters.kafka.connection import until_reachable
from worker.adapters.kafka.operator_errors import NoCommittedOffsetError, SeatTakenError
from worker.adapters.kafka.records import record_of
from worker.flow.publication import Committed, SourceFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping, Sequence

    from aiokafka.structs import OffsetAndMetadata

    from worker.adapters.kafka.connection import Connection
    from worker.domain.record import Record


class Rebalanced(Protocol):
    """What is called around a rebalance; both are awaited before the group goes on."""

    async def revoked(self, partitions: Collection[int], *, lost: bool) -> None:
        """These partitions may go elsewhere; `lost`: they are gone already."""

    async def assigned(self, partitions: Collection[int]) -> None:
        """These are all partitions assigned now."""


FETCH_MILLISECONDS = 500
MAX_PARTITION_FETCH_BYTES = 1 << 20
ASK_SECONDS = 10.0
COUNT_SECONDS = 1.0  # a rebalance waits for the answer, without heartbeats
STOP_SECONDS = 5.0
STABLE_READ_SECONDS = 0.5
UNFORESEEN, JOIN_PAUSE_SECONDS = 20, 0.5  # answers of the coordinator that nobody foresaw, without a join between them
THEFTS = 3
_FETCH_API_KEY, _FETCH_MIN_VERSION_OF_4_0 = 1, 4  # KIP-896 removed the older ones in 4.0


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """Membership in the consumer group; times in seconds."""

    topic: str
    group_id: str
    group_instance_id: str | None
    auto_offset_reset: str
    session_timeout_seconds: float
    rebalance_timeout_seconds: float


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Implements the pipeline's Source over one consumer and one admin client."""

    def __init__(self, connection: Connection, group: GroupConfig) -> None:
        self._group = group
        self._look_interval = connection.metadata_max_age_seconds
        self._looks: asyncio.Task[None] | None = None
        self._admin = AIOKafkaAdminClient(**connection.arguments())
        self._consumer = AIOKafkaConsumer(
            **connection.arguments(),
            group_id=group.group_id,
            group_instance_id=group.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset=group.auto_offset_reset,
            isolation_level="read_committed",  # upstream services may publish in transactions, too
            session_timeout_ms=round(group.session_timeout_seconds * 1000),
            heartbeat_interval_ms=round(group.session_timeout_seconds * 1000 / 4),
            rebalance_timeout_ms=round(group.rebalance_timeout_seconds * 1000),
            max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
            partition_assignment_strategy=(RangePartitionAssignor,),  # sticky keeps class-level state in aiokafka
        )
        self._rebalanced: Rebalanced | None = None
        self._partitions = 0
        self._fault: BaseException | None = None
        self._unforeseen = 0
        self._joined_at = float("-inf")
        self._thefts = 0

    def __repr__(self) -> str:
        return f"<KafkaSource {self._group.topic} group={self._group.group_id}>"

    async def start(self, rebalanced: Rebalanced) -> None:
        """Join the group; where no broker can be reached, wait until one can."""
        self._rebalanced = rebalanced
        await until_reachable(self._admin.start)
        self._consumer.subscribe([self._group.topic], listener=self)
        try:
            await until_reachable(self._consumer.start)  # returns with an assignment
        except KafkaError as exc:
            await self._join_anew(exc)
        if self._group.group_instance_id is not None:
            self._looks = asyncio.create_task(self._look_for_overlooked())

    @property
    def partitions(self) -> int:
        """How many the topic had at the last assignment."""
        return self._partitions

    async def stop(self) -> None:
        """Leave the group, within a bound."""
        if self._looks is not None:
            self._looks.cancel()
        for client in (self._consumer.stop, self._admin.close):
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await client()
            except (KafkaError, TimeoutError, OSError):
                continue  # the broker is away: the session time-out ends our membership
            except asyncio.CancelledError:
                if cancellation.is_ours():
                    raise  # else it is aiokafka's own fetch task, cancelled in its pause before a repetition

    # Records.

    async def fetch(self) -> Sequence[tuple[int, Sequence[Record]]]:
        """Everything fetched by now, or after half a second nothing. Raises what a rebalance callback raised."""
        try:
            batches = await self._consumer.getmany(timeout_ms=FETCH_MILLISECONDS)
        except KafkaError as exc:
            await self._join_anew(exc)
            return []
        finally:
            if self._fault is not None:
                raise self._fault
        return [(tp.partition, [record_of(message) for message in messages]) for tp, messages in batches.items()]

    async def _join_anew(self, exc: KafkaError) -> None:
        """After an answer that aiokafka does not know, go on as a new member; raise what is no such answer.

        It knows no FENCED_INSTANCE_ID, which a static member gets when the reply to its own join was lost: the brokers
        have given it another member id by then, and it would present the old one for ever.
        """
        self._unforeseen += 1
        if type(exc) is not KafkaError or self._unforeseen > UNFORESEEN:
            raise exc
        self._consumer._coordinator.reset_generation()  # noqa: SLF001 - aiokafka has no other way to forget it
        await asyncio.sleep(JOIN_PAUSE_SECONDS)

    def end(self, partition: int) -> int | None:
        """The partition's high watermark, as the last fetch told it."""
        tp = self._input(partition)
        if tp not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(tp)
        return end

    def pause(self, partition: int) -> None:
        """Fetch no more; nothing to do for a partition that is not ours any more."""
        try:
            self._consumer.pause(self._input(partition))
        except IllegalStateError:
            return

    def resume(self, partition: int) -> None:
        """Fetch again; nothing to do for a partition that is not ours any more."""
        try:
            self._consumer.resume(self._input(partition))
        except IllegalStateError:
            return

    # Offsets.

    async def committed(self, partition: int) -> Committed | None:
        """The stable commit point. Brokers before 4.0 may show a settled transaction's offsets a moment late."""
        committed = await self._ask_committed(partition)
        while not self._commits_are_stable():
            await asyncio.sleep(STABLE_READ_SECONDS)
            again = await self._ask_committed(partition)
            if again == committed:
                break
            committed = again
        return committed

    async def _ask_committed(self, partition: int) -> Committed | None:
        tp = self._input(partition)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                offsets = await self._admin.list_consumer_group_offsets(self._group.group_id, partitions=[tp])
        # AttributeError: aiokafka 0.14 reads a partition's error from the wrong object
        except (KafkaError, TimeoutError, OSError, AttributeError) as exc:
            raise SourceFailedError(f"the group's offsets cannot be read: {type(exc).__name__}") from exc
        if tp not in offsets:  # aiokafka does not look at the reply's own error
            raise SourceFailedError("the group's offsets cannot be read: the coordinator is not ready")
        found = offsets[tp]
        return Committed(found.offset, found.metadata or "") if found.offset >= 0 else None

    def _commits_are_stable(self) -> bool:
        connections = self._admin._client._conns.values()  # noqa: SLF001 - aiokafka tells the versions nowhere else
        lowest = [connection._versions.get(_FETCH_API_KEY, (0, 0))[0] for connection in connections]  # noqa: SLF001
        return bool(lowest) and min(lowest) >= _FETCH_MIN_VERSION_OF_4_0

    async def seek(self, partition: int, offset: int | None) -> int:
        """Fetch from here next; without an offset from where the group's reset setting says."""
        tp = self._input(partition)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                position: int = offset if offset is not None else await self._reset_offset(tp)
            self._consumer.seek(tp, position)
        except (KafkaError, IllegalStateError, TimeoutError, OSError) as exc:
            raise SourceFailedError(f"cannot seek: {type(exc).__name__}") from exc
        return position

    async def _reset_offset(self, tp: TopicPartition) -> int:
        match self._group.auto_offset_reset:
            case "earliest":
                offsets = await self._consumer.beginning_offsets([tp])
            case "latest":
                offsets = await self._consumer.end_offsets([tp])
            case _:
                raise NoCommittedOffsetError(tp.topic, tp.partition)
        position: int = offsets[tp]
        return position

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit as the group's member (at-least-once mode); the caller bounds it: aiokafka retries for ever."""
        await self._consumer.commit(dict(offsets))

    def _input(self, partition: int) -> TopicPartition:
        return TopicPartition(self._group.topic, partition)

    # Rebalances.

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called by aiokafka before it joins again; not called by stop()."""
        # aiokafka has no on_partitions_lost: a member whose id was reset has been expelled already.
        lost = self._consumer._coordinator.generation < 0  # noqa: SLF001 - see above
        if lost:
            self._leave_seat_to_thief()
        if self._rebalanced is not None and revoked:
            await self._guarded(self._rebalanced.revoked([tp.partition for tp in revoked], lost=lost))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause first: a rebalance un-pauses everything and resets positions."""
        for tp in assigned:
            self.pause(tp.partition)
        self._unforeseen, self._joined_at = 0, asyncio.get_running_loop().time()
        if self._rebalanced is not None:
            await self._guarded(self._count(assigned))
            await self._guarded(self._rebalanced.assigned([tp.partition for tp in assigned]))

    def _leave_seat_to_thief(self) -> None:
        """A static member that is expelled sooner than its session can expire has lost its seat to another process.

        aiokafka would take the seat back, the other would do the same, and the group would never settle. Who was there
        first is robbed first, and goes.
        """
        seat, age = self._group.group_instance_id, asyncio.get_running_loop().time() - self._joined_at
        stolen = seat is not None and age < self._group.session_timeout_seconds
        self._thefts = self._thefts + 1 if stolen else 0
        if seat is not None and self._thefts >= THEFTS:
            self._fault = self._fault or SeatTakenError(seat)
            self._consumer._subscription.abort_waiters(self._fault)  # noqa: SLF001 - `fetch` would wait for a join
            raise asyncio.CancelledError  # anything else is swallowed, and the seat taken back

    async def _count(self, assigned: Collection[TopicPartition]) -> None:
        """Ask a broker: the consumer's own metadata may be minutes old where another member has seen new partitions."""
        known = self._consumer.partitions_for_topic(self._group.topic) or set()
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                [topic] = await self._admin.describe_topics([self._group.topic])
            known = known | {partition["partition"] for partition in topic["partitions"]}
        except (KafkaError, TimeoutError, OSError, ValueError, KeyError):
            pass  # a broker that is away: what is known, and what we were given
        self._partitions = 1 + max(known | {tp.partition for tp in assigned}, default=-1)

    async def _look_for_overlooked(self) -> None:
        found = overlooked.Overlooked()
        while True:
            await asyncio.sleep(self._look_interval)
            if found.saw(await overlooked.look(self._admin, self._group.group_id, self._group.topic)):
                self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - aiokafka has no other way to join again

    async def _guarded(self, callback: Awaitable[None]) -> None:
        try:
            await callback
        except BaseException as exc:
            self._fault = self._fault or exc
            raise
