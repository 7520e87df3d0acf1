"""Dashboards and alerts against a real Prometheus: it scrapes real workers on a real Kafka, well first, then not.

The rules' times are divided by sixty, the API's analyses take a fifth of a second. Not provoked here, but by promtool
(tests/deploy/test_alerts.py): what needs hours even so.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.broker.ports import LOOPBACK, free_ports
from tests.broker.prometheus import RULES, Prometheus, hurried
from tests.broker.traffic import DEAD_LETTER, EXPECTATION, TRACE, Event, tracks
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.broker.conftest import SetStage
    from tests.broker.drive import WorkerProcess
    from tests.broker.scene import Scene

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is missing (make prometheus; Debian: apt-get install prometheus)",
    ),
]
BOARDS = sorted((Path(__file__).parents[2] / "deploy" / "dashboards").glob("*.json"))
SEED = 20261121
SCENARIOS = ("human",) * 14 + ("ai",) * 5 + ("borderline",) * 3 + ("null-tiers", "failed")
PER_SECOND = 12
HEALTHY_SECONDS = 75.0  # an hour and a quarter of the rules'
CHOSEN = {"$job": ".+", "$instance": ".+", "$topic": ".+", "$__rate_interval": "15s", "$__range": "1m"}
# Too long for a test even at sixty times the pace, or alike to one that is provoked: promtool has them all.
NOT_PROVOKED = {
    *("TrackIntakeLateFast", "TrackIntakeLateMedium", "TrackIntakeLateSlow"),
    *("TrackIntakeReviewShareJumped", "TrackIntakeQuotaExhausted", "TrackIntakeOldestRecordTooOld"),
}
DIRECT, BULK = "worker-direct", "worker-bulk"


class Fleet:
    """Two workers of one group, one of which sends its tracks in jobs; Prometheus knows them by name."""

    def __init__(self, scene: Scene, prometheus: Prometheus) -> None:
        self.scene, self._prometheus = scene, prometheus
        [self.webhook_port] = free_ports(1)
        self._workers: dict[str, WorkerProcess] = {}
        usual = {"RATE_LIMIT_PER_MINUTE": "6000", "DEAD_LETTER_STOP_CONSECUTIVE": "12", "HOLD_PROBE_SECONDS": "1"}
        jobs = {
            "MODE": "bulk",
            "BULK_MAX_ITEMS": "20",
            "BULK_MAX_WAIT_SECONDS": "1",
            "BULK_POLL_SECONDS": "0.5",
            "WEBHOOK_URL": f"http://{LOOPBACK}:{self.webhook_port}/webhooks/humanstandard",
            "WEBHOOK_SECRET": "sandbox-webhook-secret",
            "WEBHOOK_HOST": LOOPBACK,
            "WEBHOOK_PORT": str(self.webhook_port),
            "TOPIC_WEBHOOK": f"{scene.run}-webhook",
        }
        self._settings = {DIRECT: usual | {"MODE": "auto", "BULK_ABOVE_SECONDS": "86400"}, BULK: usual | jobs}

    def start(self, name: str) -> None:
        """Start one of the two, in place of the one before it."""
        self._workers[name] = self.scene.start_worker(generation=1, **self._settings[name])
        self._prometheus.scrape({name: worker._port for name, worker in self._workers.items()})

    def kill(self, *names: str) -> None:
        """Kill these for good; nobody scrapes them any more."""
        for name in names:
            self._workers.pop(name).process.kill()
        self._prometheus.scrape({name: worker._port for name, worker in self._workers.items()})

    def crash(self, name: str) -> None:
        """Kill one that is scraped in vain from now on."""
        self._workers[name].process.kill()

    async def _starts(self, name: str) -> int:
        """How many starts of it Prometheus has seen."""
        found = await self._prometheus.series(f'process_start_time_seconds{{instance="{name}"}}')
        return len({value for each in found for _, value in each["values"]})

    async def restarted(self, name: str) -> None:
        """Kill one and start it again; returns when it was scraped."""
        starts = await self._starts(name)
        self._workers[name].process.kill()
        self.start(name)

        async def is_scraped() -> bool:
            return await self._starts(name) > starts

        await wait_until(f"{name} is scraped anew", is_scraped, 60)


@pytest.mark.timeout(600)
async def test_every_panel_has_data_in_traffic_with_faults(stage: SetStage, tmp_path: Path) -> None:
    """Every alert can be evaluated, none fires while all is well, and each fires for its fault."""
    async with stage(rate_limit_per_minute=100_000) as scene, Prometheus(tmp_path) as prometheus:
        await scene.cluster.create_topics({f"{scene.run}-webhook": scene.partitions})
        fleet = Fleet(scene, prometheus)
        fleet.start(DIRECT)
        fleet.start(BULK)
        await scene.until_shared_by(2)
        await prometheus.sees(2)
        async with traffic(scene):
            began = time.time()
            await asyncio.sleep(HEALTHY_SECONDS)
            assert await prometheus.fired(began) == set()
            assert await prometheus.troubles() == []
            await provoke(fleet, prometheus)
            assert await without_data(prometheus) == []
            _, trace_id, _, _ = TRACE.split("-")
            assert await prometheus.exemplars("track_intake_track_age_seconds_bucket") == {trace_id}
        fleet.crash(DIRECT)
        await prometheus.fires("TrackIntakeNoWorker")
        await prometheus.fires("TrackIntakeWorkerDown")
        fired = await prometheus.fired(began)
        assert fired >= alerts() - NOT_PROVOKED, sorted(alerts() - NOT_PROVOKED - fired)


def alerts() -> set[str]:
    """Every alert of the rules."""
    return set(re.findall(r"- alert: (\w+)", RULES.read_text()))


@asynccontextmanager
async def traffic(scene: Scene) -> AsyncIterator[None]:
    """Submit tracks evenly until the end."""
    enough = asyncio.Event()

    async def flow() -> None:
        number = 0
        while not enough.is_set():
            events = tracks(
                PER_SECOND, run=scene.run, partitions=8, seed=SEED, scenarios=SCENARIOS, per_key=0, first=number
            )
            await scene.submit(events)
            number += PER_SECOND
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow())
        try:
            yield
        finally:
            enough.set()


async def provoke(fleet: Fleet, prometheus: Prometheus) -> None:
    """One fault after the other, each until its alert fires."""
    scene, switch = fleet.scene, fleet.scene.simulator.switch
    await switch(failed_without_error=0.4)
    await prometheus.fires("TrackIntakeFailureShare")
    await switch(failed_without_error=0, drop_after_accept=0.3)
    await prometheus.fires("TrackIntakeRepeatedPurchases")
    await switch(drop_after_accept=0, webhook_lost=1)
    await refused_webhooks(fleet, prometheus)
    await switch(webhook_lost=0)
    for fault, name in (
        ("error_503", "BreakerOpen"),
        ("key_revoked", "KeyRefused"),
        ("credits_exhausted", "CreditsExhausted"),
        ("cdn_refused", "Held"),
    ):
        await switch(**{fault: 1})
        await prometheus.fires(f"TrackIntake{name}")
        await switch(**{fault: 0})
        await until_well(prometheus)
    bad = [Event(0, None, b"no event", ((EXPECTATION, DEAD_LETTER),)) for _ in range(40)]
    await scene.submit(bad)
    await prometheus.fires("TrackIntakeDeadLetters")
    await prometheus.fires("TrackIntakePartitionStopped")
    fleet.kill(BULK)
    await switch(never_ends=1)
    await prometheus.fires("TrackIntakeNotDeciding", 90)
    await switch(never_ends=0)

    async def loops() -> bool:
        await fleet.restarted(DIRECT)
        return "TrackIntakeCrashLoop" in await prometheus.firing()

    await wait_until("TrackIntakeCrashLoop fires", loops, 90)


async def until_well(prometheus: Prometheus) -> None:
    """Wait until the API counts as up again, by the rules' own word."""

    async def is_up() -> bool:
        [up] = await prometheus.series("track_intake:api_up:min")
        return bool(up["values"][-1][1] == 1)

    await wait_until("the API is up for the rules", is_up, 60, 0.5)


async def refused_webhooks(fleet: Fleet, prometheus: Prometheus) -> None:
    """Tell the worker something that nobody has signed, until the alert fires."""
    address = f"http://{LOOPBACK}:{fleet.webhook_port}/webhooks/humanstandard?partition=0"

    async def told() -> bool:
        async with httpx.AsyncClient() as client:
            await client.post(address, content=b"{}")
        return "TrackIntakeWebhooksRefused" in await prometheus.firing()

    await wait_until("TrackIntakeWebhooksRefused fires", told, 60, 0.5)


async def without_data(prometheus: Prometheus) -> list[str]:
    """Queries of all panels that have given no number in all of the run."""
    queries = [
        (f"{path.stem}: {panel['title']}: {target['legendFormat']}", asked(target["expr"]))
        for path in BOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    return [f"{name}: {expr}" for name, expr in queries if not await prometheus.series(expr)]


def asked(expr: str) -> str:
    """A panel's query as Grafana sends it, with everything chosen."""
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    return expr


def test_the_hurried_rules_differ_in_their_times_alone() -> None:
    assert hurried("expr: rate(x[15m]) > 0.9\nfor: 2m\n") == "expr: rate(x[15000ms]) > 0.9\nfor: 2000ms\n"
    assert hurried('b{le="900.0"}[1d] offset 1h') == 'b{le="15.0"}[1440000ms] offset 60000ms'
    assert hurried("oldest_unfinished_seconds > 1800") == "oldest_unfinished_seconds > 30"
