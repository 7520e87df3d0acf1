"""One test's stage: a broker, an API, any number of workers on them, and what is true at the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import orjson

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import TOPIC, FakeBroker
from tests.fakes import FakePublisher, FakeSource
from tests.virtual_time import until
from worker.domain.decider import Decider, Topics
from worker.domain.policies import BUILT_IN, DEFAULT
from worker.flow.admission import Admission
from worker.flow.breaker import Breaker, BreakerPolicy
from worker.flow.budget import RetryAllowance, RetryBudget
from worker.flow.commit_point import decode
from worker.flow.concurrency import AdaptiveLimit, LimitPolicy
from worker.flow.course import RetryPolicy
from worker.flow.dead_letters import StopPolicy
from worker.flow.entry import Limits
from worker.flow.job_book import BookPolicy
from worker.flow.mode import JobTime, ModePolicy, ModeSetting
from worker.flow.pacing import AnalysisTime, Pacer
from worker.flow.service import OutagePolicy, Service
from worker.pipeline.bulk import Bulk
from worker.pipeline.calls import Calls
from worker.pipeline.job_driver import Means
from worker.pipeline.worker import Worker, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fake_jobs import FakeJobs
    from worker.adapters.telemetry.traces import Traces
    from worker.domain.record import Headers, Message
    from worker.flow.commit_point import CommitPoint
    from worker.pipeline.facts import Fact

F = TypeVar("F")

SESSION_SECONDS = 6.0
TOPICS = Topics(TOPIC, "approve", "review", "reject", "dead-letter")
POISON = b"{"


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a test may turn; the same names as the settings where there is one."""

    slots: int = 16
    limit: LimitPolicy | None = None  # instead of so many slots at all times
    breaker: BreakerPolicy = field(default_factory=lambda: BreakerPolicy(consecutive=10_000, min_calls=10_000))
    outage: OutagePolicy = OutagePolicy.WAIT
    stop: StopPolicy = field(default_factory=StopPolicy)
    per_minute: int = 0
    commit_interval: float = 0.1
    drain: float = 30.0
    rebalance_drain: float = 10.0
    standstill: float = 3.0
    unpublished: int = 10_000
    buffered_records: int = 1000
    buffered_bytes: int = 1 << 20
    first_poll: float = 1.0
    probe: float = 5.0
    limits: Limits = field(default_factory=lambda: Limits(job_reserve_bytes=20))
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    book: BookPolicy = field(default_factory=BookPolicy)
    mode: ModePolicy = field(default_factory=lambda: ModePolicy(ModeSetting.BULK))
    webhook_url: str | None = None


class Running:
    """One worker and the process around it."""

    def __init__(self, scene: Scene, name: str, knobs: Knobs) -> None:
        self.facts: list[Fact] = []
        self.publishers: Counter[int] = Counter()
        self.source = FakeSource(scene.broker, name)
        self._broker = scene.broker
        self._traces = scene.traces
        self.calls = Calls(
            analyst=scene.analyst,
            decider=Decider(BUILT_IN, DEFAULT, TOPICS),
            retry=knobs.retry,
            pacer=Pacer(knobs.per_minute),
            service=Service(
                Admission(knobs.probe),
                Breaker(knobs.breaker),
                AdaptiveLimit(knobs.limit or LimitPolicy(max_limit=knobs.slots, enabled=False)),
                knobs.outage,
            ),
            budget=RetryBudget(RetryAllowance(burst=1000.0), asyncio.get_running_loop().time()),
            analysis_time=AnalysisTime(knobs.first_poll),
            observe=self._observe,
            wall=wall,
            max_unpublished=knobs.unpublished,
            standstill_seconds=knobs.standstill,
            chance=random.Random(name).random,  # noqa: S311 - jitter, and the same in every run
            tracer=scene.traces,
        )
        config = WorkerConfig(
            topic=TOPIC,
            limits=knobs.limits,
            stop_policy=knobs.stop,
            commit_interval_seconds=knobs.commit_interval,
            drain_seconds=knobs.drain,
            rebalance_drain_seconds=knobs.rebalance_drain,
            max_buffered_records=knobs.buffered_records,
            max_buffered_bytes=knobs.buffered_bytes,
        )
        self.bulk = self._bulk(scene.jobs, knobs) if scene.jobs is not None else None
        self.worker = Worker(
            config,
            source=self.source,
            new_publisher=self._new_publisher,
            calls=self.calls,
            bulk=self.bulk,
            observe=self._observe,
        )
        self.task = asyncio.create_task(self.worker.run())

    def _bulk(self, jobs: FakeJobs, knobs: Knobs) -> Bulk:
        means = Means(
            analyst=jobs,
            gate=self.calls.gate,
            service=self.calls.service,
            hearing=self.calls.hearing,
            outcomes=self.calls.outcomes,
            job_time=JobTime(20.0),
            observe=self._observe,
            chance=lambda: 0.5,
        )
        return Bulk(
            means,
            self.calls,
            self.source,
            group="group",
            topic=TOPIC,
            book=knobs.book,
            mode=knobs.mode,
            webhook_url=knobs.webhook_url,
        )

    def _new_publisher(self, partition: int) -> FakePublisher:
        self.publishers[partition] += 1
        return FakePublisher(self._broker, self.source, partition)

    def _observe(self, fact: Fact) -> None:
        self.facts.append(fact)
        if self._traces is not None:
            self._traces(fact)

    def seen(self, kind: type[F]) -> list[F]:
        """Facts of one kind, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def stop(self) -> int:
        """Drain; returns how many tracks' work was dropped."""
        self.worker.stop("test")
        return await self.task


class Scene:
    """See the module. Build it inside the loop."""

    def __init__(
        self,
        partitions: int = 1,
        analyst: FakeAnalyst | None = None,
        knobs: Knobs | None = None,
        jobs: FakeJobs | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.broker = FakeBroker(partitions)
        self.jobs = jobs
        self.traces = traces
        self.analyst = analyst or FakeAnalyst()
        self.knobs = knobs or Knobs()
        self.workers: list[Running] = []
        self._items: dict[tuple[int, int], str] = {}

    # Events.

    def submit(
        self, item_id: str, partition: int = 0, key: bytes | None = None, *, gap: int = 0, headers: Headers = ()
    ) -> int:
        """Deliver a good event; returns its offset."""
        value = orjson.dumps({"item_id": item_id, "url": f"https://audio.example/{item_id}.mp3"})
        return self.submit_raw(item_id, value, partition, key, gap=gap, headers=headers)

    def submit_raw(
        self,
        name: str,
        value: bytes | None,
        partition: int = 0,
        key: bytes | None = None,
        *,
        gap: int = 0,
        headers: Headers = (),
    ) -> int:
        """Deliver any bytes."""
        offset = self.broker.append(partition, key, value, headers=headers, gap=gap)
        self._items[partition, offset] = name
        return offset

    # Workers.

    def worker(self, **changes: object) -> Running:
        """Start a worker, with these knobs turned."""
        knobs = replace(self.knobs, **changes)  # type: ignore[arg-type] # the knobs' own types, checked by use
        running = Running(self, f"worker-{len(self.workers) + 1}", knobs)
        self.workers.append(running)
        return running

    async def crash(self, running: Running) -> None:
        """Kill -9: nothing that it does reaches anybody any more; its session expires after a while."""
        running.source.dead = True
        running.task.cancel()
        await asyncio.wait({running.task})
        asyncio.get_running_loop().call_later(SESSION_SECONDS, self.broker.group.leave, running.source)

    async def stop(self) -> list[int]:
        """Drain every worker that runs."""
        return [await running.stop() for running in self.workers if not running.task.done()]

    async def ready(self, *workers: Running) -> None:
        """Wait until the group is stable and all lanes of these workers (or of all) flow."""
        await until(lambda: self.broker.group.stable and all(map(self._flows, workers or self._alive())))

    def _flows(self, running: Running) -> bool:
        lanes = {lane.partition: lane for lane in running.worker.status().lanes}
        owns = running.source in self.broker.group.members and lanes.keys() == running.source.owned
        return owns and not any(lane.suspended for lane in lanes.values())

    def _alive(self) -> list[Running]:
        return [running for running in self.workers if not running.task.done()]

    # What is true.

    async def decided(self, seconds: float = 600.0) -> None:
        """Wait until every event has a decision or a dead letter, or fail."""
        await until(lambda: len(self.broker.visible) >= len(self._items) or self._faults(), seconds)
        assert self._faults() == []
        self.verify()

    def _faults(self) -> list[BaseException]:
        ended = [running.task for running in self.workers if running.task.done() and not running.task.cancelled()]
        return [exc for task in ended if (exc := task.exception()) is not None]

    def verify(self) -> None:
        """Every event has exactly one outcome at read_committed, and the outcomes of a key are in offset order."""
        outcomes = self.outcomes()
        assert Counter(outcomes) == Counter(self._items.keys())
        keys = {(each.partition, each.offset): each.key for log in self.broker.input.values() for each in log}
        by_key: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for partition, offset in outcomes:
            key = keys[partition, offset]
            if key is not None:
                by_key[partition, key].append(offset)
        assert all(offsets == sorted(offsets) for offsets in by_key.values()), dict(by_key)

    def outcomes(self) -> list[tuple[int, int]]:
        """Source partition and offset of every message at read_committed, in its order."""
        return [source_of(message) for message in self.broker.visible]

    def decisions(self) -> dict[str, dict[str, object]]:
        """Decisions at read_committed, by item."""
        values = [orjson.loads(each.value or b"") for each in self.broker.visible if each.topic != TOPICS.dead_letter]
        return {value["item_id"]: value for value in values}

    def point(self, partition: int = 0) -> CommitPoint:
        """What is committed now."""
        committed = self.broker.committed[partition]
        return decode(committed.offset, committed.metadata)

    def points(self, partition: int = 0) -> Iterable[CommitPoint]:
        """Everything that was ever committed, in order."""
        return [decode(each.offset, each.metadata) for each in self.broker.history[partition]]


def source_of(message: Message) -> tuple[int, int]:
    """Where a decision or a dead letter comes from."""
    if message.topic == TOPICS.dead_letter:
        headers = dict(message.headers)
        return int(headers["dlq_partition"] or b""), int(headers["dlq_offset"] or b"")
    source = orjson.loads(message.value or b"")["source"]
    return source["partition"], source["offset"]


def wall() -> datetime:
    """Wall time that goes with virtual time."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())
