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


@pytest.mark.broker
@pytest.mark.timeout(420)
async def test_every_fault_at_once(tmp_path: Path) -> None:
    aftermath = await run(tmp_path, Options(seed=SEED, seconds=shortest()))
    report = figures(aftermath)
    assert not broken_promises(aftermath), "\n".join([report, *broken_promises(aftermath)])
    assert {injury.step.kind for injury in aftermath.injuries} == KINDS, report
    assert aftermath.ledger["credits"] <= CREDITS_PER_TRACK * aftermath.ledger["tracks"], report
