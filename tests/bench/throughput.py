"""Steady rate ÷ (concurrency ÷ latency), CPU a decided track, and what the worker adds to an analysis' latency.

Broker, simulated API, worker and the watching consumer are four processes on one machine; all events are there
before the worker starts. The steady window is the time in which the middle of the decisions became readable: the
start (joining, JVM still interpreting) and the tail (fewer tracks left than may be in flight) say nothing of it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from tests.bench.arrivals import Arrivals, percentile, watching
from tests.broker.kafka import KafkaCluster
from tests.broker.processes import CLOCK_TICKS
from tests.broker.scene import OUTPUT_PARTITIONS, Scene, scene
from tests.broker.traffic import tracks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.broker.processes import ChildProcess

WINDOW = (0.15, 0.85)  # shares of all decisions
SAMPLE_SECONDS = 0.05
QUIET_CORES = 0.2  # more than this for strangers, and the figures are not the worker's


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds used so far, by process."""

    at: float
    used: dict[str, float]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--service-seconds", type=float, default=0.25, help="mean time of an analysis")
    parser.add_argument("--jitter", type=float, default=0.3, help="share of it, both ways")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--generation", type=int, choices=(1, 2), default=1)
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument(
        "--commit-interval", type=float, default=0.2, help="COMMIT_INTERVAL_SECONDS (product's default)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="more settings of the worker")
    parser.add_argument("--time-limit", type=float, default=180)
    return parser.parse_args(arguments)


async def measure(chosen: argparse.Namespace) -> str:
    """Run it on a broker of its own; returns the report."""
    with tempfile.TemporaryDirectory() as home:
        cluster = KafkaCluster(Path(home) / "kafka")
        try:
            await cluster.start()
            simulation = {"service_seconds": chosen.service_seconds, "jitter": chosen.jitter}
            async with scene(cluster, Path(home), "bench", partitions=chosen.partitions, **simulation) as stage:
                return await _run(stage, chosen)
        finally:
            cluster.stop()


async def _run(stage: Scene, chosen: argparse.Namespace) -> str:
    events = tracks(chosen.events, run=stage.run, partitions=chosen.partitions, seed=1, per_key=0)
    await stage.submit(events)
    load_before = os.getloadavg()[0]
    async with watching(stage.servers, outputs(stage)) as arrivals:
        worker = stage.start_worker(generation=chosen.generation, **_settings(chosen))
        samples = await _sample(stage, worker.process, arrivals, chosen)
        commits = _commits(await worker.metrics())
        await worker.stop()
    ledger = await stage.simulator.ledger()
    verdict = await stage.examine(seed=1)
    counts = f"lost {verdict.count('lost')}, repeated {verdict.count('repeated')}, bought {ledger['credits']}"
    peak = f"at most {ledger['analyses_in_flight_max']} analyses in flight"
    return f"{_report(arrivals, samples, chosen, load_before)}\n{commits}\n{counts} for {verdict.events} events; {peak}"


def _commits(metrics: Mapping[str, float]) -> str:
    """Number, mean duration and mean size of the publications, as the worker counts them."""

    def total(ending: str) -> float:
        return sum(value for name, value in metrics.items() if name.partition("{")[0].endswith(ending))

    count, seconds = total("commit_duration_seconds_count"), total("commit_duration_seconds_sum")
    mean = 1000 * seconds / max(count, 1)
    return f"transactions           {count:8.0f} of {mean:.1f} ms in the mean (whole run, the start included)"


def outputs(stage: Scene) -> list[TopicPartition]:
    """Every partition of the output topics."""
    return [TopicPartition(topic, number) for topic in stage.topics.outputs for number in range(OUTPUT_PARTITIONS)]


def _settings(chosen: argparse.Namespace) -> dict[str, str]:
    own = {
        "GUARANTEE": chosen.guarantee,
        "MAX_CONCURRENCY": str(chosen.concurrency),
        "COMMIT_INTERVAL_SECONDS": str(chosen.commit_interval),
        "RATE_LIMIT_PER_MINUTE": "0",
    }
    return own | dict(pair.split("=", 1) for pair in chosen.set)


async def _sample(stage: Scene, worker: ChildProcess, arrivals: Arrivals, chosen: argparse.Namespace) -> list[Sample]:
    """Note the processes' CPU time until every decision has arrived."""
    processes = {"worker": worker, "simulator": stage.simulator.process, "broker": stage.cluster.brokers[0].running}
    samples, deadline = list[Sample](), time.monotonic() + chosen.time_limit
    while len(arrivals.seen) < chosen.events:
        if not worker.alive or time.monotonic() > deadline:
            raise SystemExit(f"{len(arrivals.seen)} of {chosen.events} decided, then:\n{worker.tail()}")
        used = {name: process.cpu_seconds() for name, process in processes.items()}
        samples.append(Sample(time.time(), used | {"consumer": time.process_time(), "machine": _machine_seconds()}))
        await asyncio.sleep(SAMPLE_SECONDS)
    return samples


def _machine_seconds() -> float:
    """CPU time that the whole machine has spent on anything (proc(5): all but idle and iowait)."""
    first_line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, soft_irq, *_ = map(int, first_line.split()[1:])
    return (user + nice + system + irq + soft_irq) / CLOCK_TICKS


def _report(arrivals: Arrivals, samples: Sequence[Sample], chosen: argparse.Namespace, load_before: float) -> str:
    times = arrivals.times
    first, last = (int(len(times) * share) for share in WINDOW)
    start, end = times[first], times[last]
    rate, ideal = (last - first) / (end - start), chosen.concurrency / chosen.service_seconds
    cpu = {name: _used(samples, name, start, end) for name in samples[0].used}
    added = arrivals.added_latencies(start, end)
    others = (2 * cpu["machine"] - sum(cpu.values())) / (end - start)
    shares = ", ".join(f"{name} {seconds / (end - start):.2f}" for name, seconds in cpu.items())
    head = (
        f"{chosen.concurrency} in flight x {chosen.service_seconds * 1000:g} ms ±{chosen.jitter:.0%}, "
        f"{chosen.partitions} partitions, {chosen.guarantee}, generation {chosen.generation}, "
        f"commit interval {chosen.commit_interval:g} s"
    )
    warning = f"NOT A QUIET MACHINE: {others:.2f} cores went to strangers" if others > QUIET_CORES else "quiet machine"
    return "\n".join(
        (
            head,
            f"steady rate            {rate:8.1f} /s in {end - start:.1f} s",
            f"rate / (C / L)         {rate / ideal:8.3f}    (C / L = {ideal:.0f} /s)",
            f"worker CPU             {1000 * cpu['worker'] / (last - first):8.3f} ms an event",
            f"added latency p50      {1000 * percentile(added, 0.50):8.1f} ms (analysis done -> readable)",
            f"added latency p99      {1000 * percentile(added, 0.99):8.1f} ms",
            f"cores in use           {shares}; machine has {os.cpu_count()}, load before the run {load_before:.2f}",
            warning,
        )
    )


def _used(samples: Sequence[Sample], name: str, start: float, end: float) -> float:
    """CPU seconds between two times, to the nearest samples, scaled to the time asked for."""
    within = [sample for sample in samples if start <= sample.at <= end]
    spent = within[-1].used[name] - within[0].used[name]
    return spent * (end - start) / (within[-1].at - within[0].at)


def main() -> None:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics' leaders are retried, and said to be
    print(asyncio.run(measure(options())))  # noqa: T201 - the figures are the output


if __name__ == "__main__":
    main()
