"""One run of the backlog bench: a worker (and its heirs, where it is killed) decides so many tracks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaProducer

from tests.bench.arrivals import watching
from tests.bench.throughput import outputs
from tests.broker.contracts import decision_mistakes
from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.traffic import tracks
from tests.broker.verify import Place, judge
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.bench.arrivals import Arrivals
    from tests.broker.drive import WorkerProcess
    from tests.broker.scene import Scene
    from tests.broker.traffic import Event
    from tests.broker.verify import Verdict
    from worker.domain.record import Headers

SAMPLE_SECONDS = 0.25
PATIENCE_SECONDS = 600.0  # without a new decision
WHOLE_CHECK = 10_000  # decisions up to which the schemas look at every one
CHECKED_EVERY = 20
SECRET = "sandbox-webhook-secret"  # noqa: S105 - the simulator's
# In the API's seconds; the defaults of the settings of these names.
SECONDS = {
    "RETRY_BASE_SECONDS": 1.0,
    "RETRY_MAX_SECONDS": 60.0,
    "RECORD_DEADLINE_SECONDS": 900.0,
    "BULK_ABOVE_SECONDS": 300.0,
    "BULK_POLL_SECONDS": 20.0,
    "BULK_DEADLINE_SECONDS": 21_600.0,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker must be told: the API's clock and quota, and what the command line adds."""

    scale: float
    per_minute: int
    max_wait_seconds: float
    more: Mapping[str, str]

    def settings(self, **own: str) -> dict[str, str]:
        scaled = {name: f"{seconds / self.scale:g}" for name, seconds in SECONDS.items()}
        fixed = {
            "RATE_LIMIT_PER_MINUTE": f"{self.per_minute * self.scale:.0f}",
            "BULK_MAX_WAIT_SECONDS": f"{self.max_wait_seconds:g}",
            # The stage's own is for analyses that are quick; above the deadline it would be refused.
            "HS_TIMEOUT_SECONDS": f"{min(120.0, SECONDS['RECORD_DEADLINE_SECONDS'] / self.scale):g}",
            "MAX_CONCURRENCY": "64",
            "COMMIT_INTERVAL_SECONDS": "0.2",
            "KAFKA_SESSION_TIMEOUT_SECONDS": "10",
            "KAFKA_GROUP_INSTANCE_ID": "seat-1",
        }
        return scaled | fixed | own | dict(self.more)

    @staticmethod
    async def webhooks(stage: Scene) -> dict[str, str]:
        """Make the internal topic; returns the settings by which the API reaches the worker."""
        [port], topic = free_ports(1), f"{stage.run}-webhook"
        await stage.cluster.create_topics({topic: stage.partitions})
        return {
            "WEBHOOK_URL": f"http://{LOOPBACK}:{port}/webhooks/humanstandard",
            "WEBHOOK_SECRET": SECRET,
            "WEBHOOK_HOST": LOOPBACK,
            "WEBHOOK_PORT": str(port),
            "TOPIC_WEBHOOK": topic,
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be decided: all at once, or an event `every` so many real seconds. `kills`: seconds from the start."""

    tracks: int
    seed: int
    kills: tuple[float, ...] = ()
    every: float = 0.0

    def events(self, stage: Scene) -> list[Event]:
        per_key = 0 if self.every else 4  # a track that waits for its predecessor tells nothing of latency
        return tracks(self.tracks, run=stage.run, partitions=stage.partitions, seed=self.seed, per_key=per_key)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of it, in real seconds; `tail_seconds`: from the end of the last analysis to the last decision."""

    tracks: int
    kills: int
    seconds: float
    tail_seconds: float
    ledger: Mapping[str, Any]
    cpu_seconds: float
    peak_bytes: int
    kept_bytes: int  # by which the resident set had grown when the last track was in a job
    by_source: Mapping[str, float]
    verdict: Verdict = field(repr=False)
    latencies: Sequence[float] = field(repr=False)

    @property
    def requests(self) -> int:
        return sum(self.ledger["requests"].values())


@dataclass(slots=True)
class Crew:
    """The worker of a run and those that were killed before it: what they used, all together."""

    stage: Scene
    settings: Mapping[str, str]
    worker: WorkerProcess = field(init=False)
    kills: int = 0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    start_bytes: int = 0
    kept_bytes: int = 0

    async def start(self) -> None:
        """Start one, and wait until it has read its code: what it takes from then on is for the tracks."""
        worker = self.worker = self.stage.start_worker(generation=1, **self.settings)

        async def answers() -> bool:
            assert worker.process.alive, worker.process.tail()
            return (await worker.readiness())[0] > 0

        await wait_until(f"{worker} answers", answers, 60)
        self.cpu_seconds -= worker.process.cpu_seconds()
        self.start_bytes = resident_bytes(worker.process.pid)

    def note(self) -> None:
        """Count what this worker has used, which ends now."""
        self.cpu_seconds += self.worker.process.cpu_seconds()
        self.peak_bytes = max(self.peak_bytes, self.worker.process.peak_memory_bytes())

    async def replace(self) -> None:
        """Kill -9, and the next one."""
        self.note()
        self.worker.process.kill()
        self.kills += 1
        await self.start()


def resident_bytes(pid: int) -> int:
    """The resident set now (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


async def work_off(stage: Scene, backlog: Backlog, settings: Mapping[str, str]) -> Run:
    """Submit, start a worker, kill it as often as wanted, wait for the last decision, and judge."""
    events = backlog.events(stage)
    if not backlog.every:
        await stage.submit(events)
    async with watching(stage.servers, outputs(stage)) as arrivals:
        crew, began = Crew(stage, settings), time.time()
        await crew.start()
        if backlog.every:
            await crew.worker.ready()
        feeding = asyncio.create_task(_feed(stage, events if backlog.every else (), backlog.every))
        await _until_decided(crew, backlog, arrivals)
        await feeding
        metrics = await crew.worker.metrics()
        crew.note()
        await crew.worker.stop()
    return await _judged(crew, backlog, arrivals, began, metrics)


async def _feed(stage: Scene, events: Iterable[Event], every: float) -> None:
    """One after the other, at their times."""
    producer = AIOKafkaProducer(bootstrap_servers=stage.servers)
    await producer.start()
    try:
        began = time.monotonic()
        for number, event in enumerate(events):
            await asyncio.sleep(began + number * every - time.monotonic())
            await producer.send(
                stage.topics.submitted, event.value, event.key, event.partition, headers=list(event.headers)
            )
    finally:
        await producer.stop()


async def _until_decided(crew: Crew, backlog: Backlog, arrivals: Arrivals) -> None:
    began = progressed = time.monotonic()
    seen, due = 0, sorted(backlog.kills)
    while len(arrivals.seen) < backlog.tracks:
        now = time.monotonic()
        seen, progressed = len(arrivals.seen), now if len(arrivals.seen) > seen else progressed
        if not crew.worker.process.alive or now > progressed + PATIENCE_SECONDS:
            raise SystemExit(f"{seen} of {backlog.tracks} decided, then:\n{crew.worker.process.tail()}")
        if due and now > began + due[0]:
            del due[0]
            await crew.replace()
        await _weigh(crew, backlog)
        await asyncio.sleep(SAMPLE_SECONDS)


async def _weigh(crew: Crew, backlog: Backlog) -> None:
    """Note once by how much the worker has grown, when every track is in a job that the API has taken."""
    if crew.kept_bytes == 0 and crew.kills == 0 and backlog.tracks > 0:
        ledger = await crew.stage.simulator.ledger()
        if ledger["job_items"] >= backlog.tracks:
            crew.kept_bytes = resident_bytes(crew.worker.process.pid) - crew.start_bytes


async def _judged(crew: Crew, backlog: Backlog, arrivals: Arrivals, began: float, metrics: Mapping[str, float]) -> Run:
    evidence = await crew.stage.evidence()
    if backlog.tracks > WHOLE_CHECK:
        evidence = replace(evidence, mistakes=_now_and_then())
    submitted = {Place(record.partition, record.offset): record.timestamp_ms / 1000 for record in evidence.inputs}
    analysed, latencies = list[float](), list[float]()
    for at, value in arrivals.seen:
        decision = orjson.loads(value)
        place = Place(decision["source"]["partition"], decision["source"]["offset"])
        latencies.append(at - submitted[place])
        analysed.append(datetime.fromisoformat(decision["analysis"]["processed_at"]).timestamp())
    results = 'track_intake_job_results_total{outcome="decided",source="'
    return Run(
        tracks=backlog.tracks,
        kills=crew.kills,
        seconds=arrivals.times[-1] - began,
        tail_seconds=arrivals.times[-1] - max(analysed),
        ledger=await crew.stage.simulator.ledger(),
        cpu_seconds=crew.cpu_seconds,
        peak_bytes=crew.peak_bytes,
        kept_bytes=crew.kept_bytes,
        by_source={name.split('"')[-2]: value for name, value in metrics.items() if name.startswith(results)},
        verdict=judge(evidence, seed=backlog.seed),
        latencies=sorted(latencies),
    )


def _now_and_then() -> Callable[[Mapping[str, Any], Headers], Iterable[str]]:
    numbers = count()

    def mistakes(decision: Mapping[str, Any], headers: Headers) -> Iterable[str]:
        return () if next(numbers) % CHECKED_EVERY else decision_mistakes(decision, headers)

    return mistakes
