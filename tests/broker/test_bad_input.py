"""Bad and odd events through a real worker: each has exactly one outcome, as it must be, and no payload is logged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.broker.bad_input import UNSTOPPED, bad_input, marked
from tests.broker.bad_values import MARK
from tests.broker.traffic import DEAD_LETTER, DECISION, EXPECTATION

if TYPE_CHECKING:
    from tests.broker.conftest import SetStage

pytestmark = pytest.mark.broker
SEED = 20261006
COUNT = int(os.environ.get("BAD_INPUT_EVENTS", "2000"))  # 10,000 take about a minute
BUFFER_BYTES = 16 << 20
GROWTH_BYTES = 128 << 20  # what is buffered, several times over: as fetched, decoded, encoded and sent


async def test_each_bad_or_odd_event_has_exactly_one_outcome(stage: SetStage) -> None:
    """Unaltered in the dead letters, with nothing of a payload in the log, in bounded memory."""
    async with stage(service_seconds=0.02) as scene:
        events = bad_input(COUNT, run=scene.run, partitions=8, seed=SEED)
        worker = scene.start_worker(generation=1, MAX_BUFFERED_BYTES=str(BUFFER_BYTES), **UNSTOPPED)
        await scene.until_shared_by(1)
        before = worker.process.peak_memory_bytes()
        await scene.submit(events)
        await scene.until_done(COUNT, seconds=60 + COUNT / 50)
        grown = worker.process.peak_memory_bytes() - before
        assert await worker.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.events == COUNT
        expected = [dict(event.headers).get(EXPECTATION) for event in events]
        assert verdict.decisions >= expected.count(DECISION)
        assert verdict.dead_letters >= expected.count(DEAD_LETTER)
        assert verdict.bought_again == 0
        assert marked(events) > COUNT / 2
        assert MARK.encode() not in worker.log.read_bytes()
        assert grown < GROWTH_BYTES
