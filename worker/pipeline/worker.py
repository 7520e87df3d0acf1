"""The loop: fetch, hand to lanes, wake the calls; lanes come and go with the assignment; drain at the end.

- `revoked` returns only when every lane has settled or the deadline for it has passed: work that only this process
  knows of is not left for another owner to buy again.
- `assigned` only sorts lanes and returns at once: aiokafka sends no heartbeat while it runs. Opening and readmitting
  happen in tasks that check whether their assignment still stands.
- Stopping: admission ends, lanes settle, the group is left, tasks end. Anything unexpected ends the whole group of
  tasks; the commit point is safe by construction, so the process may simply die.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.flow.entry import State
from worker.pipeline.explain import explain
from worker.pipeline.facts import RebalanceFinished, Stopped, Stopping
from worker.pipeline.lane import Lane
from worker.pipeline.status import lane_status
from worker.pipeline.statuses import WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Literal

    from worker.flow.dead_letters import StopPolicy
    from worker.flow.entry import Limits
    from worker.pipeline.bulk import Bulk
    from worker.pipeline.calls import Calls
    from worker.pipeline.explanation import Explanation
    from worker.pipeline.facts import Observe
    from worker.pipeline.ports import Publisher, Source


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Bounds of the whole process; `limits` are each lane's."""

    topic: str
    limits: Limits
    stop_policy: StopPolicy
    commit_interval_seconds: float
    drain_seconds: float
    rebalance_drain_seconds: float
    max_buffered_records: int
    max_buffered_bytes: int


MIN_BUFFERED_RECORDS = 16  # per lane, however many lanes share the process's bound


class Worker:
    """See the module's rules."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        source: Source,
        new_publisher: Callable[[int], Publisher],
        calls: Calls,
        bulk: Bulk | None = None,
        observe: Observe,
    ) -> None:
        self._config = config
        self._source = source
        self._new_publisher = new_publisher
        self._calls = calls
        self._bulk = bulk
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None
        self._lanes: dict[int, Lane] = {}
        self._assignment: frozenset[int] = frozenset()
        self._stop_asked = asyncio.Event()
        self._rebalance_began = self._loop.time()
        self._fetched_at: float | None = None
        self._state: Literal["starting", "running", "draining", "stopped"] = "starting"
        self._cause = ""

    def __repr__(self) -> str:
        return f"<Worker {self._state} lanes={sorted(self._lanes)} {self._calls!r}>"

    async def run(self) -> int:
        """Work until `stop` is called; returns how many tracks' work was dropped at the drain deadline.

        Raises an ExceptionGroup for any fault of our own.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._calls.begin(tasks)
            if self._bulk is not None:
                self._bulk.begin(tasks)
            try:
                dropped = await self._work(tasks)
            finally:
                self._calls.end()
                if self._bulk is not None:
                    self._bulk.end()
        self._state = "stopped"
        return dropped

    async def _work(self, tasks: asyncio.TaskGroup) -> int:
        if not await self._joined(tasks):
            return 0
        background = [tasks.create_task(self._consume()), tasks.create_task(self._watch())]
        await self._stop_asked.wait()
        began = self._loop.time()
        dropped = await self._drain()
        for task in background:
            task.cancel()
        self._calls.gate.revoked()
        await self._source.stop()
        self._observe(Stopped(dropped, self._loop.time() - began))
        self._seal_all()
        return dropped

    async def _joined(self, tasks: asyncio.TaskGroup) -> bool:
        """Join the group, which can last until other members have drained; False if told to stop before that."""
        joining = tasks.create_task(self._source.start(self))
        asked = tasks.create_task(self._stop_asked.wait())
        await asyncio.wait((joining, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if joining.done():
            joining.result()
            return True
        self._state = "draining"
        self._observe(Stopping(self._cause))
        joining.cancel()
        await asyncio.wait((joining,))
        await self._source.stop()
        self._seal_all()
        self._observe(Stopped(0, 0.0))
        return False

    def stop(self, cause: str) -> None:
        """Begin to drain."""
        self._cause = self._cause or cause
        self._stop_asked.set()

    async def _consume(self) -> None:
        while True:
            for partition, records in await self._source.fetch():
                lane = self._lanes.get(partition)
                if lane is not None:
                    lane.receive(records)
            self._fetched_at = self._loop.time()
            self._wake()

    def _wake(self) -> None:
        if self._bulk is not None:
            self._bulk.wake()  # first: what goes into a job does not start alone
        self._calls.wake()

    async def _watch(self) -> None:
        """Notice that the process stood still: suspended, starved, or stopped and continued."""
        while True:
            if self._calls.pulse.beat(self._loop.time()):
                for lane in self._lanes.values():
                    lane.doubt()
            await asyncio.sleep(self._calls.pulse.interval_seconds)

    # Stopping.

    async def _drain(self) -> int:
        self._state = "draining"
        self._observe(Stopping(self._cause))
        await self._settle_all(self._config.drain_seconds)
        # A lane that another owner has fenced waits for nothing: its tracks are that owner's, no deadline was missed.
        ours = [lane for lane in self._lanes.values() if not lane.writer.is_stranded]
        ledgers = [lane.ledger for lane in ours if lane.ledger is not None]
        return sum(ledger.in_purchase + ledger.count(State.FINISHED) for ledger in ledgers)

    async def _settle_all(self, seconds: float) -> None:
        """Let what runs finish and be published, for so long."""
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.suspend(assigned=lane.partition in self._assignment)
        try:
            async with asyncio.timeout(seconds):
                for lane in lanes:
                    await lane.settled()
        except TimeoutError:
            return  # what is left is counted by the caller, and done again by the next owner

    def _seal_all(self) -> None:
        for lane in list(self._lanes.values()):
            self._seal(lane, "stopped")

    # Rebalances: called by the source.

    async def revoked(self, partitions: Collection[int], *, lost: bool) -> None:
        """Settle before the group goes on; where it has gone on already there is nothing to wait for."""
        self._rebalance_began = self._loop.time()
        self._assignment = frozenset()
        if lost:
            self._calls.gate.revoked()
        lanes = [self._lanes[partition] for partition in partitions if partition in self._lanes]
        for lane in lanes:
            lane.suspend()
            if lane.ledger is None:
                self._seal(lane, "moved")
        if not lost:
            await self._settle_all(self._config.rebalance_drain_seconds)
            self._calls.gate.revoked()  # not before: until we join again nobody else has our part of the quota

    async def assigned(self, partitions: Collection[int]) -> None:
        """Sort the lanes: kept, lost, new."""
        self._assignment = frozenset(partitions)
        self._calls.gate.assigned(partitions, self._source.partitions)
        moved = [lane for partition, lane in self._lanes.items() if partition not in self._assignment]
        for lane in moved:
            self._seal(lane, "moved")
        kept = list(self._lanes.values())
        opened: list[Lane] = []
        if self._tasks is not None and self._state != "draining":
            self._state = "running"
            for lane in kept:
                self._tasks.create_task(lane.readmit())
            opened = [self._open(self._tasks, partition) for partition in sorted(self._assignment - set(self._lanes))]
            self._share_bounds()
        seconds = self._loop.time() - self._rebalance_began
        self._observe(RebalanceFinished(len(opened), len(kept), len(moved), seconds))

    def _open(self, tasks: asyncio.TaskGroup, partition: int) -> Lane:
        lane = self._lanes[partition] = Lane(
            self._config.topic,
            partition,
            source=self._source,
            new_publisher=self._new_publisher,
            limits=self._config.limits,
            stop_policy=self._config.stop_policy,
            commit_interval_seconds=self._config.commit_interval_seconds,
            new_book=self._bulk.new_book if self._bulk is not None else None,
            observe=self._observe,
            on_lost=self._replace,
            on_room=self._wake,
        )
        self._calls.join(lane)
        if self._bulk is not None:
            self._bulk.join(lane)
        tasks.create_task(lane.run())
        return lane

    def _seal(self, lane: Lane, cause: Literal["moved", "stopped"]) -> None:
        lane.seal(cause)
        self._forget(lane)

    def _forget(self, lane: Lane) -> None:
        if self._lanes.get(lane.partition) is lane:
            del self._lanes[lane.partition]
            self._calls.leave(lane)
            if self._bulk is not None:
                self._bulk.leave(lane)

    def _replace(self, lane: Lane) -> None:
        """A lane was fenced: forget it, and where the partition is still ours begin anew from what was committed."""
        self._forget(lane)
        if self._tasks is not None and lane.partition in self._assignment and self._state == "running":
            self._open(self._tasks, lane.partition)
            self._share_bounds()

    def _share_bounds(self) -> None:
        lanes = max(1, len(self._lanes))
        least = MIN_BUFFERED_RECORDS if self._bulk is None else max(MIN_BUFFERED_RECORDS, self._bulk.least_records)
        records = max(least, self._config.max_buffered_records // lanes)
        for lane in self._lanes.values():
            lane.bound(records, self._config.max_buffered_bytes // lanes)

    def status(self) -> WorkerStatus:
        """The whole worker as it stands now."""
        held, outage = self._calls.service.held, self._calls.service.outage
        fetched_at = self._fetched_at
        now, at, end = self._loop.time(), self._calls.outcomes.wall(), self._source.end
        return WorkerStatus(
            state=self._state,
            lanes=tuple(lane_status(lane, now, at, end(key)) for key, lane in sorted(self._lanes.items())),
            in_flight=self._calls.in_flight,
            concurrency_limit=self._calls.service.limit,
            held=held.kind.value if held else None,
            held_detail=held.detail if held else None,
            outage=outage.kind.value if outage else None,
            breaker=self._calls.service.breaker_state,
            fetch_age_seconds=now - fetched_at if fetched_at is not None else None,
            quota=self._calls.quota(),
            loop_lag_seconds=self._calls.pulse.lag_seconds,
        )

    def explanation(self, only: int | None = None) -> Explanation:
        """Why each partition, or `only` this one, stands where it stands."""
        standing = self._calls.standing(self._bulk.reading if self._bulk is not None else None)
        return explain(self._lanes.values(), standing, standing.process(self.status()), only)
