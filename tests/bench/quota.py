"""How well a quota is used: tracks decided per request, 429s received, share of the quota in the steady state.

The simulated API's clock runs `--scale` times as fast, its quota stays 60 requests in one of its minutes, an analysis
takes 46 of its seconds. So in real time 60 x scale requests a minute may leave, in windows of 60 / scale seconds, and
the worker is told so: RATE_LIMIT_PER_MINUTE is multiplied by the scale, the times of polls, retries and deadlines are
divided by it, and each track goes by itself (MODE=direct); all other settings are the product's. The worker's slack is
that of a full minute, so here the network and late timers have it divided by the scale, too. That is harder than the
truth: a busy machine shows as unused quota or 429s. It also cuts the limit into whole requests of a real minute: choose
partitions so that each replica's part of 60 is whole.

The steady state is from `--warm-up` of the tracks bought (the first polls have been learned, the limit of analyses in
flight has grown) to 0.97 of them (there is still a backlog). The quota is what the API admits in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.arrivals import watching
from tests.bench.throughput import outputs
from tests.broker.kafka import KafkaCluster
from tests.broker.scene import Scene, scene
from tests.broker.traffic import SCENARIOS, track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tests.bench.arrivals import Arrivals
    from tests.broker.traffic import Event

PER_MINUTE = 60
REQUESTS_A_TRACK = {1: 1, 2: 2}
COOL_DOWN = 0.97
SAMPLE_SECONDS = 0.1
# In the API's seconds; the defaults of the settings of these names.
SECONDS = {
    "HS_FIRST_POLL_SECONDS": 25.0,
    "HS_POLL_INTERVAL_SECONDS": 5.0,
    "RETRY_BASE_SECONDS": 1.0,
    "RETRY_MAX_SECONDS": 60.0,
    "RECORD_DEADLINE_SECONDS": 900.0,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What the API had been asked for by then (Unix seconds)."""

    at: float
    bought: int
    submissions: int
    polls: int
    throttled: int


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generation", type=int, choices=(1, 2), default=2)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=40, help="the API's: how long the quota needs for all tracks")
    parser.add_argument("--scale", type=float, default=20, help="the API's seconds in a real one")
    parser.add_argument("--service-seconds", type=float, default=46, help="the API's: mean time of an analysis")
    parser.add_argument("--jitter", type=float, default=0.3, help="share of it, both ways")
    parser.add_argument("--warm-up", type=float, default=0.3, help="share of the tracks before the steady state")
    parser.add_argument("--concurrency", type=int, default=64, help="MAX_CONCURRENCY of each replica")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="more settings of the worker")
    return parser.parse_args(arguments)


async def measure(chosen: argparse.Namespace) -> str:
    """Run it on a broker of its own; returns the report."""
    simulation = {
        "time_scale": chosen.scale,
        "rate_limit_per_minute": PER_MINUTE,
        "service_seconds": chosen.service_seconds,
        "jitter": chosen.jitter,
    }
    with tempfile.TemporaryDirectory() as home:
        cluster = KafkaCluster(Path(home) / "kafka")
        try:
            await cluster.start()
            async with scene(cluster, Path(home), "quota", partitions=chosen.partitions, **simulation) as stage:
                return await _run(stage, chosen)
        finally:
            cluster.stop()


async def _run(stage: Scene, chosen: argparse.Namespace) -> str:
    count = round(chosen.minutes * PER_MINUTE / REQUESTS_A_TRACK[chosen.generation])
    workers = [stage.start_worker(generation=chosen.generation, **_settings(chosen)) for _ in range(chosen.replicas)]
    await stage.until_shared_by(chosen.replicas)
    await stage.submit(_backlog(count, stage.run, chosen.partitions))
    async with watching(stage.servers, outputs(stage)) as arrivals:
        samples = await _sample(stage, arrivals, count, chosen)
    allowed = [(await worker.metrics())["track_intake_quota_requests_per_minute"] for worker in workers]
    for worker in workers:
        await worker.stop()
    verdict = await stage.examine(seed=1)
    counts = ", ".join(f"{kind} {verdict.count(kind)}" for kind in ("lost", "repeated", "out_of_order"))
    shares = " + ".join(f"{each / chosen.scale:g}" for each in allowed)
    runs = f"generation {chosen.generation}, {chosen.replicas} replicas, {chosen.partitions} partitions"
    last = samples[-1]
    return "\n".join(
        (
            f"{runs}, {count} tracks; clock x {chosen.scale:g}",
            f"the replicas' parts      {shares} of {PER_MINUTE} requests a minute",
            *_steady(samples, arrivals, count, chosen),
            f"429s in the whole run    {last.throttled} of {last.submissions + last.polls} requests",
            f"{counts}, bought {last.bought} for {count} events",
        )
    )


def _backlog(count: int, run: str, partitions: int) -> list[Event]:
    """As many for each partition: a replica whose tracks end before the others' would leave its part unused."""
    scenarios = cycle(SCENARIOS)
    return [
        track(number, run=run, scenario=next(scenarios), key=None, partitions=partitions) for number in range(count)
    ]


def _settings(chosen: argparse.Namespace) -> dict[str, str]:
    own = {name: f"{seconds / chosen.scale:g}" for name, seconds in SECONDS.items()}
    own |= {
        "RATE_LIMIT_PER_MINUTE": f"{PER_MINUTE * chosen.scale:.0f}",
        "MAX_CONCURRENCY": str(chosen.concurrency),
        "MODE": "direct",
        "COMMIT_INTERVAL_SECONDS": "0.2",
        "KAFKA_SESSION_TIMEOUT_SECONDS": "10",
    }
    return own | dict(pair.split("=", 1) for pair in chosen.set)


async def _sample(stage: Scene, arrivals: Arrivals, count: int, chosen: argparse.Namespace) -> list[Sample]:
    """Look at the API's ledger until every decision has arrived."""
    samples, deadline = list[Sample](), time.monotonic() + 120 + 3 * 60 * chosen.minutes / chosen.scale
    while len(arrivals.seen) < count:
        dead = [worker for worker in stage.workers if not worker.process.alive]
        if dead or time.monotonic() > deadline:
            raise SystemExit(f"{len(arrivals.seen)} of {count} decided, then:\n{stage.workers[0].process.tail()}")
        samples.append(_sampled(await stage.simulator.ledger()))
        await asyncio.sleep(SAMPLE_SECONDS)
    return [*samples, _sampled(await stage.simulator.ledger())]


def _sampled(ledger: Mapping[str, Any]) -> Sample:
    requests = ledger["requests"]
    asked = requests.get("analyze", 0), requests.get("status", 0)
    return Sample(time.time(), ledger["credits"], *asked, ledger["throttled"])


def _steady(samples: Sequence[Sample], arrivals: Arrivals, count: int, chosen: argparse.Namespace) -> list[str]:
    within = [each for each in samples if chosen.warm_up * count <= each.bought <= COOL_DOWN * count]
    first, last = within[0], within[-1]
    submissions, polls = last.submissions - first.submissions, last.polls - first.polls
    throttled, seconds = last.throttled - first.throttled, last.at - first.at
    decided = sum(first.at <= at <= last.at for at in arrivals.times)
    admitted = submissions + polls - throttled
    minutes = seconds * chosen.scale / 60
    return [
        f"steady state             {minutes:.1f} of the API's minutes, {seconds:.0f} s",
        f"share of the quota used  {admitted / (minutes * PER_MINUTE):.3f}",
        f"429s received            {throttled}",
        f"requests                 {submissions} submissions, {polls} polls",
        f"tracks per request       {decided / (submissions + polls):.3f}    ({decided} tracks decided)",
    ]


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics' leaders are retried, and said to be
    print(asyncio.run(measure(options())))  # noqa: T201 - the figures are the output


if __name__ == "__main__":
    main()
