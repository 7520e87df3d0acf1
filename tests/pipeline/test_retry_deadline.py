"""Whoever waits for the process's retries ends at its own deadline all the same (invariant 17)."""

from __future__ import annotations

import asyncio

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, virtual
from worker.flow.budget import RetryAllowance, RetryBudget
from worker.flow.course import RetryPolicy
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import TrackDecided

DEADLINE = 120.0
TRACKS = 300


@virtual
async def test_a_track_that_waits_for_the_retry_budget_goes_to_a_human_at_its_deadline() -> None:
    """Each track fails once, and the budget has a fraction of the retries: the others are not kept for hours."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=1))
    for number in range(TRACKS):
        scene.submit(f"track-{number}")
        scene.analyst.submissions[f"track-{number}"].append(Fault(FaultKind.UNAVAILABLE, "503"))
    worker = scene.worker(slots=64, retry=RetryPolicy(base_seconds=0.5, max_seconds=5, deadline_seconds=DEADLINE))
    worker.calls._budget = RetryBudget(RetryAllowance(), asyncio.get_running_loop().time())
    await scene.ready()
    await elapse(DEADLINE + 60)
    late = TRACKS - len(worker.seen(TrackDecided))
    assert late == 0
