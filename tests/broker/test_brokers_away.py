"""Brokers that are away when a worker starts: it waits for them, says so, and can be told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.broker.kafka import KafkaCluster
from tests.broker.scene import scene
from tests.broker.traffic import tracks
from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.drive import WorkerProcess

pytestmark = pytest.mark.broker
SEED = 20261122
EVENTS = 20


async def reasons(worker: WorkerProcess) -> list[str] | None:
    """Its reasons for not being ready; None before it listens."""
    assert worker.process.alive, worker.process.tail()
    status, body = await worker.readiness()
    return [each["reason"] for each in orjson.loads(body)["reasons"]] if status else None


async def test_a_worker_that_starts_before_the_brokers_waits_for_them(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path)
    try:
        await cluster.start()
        async with scene(cluster, tmp_path, "early") as stage:
            await stage.submit(tracks(EVENTS, run=stage.run, partitions=8, seed=SEED))
            cluster.kill(1)
            waits, told_to_stop = stage.start_worker(), stage.start_worker()

            async def both_have_tried() -> bool:
                said = [worker.process.output.read_bytes() for worker in (waits, told_to_stop)]
                ready = [await reasons(worker) for worker in (waits, told_to_stop)]
                return ready == [["starting"]] * 2 and all(b"Unable connect" in text for text in said)

            await wait_until("both have tried, and say that they are starting", both_have_tried, 30)
            told_to_stop.process.terminate()
            assert await told_to_stop.process.exited(10) == 0
            await cluster.restart(1)
            await stage.until_done(EVENTS)
            assert await waits.stop() == 0
            (await stage.examine(seed=SEED)).require()
    finally:
        cluster.stop()
