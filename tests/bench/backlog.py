"""A backlog by jobs and one by one, side by side: requests, credits, CPU and memory, and the time after the analyses.

The simulated API's clock runs `--scale` times as fast: its quota stays 60 requests in one of its minutes, an analysis
takes 46 of its seconds ± 30 %, a job works on `--parallelism` tracks at a time. The worker is told so: its rate is
multiplied by the scale, the times of questions, retries and deadlines are divided by it. Kafka, the CPU and
BULK_MAX_WAIT_SECONDS (`--max-wait`) keep their own pace: beside what the quota takes, what they take after the last
analysis is `--scale` times too much. One constant is not scaled, the longest pause between two questions for a job
(600 s). It cannot bite here, and would not in truth as long as a job takes less (6,250 tracks: from `--parallelism` 480
on); a longer job is asked for once more every ten minutes.

All tracks of the backlog are there before the worker starts. The trickles, an event in every `--every` seconds with
MODE=auto and with MODE=direct, run at the same time and with the true clock. Outcomes are read back at read_committed
and judged; only the schemas look no more than at every twentieth decision, where there are more than 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.arrivals import percentile
from tests.bench.backlog_run import Backlog, Surroundings, work_off
from tests.broker.kafka import KafkaCluster
from tests.broker.scene import scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.bench.backlog_run import Run
    from tests.broker.scene import Scene

    Staged = Callable[[str, float], AbstractAsyncContextManager[Scene]]

PER_MINUTE = 60
SERVICE_SECONDS = 46.0
REQUESTS = {"jobs": "create a job", "job": "ask for one", "results": "read a page", "analyze": "single calls"}
WEBHOOK_CONNECTIONS = 64  # a track's end in a thousandth of a real second wants more than the simulator's eight
PRODUCT_WAIT_SECONDS = 30  # BULK_MAX_WAIT_SECONDS, as it is by default
WRONGS = ("lost", "repeated", "out_of_order", "decided_out_of_order")
MEBIBYTE = 1 << 20
CPU_SECONDS_A_TRACK = 0.0005  # of the worker, about: only to spread the kills over a run


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=100_000, help="0: only the trickles")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--scale", type=float, default=20, help="the API's seconds in a real one")
    parser.add_argument("--parallelism", type=int, default=500, help="tracks of one job that the API works on at once")
    parser.add_argument("--max-wait", type=float, default=15, help="BULK_MAX_WAIT_SECONDS: real seconds")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of the worker at random moments")
    parser.add_argument("--webhooks", action="store_true", help="let the API tell of every track, too")
    parser.add_argument("--direct-seconds", type=float, default=60, help="real; 0: no run of single calls")
    parser.add_argument("--trickle", type=int, default=90, help="events of each trickle; 0: none")
    parser.add_argument("--every", type=float, default=2, help="seconds between two of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="more settings of the worker")
    chosen = parser.parse_args(arguments)
    chosen.more = dict(pair.split("=", 1) for pair in chosen.set)
    return chosen


async def measure(chosen: argparse.Namespace) -> None:
    """Run it all on a broker of its own, and print each part when it is known."""
    with tempfile.TemporaryDirectory() as home:
        cluster = KafkaCluster(Path(home) / "kafka")
        try:
            await cluster.start()
            staged = _stages(cluster, Path(home), chosen)
            if chosen.tracks:
                await _backlogs(chosen, staged)
            if chosen.trickle:
                await _trickles(chosen, staged)
        finally:
            cluster.stop()


def _stages(cluster: KafkaCluster, home: Path, chosen: argparse.Namespace) -> Staged:
    @asynccontextmanager
    async def staged(name: str, scale: float) -> AsyncIterator[Scene]:
        folder = home / name
        folder.mkdir()
        simulation = {
            "time_scale": scale,
            "rate_limit_per_minute": PER_MINUTE,
            "service_seconds": SERVICE_SECONDS,
            "bulk_parallelism": chosen.parallelism,
            "webhook_connections": WEBHOOK_CONNECTIONS,
        }
        async with scene(cluster, folder, name, partitions=chosen.partitions, **simulation) as stage:
            yield stage

    return staged


async def _backlogs(chosen: argparse.Namespace, staged: Staged) -> None:
    surroundings = Surroundings(chosen.scale, PER_MINUTE, chosen.max_wait, chosen.more)
    async with staged("bulk", chosen.scale) as stage:
        webhooks = await surroundings.webhooks(stage) if chosen.webhooks else {}
        backlog = Backlog(chosen.tracks, chosen.seed, kills=_moments(chosen))
        runs = {"bulk": await work_off(stage, backlog, surroundings.settings(MODE="bulk", **webhooks))}
    if chosen.direct_seconds:
        _print(_table(runs, chosen))
        backlog = Backlog(int(chosen.direct_seconds * chosen.scale * PER_MINUTE / 60), chosen.seed)
        async with staged("direct", chosen.scale) as stage:
            runs["direct"] = await work_off(stage, backlog, surroundings.settings(MODE="direct"))
    _print(_table(runs, chosen))


async def _trickles(chosen: argparse.Namespace, staged: Staged) -> None:
    async def trickle(mode: str) -> str:
        async with staged(f"trickle-{mode}", 1) as stage:
            settings = Surroundings(1, PER_MINUTE, PRODUCT_WAIT_SECONDS, chosen.more).settings(MODE=mode)
            run = await work_off(stage, Backlog(chosen.trickle, chosen.seed, every=chosen.every), settings)
        p50, p95 = (percentile(run.latencies, share) for share in (0.5, 0.95))
        return (
            f"MODE={mode:<8} event -> decision p50 {p50:.1f} s, p95 {p95:.1f} s; {run.requests} requests, "
            f"{run.ledger['jobs']} jobs, {len(run.verdict.violations)} violations"
        )

    _print(f"trickle: {chosen.trickle} events, one in {chosen.every:g} s, the API's clock true")
    for line in await asyncio.gather(trickle("auto"), trickle("direct")):
        _print(line)


def _moments(chosen: argparse.Namespace) -> tuple[float, ...]:
    """When the worker is killed, in real seconds: anywhere from its start to about the last of its pages."""
    job = chosen.tracks / chosen.partitions / chosen.parallelism * SERVICE_SECONDS / chosen.scale
    reading = chosen.tracks * CPU_SECONDS_A_TRACK
    draw = random.Random(chosen.seed)  # noqa: S311 - a reproducible run, no secret
    return tuple(draw.uniform(1, chosen.max_wait + job + reading) for _ in range(chosen.kills))


def _table(runs: Mapping[str, Run], chosen: argparse.Namespace) -> str:
    columns = [dict(_rows(run, chosen.scale)) for run in runs.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    head = f"{'':<42}" + "".join(f"{mode:>16}" for mode in runs)
    lines = [f"{name:<42}" + "".join(f"{column.get(name, '-'):>16}" for column in columns) for name in names]
    reports = [run.verdict.report for run in runs.values() if run.verdict.violations]
    setting = (
        f"{chosen.partitions} partitions, {PER_MINUTE} requests a minute, an analysis {SERVICE_SECONDS:g} s ± 30 %, "
        f"{chosen.parallelism} of a job at once; the API's clock x {chosen.scale:g}"
    )
    return "\n".join((setting, head, *lines, *reports, ""))


def _rows(run: Run, scale: float) -> Iterator[tuple[str, str]]:
    asked = run.ledger["requests"]
    yield "tracks", f"{run.tracks}"
    yield "kill -9", f"{run.kills}"
    yield "requests", f"{run.requests}"
    for kind, words in REQUESTS.items():
        yield f"  to {words}", f"{asked.get(kind, 0)}"
    yield "429s", f"{run.ledger['throttled']}"
    yield "tracks per request", f"{run.tracks / run.requests:.1f}"
    yield "decided by a page / a webhook", " / ".join(f"{run.by_source.get(way, 0):.0f}" for way in ("page", "webhook"))
    yield "webhooks delivered", f"{run.ledger['webhooks'].get('delivered', 0)}"
    yield "start to last decision, the API's minutes", f"{run.seconds * scale / 60:.1f}"
    yield "last analysis to last decision, real s", f"{run.tail_seconds:.2f}"
    yield "  the same, the API's s", f"{run.tail_seconds * scale:.0f}"
    yield "credits per decision", f"{run.ledger['credits'] / max(1, run.verdict.decisions):.3f}"
    for kind in WRONGS:
        yield kind.replace("_", " "), f"{run.verdict.count(kind)}"
    yield "any other violation", f"{len(run.verdict.violations) - sum(map(run.verdict.count, WRONGS))}"
    yield "CPU of the worker, ms a track", f"{1000 * run.cpu_seconds / run.tracks:.3f}"
    yield "peak memory of the worker, MiB", f"{run.peak_bytes / MEBIBYTE:.0f}"
    if run.kept_bytes:
        yield "grown per track that waits, bytes", f"{run.kept_bytes / run.tracks:.0f}"


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the figures are the output


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics' leaders are retried, and said to be
    asyncio.run(measure(options()))


if __name__ == "__main__":
    main()
