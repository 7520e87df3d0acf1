"""A short run with every fault, from a fixed seed. `make chaos SEED=... MINUTES=...` runs any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.plan import KINDS, shortest
from tests.chaos.report import broken_promises, figures
from tests.chaos.run import Options, run

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20261121
CREDITS_PER_TRACK = 1.05  # in so short a time some twenty faults, each of them worth a credit or two


JOB_KINDS = frozenset(
    {
        *("kill_9", "kill_9_again", "zombie", "sigterm", "join", "leave"),
        *("broker_killed", "coordinator_moved", "brokers_unreachable", "replies_lost"),
        *("throttle", "error_500", "error_502_html", "drop_after_accept", "not_json", "outage"),
    }
)


@pytest.mark.broker
@pytest.mark.timeout(300)
async def test_jobs_of_many_tracks_under_fire(tmp_path: Path) -> None:
    """Every track in a job, every job bought once, whatever is killed; its results come by both ways."""
    options = Options(seed=SEED, seconds=45.0, generation=1, jobs=True, kinds=JOB_KINDS, bad=200)
    aftermath = await run(tmp_path, options)
    report = figures(aftermath)
    assert not broken_promises(aftermath), "\n".join([report, *broken_promises(aftermath)])
    assert aftermath.ledger["job_items"] == aftermath.ledger["credits"] == aftermath.ledger["tracks"], report


@pytest.mark.broker
@pytest.mark.timeout(420)
async def test_every_fault_at_once(tmp_path: Path) -> None:
    aftermath = await run(tmp_path, Options(seed=SEED, seconds=shortest()))
    report = figures(aftermath)
    assert not broken_promises(aftermath), "\n".join([report, *broken_promises(aftermath)])
    assert {injury.step.kind for injury in aftermath.injuries} == KINDS, report
    assert aftermath.ledger["credits"] <= CREDITS_PER_TRACK * aftermath.ledger["tracks"], report
