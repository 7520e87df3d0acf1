"""SIGTERM is obeyed while the group is being joined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.fakes import FakeSource
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, virtual

if TYPE_CHECKING:
    from worker.pipeline.ports import Rebalanced


class Joining(FakeSource):
    """aiokafka's `start` returns with an assignment: while other members drain, or no coordinator is there, not yet."""

    async def start(self, rebalanced: Rebalanced) -> None:
        """Wait for ever: the coordinator is unknown."""
        await super().start(rebalanced)
        await asyncio.get_running_loop().create_future()


@virtual
async def test_a_stop_while_the_group_is_joined_ends_within_the_drain_time() -> None:
    """Nothing runs yet: there is nothing to wait for."""
    scene = Scene()
    worker = scene.worker()
    worker.worker._source = Joining(scene.broker, "joining")
    await elapse(1)
    async with asyncio.timeout(scene.knobs.drain):
        assert await worker.stop() == 0
