"""Both guarantees and both generations of the API on a real broker, with nothing going wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.traffic import poison, tracks

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage

pytestmark = pytest.mark.broker
SEED = 20260930


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_each_event_gets_one_decision(stage: SetStage, guarantee: str, generation: int) -> None:
    """Produce, decide, publish: one decision each, bought once each."""
    async with stage() as scene:
        await scene.submit(tracks(150, run=scene.run, partitions=8, seed=SEED))
        worker = scene.start_worker(generation=generation, GUARANTEE=guarantee)
        await scene.until_done(150)
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert (verdict.decisions, verdict.bought_again) == (150, 0)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_poison_goes_to_the_dead_letter_topic_as_it_came(stage: SetStage, guarantee: str) -> None:
    """What is no event keeps its bytes, key and headers, and holds up nobody."""
    bad = poison(partitions=2)
    async with stage(partitions=2, service_seconds=0.02) as scene:
        await scene.submit([*bad, *tracks(60, run=scene.run, partitions=2, seed=SEED)])
        worker = scene.start_worker(GUARANTEE=guarantee)
        await scene.until_done(60 + len(bad))
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert (verdict.decisions, verdict.dead_letters) == (60, len(bad))


async def test_metrics_and_logs_tell_of_every_decision(stage: SetStage) -> None:
    """One canonical line a decision; /metrics parses and counts the same."""
    async with stage(service_seconds=0.02) as scene:
        await scene.submit(tracks(50, run=scene.run, partitions=8, seed=SEED))
        worker = scene.start_worker()
        await scene.until_done(50)
        metrics = await worker.metrics()
        decided = {(line["partition"], line["offset"]) for line in worker.log_lines() if "decision_id" in line}
        assert len(decided) == 50
        assert sum(value for name, value in metrics.items() if "decisions_total" in name) == 50
