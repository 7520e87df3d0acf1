"""Kill -9 in the middle of a run, several times: lost, repeated, bought again against what was open, time to recover.

"in flight" is what the simulated API was working on when the worker died; "not yet readable" is all that was bought
by then and had no decision at read_committed: only that can be bought again. Recovery is the longest time without a
new decision after the kill, so it holds the group's session time-out, unless the member is static.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.arrivals import Arrivals, watching
from tests.bench.throughput import outputs
from tests.broker.kafka import KafkaCluster
from tests.broker.scene import Scene, scene
from tests.broker.traffic import tracks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.broker.drive import WorkerProcess
    from tests.broker.verify import Verdict


@dataclass(frozen=True, slots=True)
class Kill:
    """What stood open when the worker died."""

    at: float
    in_flight: int
    unreadable: int


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--service-seconds", type=float, default=0.25, help="mean time of an analysis, ±30 %%")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--generation", type=int, choices=(1, 2), default=1)
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--session-seconds", type=float, default=6, help="KAFKA_SESSION_TIMEOUT_SECONDS")
    parser.add_argument("--static", action="store_true", help="static membership: the successor takes the same seat")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="more settings of the worker")
    return parser.parse_args(arguments)


async def measure(chosen: argparse.Namespace) -> str:
    """Run it on a broker of its own; returns the report."""
    with tempfile.TemporaryDirectory() as home:
        cluster = KafkaCluster(Path(home) / "kafka")
        try:
            await cluster.start()
            simulation = {"service_seconds": chosen.service_seconds, "seed": chosen.seed}
            async with scene(cluster, Path(home), "kills", partitions=chosen.partitions, **simulation) as stage:
                return await _run(stage, chosen)
        finally:
            cluster.stop()


async def _run(stage: Scene, chosen: argparse.Namespace) -> str:
    events = tracks(chosen.events, run=stage.run, partitions=chosen.partitions, seed=chosen.seed, per_key=0)
    await stage.submit(events)
    kills = list[Kill]()
    async with watching(stage.servers, outputs(stage)) as arrivals:
        worker = _start(stage, chosen)
        for number in range(1, chosen.kills + 1):
            await _until_decided(stage, chosen.events * number // (chosen.kills + 1))
            kills.append(await _kill(stage, worker))
            worker = _start(stage, chosen)
        await stage.until_done(chosen.events, seconds=180)
        await worker.stop()
    verdict = await stage.examine(seed=chosen.seed)
    lines = [
        f"kill {number}: in flight {kill.in_flight}, bought and not yet readable {kill.unreadable}, "
        f"recovered after {_gap(arrivals, kill.at):.1f} s"
        for number, kill in enumerate(kills, 1)
    ]
    return "\n".join((_title(chosen), *lines, *_totals(verdict, kills)))


def _title(chosen: argparse.Namespace) -> str:
    return (
        f"{chosen.events} events, {chosen.kills} kill -9, {chosen.concurrency} in flight x "
        f"{chosen.service_seconds * 1000:g} ms, {chosen.guarantee}, generation {chosen.generation}, "
        f"session {chosen.session_seconds:g} s{', static member' if chosen.static else ''}"
    )


def _totals(verdict: Verdict, kills: Sequence[Kill]) -> list[str]:
    kinds = ("lost", "repeated", "out_of_order", "malformed", "leaked")
    in_flight, unreadable = (sum(kill.in_flight for kill in kills), sum(kill.unreadable for kill in kills))
    return [
        ", ".join(f"{kind} {verdict.count(kind)}" for kind in kinds),
        f"bought again {verdict.bought_again} of at most {unreadable} (in flight at the kills: {in_flight})",
        *([verdict.report] if verdict.violations else []),
    ]


def _start(stage: Scene, chosen: argparse.Namespace) -> WorkerProcess:
    settings = {
        "GUARANTEE": chosen.guarantee,
        "MAX_CONCURRENCY": str(chosen.concurrency),
        "COMMIT_INTERVAL_SECONDS": "0.2",
        "KAFKA_SESSION_TIMEOUT_SECONDS": f"{chosen.session_seconds:g}",
    }
    if chosen.static:
        settings["KAFKA_GROUP_INSTANCE_ID"] = "seat-1"
    settings |= dict(pair.split("=", 1) for pair in chosen.set)
    return stage.start_worker(generation=chosen.generation, **settings)


async def _until_decided(stage: Scene, count: int) -> None:
    """Purchases run ahead of decisions by what is open, so wait for the decisions."""
    await stage.until_done(count, seconds=120)


async def _kill(stage: Scene, worker: WorkerProcess) -> Kill:
    at = time.time()
    ledger = await stage.simulator.ledger()
    worker.process.kill()
    credits_now = (await stage.simulator.ledger())["credits"]
    distinct = credits_now - sum(count - 1 for count in ledger["repeated"].values())
    in_flight = ledger["requests_in_flight"]
    # By the commit points: reading the outcomes back would wait for the dead worker's transactions to time out,
    # and the successor, which ends them at once, has not started yet.
    return Kill(at, in_flight, distinct - await stage.done())


def _gap(arrivals: Arrivals, at: float) -> float:
    """The longest silence that begins within a second of the kill; what was committed just before may still arrive."""
    times = [*(time for time in arrivals.times if time >= at)]
    edges = [at, *times]
    return max(
        (later - earlier for earlier, later in zip(edges, times, strict=False) if earlier <= at + 1), default=0.0
    )


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics' leaders are retried, and said to be
    print(asyncio.run(measure(options())))  # noqa: T201 - the figures are the output


if __name__ == "__main__":
    main()
