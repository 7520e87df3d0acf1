"""A job that never ends holds up itself, and nothing else: not the way out of an outage, nor a limit that is low."""

from __future__ import annotations

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Knobs, Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.breaker import BreakerPolicy
from worker.flow.concurrency import LimitPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault

OUT = Fault(FaultKind.UNAVAILABLE, "503")


async def stuck(limit: LimitPolicy) -> Scene:
    """One job that never ends, in flight; then an outage that its own polls notice, and more tracks."""
    analyst = FakeAnalyst(generation=2, seconds=2)
    analyst.slow["stuck"] = 1e9
    knobs = Knobs(limit=limit, breaker=BreakerPolicy(consecutive=3, probe_seconds=1.0))
    scene = Scene(analyst=analyst, knobs=knobs)
    scene.submit("stuck")
    scene.worker()
    await until(lambda: analyst.purchases["stuck"] == 1)
    return scene


@virtual
async def test_an_outage_ends_though_a_job_that_never_ends_holds_the_only_slot() -> None:
    scene = await stuck(LimitPolicy(4, start=1))
    scene.analyst.refusing = OUT
    await until(lambda: scene.workers[0].worker.status().outage is not None)
    for number in range(5):
        scene.submit(f"track-{number}")
    await elapse(300)
    assert scene.broker.visible == []
    scene.analyst.refusing = None
    await until(lambda: len(scene.broker.visible) == 5, 120)
    await scene.decided(1200)  # and people decide the stuck one at its deadline


@virtual
async def test_a_job_that_never_ends_does_not_use_up_a_low_limit() -> None:
    """What takes many times the usual is no measure of load."""
    scene = await stuck(LimitPolicy(4, start=1))
    for number in range(20):
        scene.submit(f"track-{number}")
    await until(lambda: len(scene.broker.visible) == 20, 300)


@virtual
async def test_jobs_that_were_taken_over_and_never_end_do_not_use_up_a_low_limit() -> None:
    """Nobody here saw them accepted: they are as old as the first question for them, at least."""
    scene = await stuck(LimitPolicy(4, start=1))
    await until(lambda: bool(scene.broker.committed) and bool(scene.point().jobs))
    await scene.crash(scene.workers[0])
    for number in range(20):
        scene.submit(f"track-{number}")
    scene.worker()
    await until(lambda: len(scene.broker.visible) == 20, 300)


@virtual
async def test_failed_probes_of_an_outage_do_not_lower_the_limit() -> None:
    """They tell that the API is out, not that it has too much to do."""
    analyst = FakeAnalyst(seconds=2)
    knobs = Knobs(limit=LimitPolicy(32, start=16), breaker=BreakerPolicy(consecutive=3, probe_seconds=1.0))
    scene = Scene(analyst=analyst, knobs=knobs)
    analyst.refusing = OUT
    for number in range(40):
        scene.submit(f"track-{number}")
    worker = scene.worker()
    await elapse(600)
    assert worker.worker.status().concurrency_limit >= 8
    analyst.refusing = None
    await scene.decided(120)
