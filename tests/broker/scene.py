"""One test's stage: fresh topics and group on a cluster, a simulator and workers of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from tests.broker import topics as broker_view
from tests.broker.drive import API_KEY, Simulator, WorkerProcess
from tests.broker.topics import Group, Topics
from tests.broker.traffic import Event, submit
from tests.broker.verify import Evidence, Verdict, judge
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from types import TracebackType

    from tests.broker.kafka import KafkaCluster
    from worker.flow.commit_point import CommitPoint

OUTPUT_PARTITIONS = 4

# What makes a run short: nothing here changes what is promised.
QUICK = {
    "KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    "KAFKA_REBALANCE_TIMEOUT_SECONDS": "10",
    "KAFKA_TRANSACTION_TIMEOUT_SECONDS": "6",
    "COMMIT_INTERVAL_SECONDS": "0.05",
    "MODE": "direct",  # jobs of many tracks have tests of their own
    "MAX_CONCURRENCY": "32",
    "RATE_LIMIT_PER_MINUTE": "0",
    "RETRY_BASE_SECONDS": "0.1",
    "RETRY_MAX_SECONDS": "1",
    "HOLD_PROBE_SECONDS": "0.3",
    "RECORD_DEADLINE_SECONDS": "60",
    "HS_TIMEOUT_SECONDS": "30",
    "DRAIN_SECONDS": "10",
    "REBALANCE_DRAIN_SECONDS": "5",
    "LOG_FORMAT": "json",
}


class Scene:
    """Build it with `scene`; everything it started ends with it."""

    def __init__(self, cluster: KafkaCluster, simulator: Simulator, home: Path, run: str, partitions: int) -> None:
        self.cluster = cluster
        self.simulator = simulator
        self.home = home
        self.run = run
        self.partitions = partitions
        self.topics = Topics.of(run)
        self.group = f"{run}-group"
        self.workers: list[WorkerProcess] = []

    async def __aenter__(self) -> Self:
        await self.simulator.ready()
        counts = dict.fromkeys(self.topics.outputs, OUTPUT_PARTITIONS) | {self.topics.submitted: self.partitions}
        await self.cluster.create_topics(counts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.process.kill()
        self.simulator.process.kill()

    @property
    def servers(self) -> str:
        return self.cluster.bootstrap_servers

    def start_worker(self, *, generation: int = 1, **settings: str) -> WorkerProcess:
        """Start one more worker; does not wait for it."""
        own = {
            "HS_API_KEY": API_KEY,
            "HS_BASE_URL": self.simulator.base_url(generation),
            "HS_API_GENERATION": str(generation),
            "HS_FIRST_POLL_SECONDS": "0.1",
            "HS_POLL_INTERVAL_SECONDS": "0.1",
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_GROUP_ID": self.group,
        }
        name = f"worker-{len(self.workers) + 1}"
        worker = WorkerProcess(self.home, name, QUICK | own | self.topics.environment | settings)
        self.workers.append(worker)
        return worker

    async def submit(self, events: Iterable[Event]) -> None:
        await submit(self.servers, self.topics.submitted, events)

    async def commit_points(self) -> dict[int, CommitPoint]:
        """What the group has committed, by partition."""
        return await broker_view.commit_points(self.servers, self.group, self.topics.submitted)

    async def done(self) -> int:
        """How many events are decided, published and committed, as the commit points tell it."""
        points = (await self.commit_points()).values()
        return sum(point.watermark + len(point.done) for point in points)

    async def undone(self) -> int:
        """How many analyses are bought whose decision is not committed: all that a crash now can buy again."""
        ledger, done = await self.simulator.ledger(), await self.done()
        return int(ledger["tracks"]) - done

    async def until_done(self, events: int, seconds: float = 60) -> None:
        """Wait until so many events are decided and committed."""

        async def enough() -> bool:
            self._require_life()
            return await self.done() >= events

        await wait_until(f"{events} events are done", enough, seconds)

    def _require_life(self) -> None:
        """A worker that ended with an error explains more than a time-out would."""
        failed = [worker for worker in self.workers if (worker.process.returncode or 0) > 0]
        assert not failed, f"{failed[0]} failed:\n{failed[0].process.tail()}"

    async def until_shared_by(self, members: int, seconds: float = 30) -> Group:
        """Wait until so many members share all partitions, with no rebalance under way."""

        async def settled() -> Group | None:
            group = await broker_view.describe_group(self.servers, self.group)
            return group if group.stable(members, self.partitions) else None

        return await wait_until(f"{members} members share {self.partitions} partitions", settled, seconds)

    async def visible(self) -> int:
        """Outcomes that a consumer can read now, counted one by one."""
        return len(await broker_view.read_all(self.servers, self.topics.outputs))

    async def visible_on(self, topic: str) -> int:
        """Outcomes that a consumer of one topic can read now."""
        return len(await broker_view.read_all(self.servers, [topic]))

    async def examine(self, *, seed: object, one_clock: bool = True) -> Verdict:
        """Read everything back and judge it."""
        return judge(await self.evidence(one_clock=one_clock), seed=seed)

    async def evidence(self, *, one_clock: bool = True) -> Evidence:
        """What the broker and the simulated API hold now, and the logs."""
        return Evidence(
            topics=self.topics,
            inputs=await broker_view.read_all(self.servers, [self.topics.submitted]),
            outputs=await broker_view.read_all(self.servers, self.topics.outputs),
            repeated=(await self.simulator.ledger())["repeated"],
            logs=[worker.log for worker in self.workers],
            one_clock=one_clock,
        )


@asynccontextmanager
async def scene(
    cluster: KafkaCluster, home: Path, run: str, *, partitions: int = 8, **simulation: float
) -> AsyncIterator[Scene]:
    """Set the stage; `simulation` are the simulator's options (by default 0.2 s ± 30 % an analysis, no rate limit)."""
    options = {"service_seconds": 0.2, "rate_limit_per_minute": 0, **simulation}
    async with Scene(cluster, Simulator(home, **options), home, run, partitions) as stage:
        yield stage
