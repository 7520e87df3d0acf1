"""Jobs of many tracks on a real broker: bought once whatever is killed, whichever way their results come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.ports import free_ports
from tests.broker.traffic import tracks

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage
    from tests.broker.scene import Scene

pytestmark = pytest.mark.broker
SEED = 20261123
EVENTS = 600
QUICK = {"MODE": "bulk", "BULK_MAX_ITEMS": "40", "BULK_MAX_WAIT_SECONDS": "1", "BULK_POLL_SECONDS": "0.3"}
SECRET = "sandbox-webhook-secret"  # noqa: S105 - the simulator's


async def test_kills_while_jobs_are_meant_made_and_read(stage: SetStage) -> None:
    """Whoever comes next finds the intents: the same jobs, the rest of their results. Nothing is bought again."""
    async with stage() as scene:
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        for share in (12, 8, 5, 4, 3, 2):
            doomed = scene.start_worker(generation=1, **QUICK)
            await scene.simulator.bought(EVENTS // share)
            doomed.process.kill()
        heir = scene.start_worker(generation=1, **QUICK)
        await scene.until_done(EVENTS)
        assert await heir.stop() == 0
        await require(scene)


async def test_creations_whose_replies_are_lost_or_refused_for_now(stage: SetStage) -> None:
    """Every one is repeated under its own key; a worker that is told to stop in the middle leaves all of it behind."""
    async with stage() as scene:
        await scene.simulator.switch(drop_after_accept=0.3, error_502_html=0.2, error_500=0.1, not_json=0.1)
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        first = scene.start_worker(generation=1, **QUICK)
        await scene.simulator.bought(EVENTS // 2)
        second = scene.start_worker(generation=1, **QUICK)
        await scene.until_shared_by(2)
        assert await first.stop() == 0
        await scene.until_done(EVENTS)
        assert await second.stop() == 0
        await require(scene)


async def test_webhooks_that_arrive_at_the_wrong_replica_doubled_late_forged_or_never(stage: SetStage) -> None:
    """One replica is told, all decide; what is lost is found by asking, and what is forged is refused."""
    async with stage() as scene:
        [port] = free_ports(1)
        webhooks = {
            "WEBHOOK_URL": f"http://127.0.0.1:{port}/webhooks/humanstandard",
            "WEBHOOK_SECRET": SECRET,
            "TOPIC_WEBHOOK": f"{scene.run}-webhook",
        }
        await scene.cluster.create_topics({f"{scene.run}-webhook": scene.partitions})
        await scene.simulator.switch(
            webhook_lost=0.1, webhook_duplicated=0.3, webhook_reordered=0.2, webhook_forged=0.2, webhook_delayed=0.1
        )
        settings = QUICK | webhooks | {"BULK_POLL_SECONDS": "3"}
        told, other = (
            scene.start_worker(generation=1, WEBHOOK_PORT=str(each), WEBHOOK_HOST="127.0.0.1", **settings)
            for each in (port, 0)
        )
        await scene.until_shared_by(2)
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))
        await scene.until_done(EVENTS)
        received = await told.metrics()
        assert received['track_intake_webhooks_total{outcome="published"}'] > EVENTS / 2
        assert received['track_intake_webhooks_total{outcome="refused"}'] > 0
        for worker in (told, other):
            found = await worker.metrics()
            assert found['track_intake_job_results_total{outcome="decided",source="webhook"}'] > 0
            assert await worker.stop() == 0
        await require(scene)


async def require(scene: Scene) -> None:
    verdict = await scene.examine(seed=SEED)
    verdict.require()
    assert (verdict.decisions, verdict.bought_again) == (EVENTS, 0)
