"""One chaos run: three brokers behind a fault proxy, one to three workers, events without a pause, faults by plan.

`run` returns what happened; nothing is judged by what the workers say of themselves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.arrivals import watching
from tests.bench.throughput import outputs
from tests.broker import topics as broker_view
from tests.broker.bad_input import UNSTOPPED, bad_input
from tests.broker.disk import NoDiskError
from tests.broker.kafka import KafkaCluster
from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.scene import Scene, scene
from tests.broker.verify import judge
from tests.broker.waiting import wait_until
from tests.chaos.faults import Faults, Injury
from tests.chaos.feed import Feed
from tests.chaos.fleet import Fleet, clock_library
from tests.chaos.plan import KINDS, TRACKS, plan
from tests.chaos.report import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from tests.broker.drive import WorkerProcess
    from tests.broker.verify import Evidence, Place, Verdict
    from tests.chaos.plan import Step

PARTITIONS = 12
FIRST_WORKERS = 2
SUPERVISION_SECONDS = 0.5
DISK_BYTES = 1 << 30
AFTERMATH_SECONDS = 30.0

SETTINGS = UNSTOPPED | {
    "COMMIT_INTERVAL_SECONDS": "0.1",
    "HOLD_PROBE_SECONDS": "1",
    "HS_TIMEOUT_SECONDS": "10",
    "KAFKA_METADATA_MAX_AGE_SECONDS": "2",
    "KAFKA_REBALANCE_TIMEOUT_SECONDS": "15",
    "KAFKA_SESSION_TIMEOUT_SECONDS": "3",
    "KAFKA_TRANSACTION_TIMEOUT_SECONDS": "6",
    "MAX_CONCURRENCY": "128",
    "REBALANCE_DRAIN_SECONDS": "8",
    "DRAIN_SECONDS": "20",
}


# With jobs of many tracks: small ones, so that there are many.
JOBS = {
    "MODE": "bulk",
    "BULK_MAX_ITEMS": "60",
    "BULK_MAX_WAIT_SECONDS": "1",
    "BULK_POLL_SECONDS": "1",
    "BULK_DEADLINE_SECONDS": "60",
}
WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105 - the simulator's
WEBHOOK_TROUBLES = {
    "webhook_lost": 0.1,
    "webhook_duplicated": 0.2,
    "webhook_reordered": 0.2,
    "webhook_forged": 0.1,
}
NOT_WITH_JOBS = frozenset({"usurped_seat"})  # two processes on one seat cannot both listen for webhooks


@dataclass(frozen=True, slots=True)
class Options:
    """A run: so many seconds of faults, then as long as it takes to decide the rest."""

    seed: int
    seconds: float
    generation: int = 2
    events_per_second: float = 40.0
    service_seconds: float = 2.0
    deadline_seconds: float = 30.0
    bad: int = 500  # events among the others that are odd or none
    kinds: frozenset[str] = KINDS
    calm: float = 1.0  # more of it: longer rests between faults
    jobs: bool = False  # tracks go in jobs of many, of generation 1; the API tells of them, to one replica, and badly


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a run left behind."""

    options: Options
    verdict: Verdict
    evidence: Evidence
    ledger: Mapping[str, Any]
    injuries: Sequence[Injury]
    timeline: Sequence[tuple[float, Place]]  # (Unix seconds, its event's place) of each decision that a consumer saw
    crashes: Sequence[str]
    exit_codes: Sequence[int]
    peak_memory_bytes: int


async def run(home: Path, options: Options) -> Aftermath:
    """Do it all in `home`. AssertionError where the run does not come to its end."""
    cluster, has_disks = await _brokers(home)
    try:
        async with cluster.proxy(seed=options.seed) as proxy, _scene(cluster, home, options) as stage:
            fleet = Fleet(stage, cluster.proxied_bootstrap_servers, options.generation, _settings(options))
            if options.jobs:
                await _tell_of_jobs(stage, fleet)
            return await _run(Faults(stage, cluster, proxy, fleet, has_disks), options)
    finally:
        cluster.stop()


async def _brokers(home: Path) -> tuple[KafkaCluster, bool]:
    """Three of them, with small disks of their own where those can be mounted."""
    cluster = KafkaCluster(home / "kafka", brokers=3, proxied=True, disk_bytes=DISK_BYTES)
    try:
        await cluster.start()
    except NoDiskError:
        cluster.stop()
        cluster = KafkaCluster(home / "kafka-without-disks", brokers=3, proxied=True)
        await cluster.start()
        return cluster, False
    return cluster, True


def _scene(cluster: KafkaCluster, home: Path, options: Options) -> Any:
    simulation = {"service_seconds": options.service_seconds, "seed": options.seed, "slow_body_seconds": 3.0}
    return scene(cluster, home, f"chaos-{options.seed}", partitions=PARTITIONS, **simulation)


async def _run(faults: Faults, options: Options) -> Aftermath:
    stage, fleet = faults.scene, faults.fleet
    bad = bad_input(options.bad, run=stage.run, partitions=PARTITIONS, seed=options.seed)
    feed = Feed(stage, seed=options.seed, per_second=options.events_per_second, bad=bad)
    for number in range(1, FIRST_WORKERS + 1):
        await fleet.process(fleet.start(number)).ready()
    async with watching(stage.servers, outputs(stage)) as arrivals:
        await _suffer(faults, feed, options)
        await _until_all_done(stage, fleet, options)
        codes = [await fleet.process(seat).stop(60) for seat in fleet.taken()]
        evidence = await stage.evidence(one_clock=clock_library() is None)
    return Aftermath(
        options=options,
        verdict=judge(evidence, seed=options.seed),
        evidence=evidence,
        ledger=await stage.simulator.ledger(),
        injuries=faults.injuries,
        timeline=timeline(arrivals.seen),
        crashes=fleet.crashes,
        exit_codes=codes,
        peak_memory_bytes=fleet.peak_memory_bytes,
    )


def _settings(options: Options) -> dict[str, str]:
    own = {
        "RECORD_DEADLINE_SECONDS": f"{options.deadline_seconds:g}",
        "HS_FIRST_POLL_SECONDS": f"{options.service_seconds:g}",
        "HS_POLL_INTERVAL_SECONDS": f"{options.service_seconds / 8:g}",
    }
    return SETTINGS | own | (JOBS if options.jobs else {})


async def _tell_of_jobs(stage: Scene, fleet: Fleet) -> None:
    [port] = free_ports(1)
    topic = f"{stage.run}-webhook"
    await stage.cluster.create_topics({topic: PARTITIONS})
    await stage.simulator.switch(**WEBHOOK_TROUBLES)
    fleet.settings = {
        **fleet.settings,
        "WEBHOOK_URL": f"http://{LOOPBACK}:{port}/webhooks/humanstandard",
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "WEBHOOK_HOST": LOOPBACK,
        "TOPIC_WEBHOOK": topic,
    }
    fleet.webhook_port = port


async def _suffer(faults: Faults, feed: Feed, options: Options) -> None:
    """Events and faults, until both are over; one supervisor watches."""
    steps = plan(options.seed, options.seconds, options.kinds, options.calm)
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        supervisor = group.create_task(_supervise(faults.fleet))
        tracks = [[step for step in steps if step.track == track] for track in TRACKS]
        await asyncio.gather(
            feed.run(options.seconds), *(group.create_task(_track(faults, track, began)) for track in tracks)
        )
        supervisor.cancel()


async def _track(faults: Faults, steps: Sequence[Step], began: float) -> None:
    loop = asyncio.get_running_loop()
    for step in steps:
        await asyncio.sleep(began + step.at - loop.time())
        await faults.inject(step)


async def _supervise(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(SUPERVISION_SECONDS)
        fleet.replace_crashed()
        fleet.measure()


async def _until_all_done(stage: Scene, fleet: Fleet, options: Options) -> None:
    """Every record of the input topic is below a watermark; AssertionError with what is not, where that takes long."""
    left: dict[int, tuple[int, int]] = {}

    async def done() -> bool:
        fleet.replace_crashed()
        left.clear()
        left.update(await _open(stage))
        return not left

    seconds = 2 * options.deadline_seconds + AFTERMATH_SECONDS
    try:
        await wait_until("every event is decided", done, seconds, 0.3)
    except AssertionError as late:
        tails = "\n".join([await _last_words(fleet.process(seat)) for seat in fleet.taken()])
        what = f"not decided {seconds:g} s after the last fault, partition: (watermark, end) {left}"
        raise AssertionError(f"seed {options.seed}: {what}\n{tails}") from late


async def _last_words(worker: WorkerProcess) -> str:
    return f"{worker.name}:\n{worker.process.tail(4)}\n{await worker.status()}"


async def _open(stage: Scene) -> dict[int, tuple[int, int]]:
    """Partitions whose watermark is not at their end: (watermark, end)."""
    ends = await broker_view.ends(stage.servers, stage.topics.submitted)
    points = await stage.commit_points()
    marks = {number: points[number].watermark if number in points else 0 for number in ends}
    return {number: (marks[number], end) for number, end in ends.items() if marks[number] < end}
