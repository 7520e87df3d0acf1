"""Static members: a seat that the group gives to the wrong process, or to one that does not know it has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broker.scene import scene
from tests.broker.traffic import tracks
from tests.broker.waiting import wait_until
from tests.broker.wire import JOIN_GROUP

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.conftest import SetStage
    from tests.broker.kafka import KafkaCluster

pytestmark = pytest.mark.broker
SEED = 20261121
EVENTS = 240
SEAT = "seat-1"


async def test_two_processes_on_one_seat_do_not_fight_for_ever(stage: SetStage) -> None:
    """One of them gives up, with the reason and a code; the other does all the work."""
    async with stage() as scene:
        rivals = [scene.start_worker(KAFKA_GROUP_INSTANCE_ID=SEAT) for _ in range(2)]

        async def loser() -> int | None:
            ended = [worker.process.returncode for worker in rivals if not worker.process.alive]
            return ended[0] if ended else None

        assert await wait_until("one of two rivals gives up", loser, 60) == 1
        [survivor] = [worker for worker in rivals if worker.process.alive]
        [gone] = [worker for worker in rivals if not worker.process.alive]
        assert "KAFKA_GROUP_INSTANCE_ID=seat-1" in gone.process.tail()
        await scene.submit(tracks(EVENTS, run=scene.run, partitions=8, seed=SEED))

        async def all_done() -> bool:
            return await scene.done() >= EVENTS

        await wait_until("all is done", all_done, 60)
        assert await survivor.stop() == 0
        verdict = await scene.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0


async def test_a_join_whose_reply_is_lost_is_made_again(proxied: KafkaCluster, tmp_path: Path) -> None:
    """The group knows the member by an id that it never learned; it must not end for that."""
    async with proxied.proxy(seed=SEED) as proxy, scene(proxied, tmp_path, "join-lost") as stage:
        await stage.submit(tracks(EVENTS, run=stage.run, partitions=8, seed=SEED))
        worker = stage.start_worker(
            KAFKA_BOOTSTRAP_SERVERS=proxied.proxied_bootstrap_servers, KAFKA_GROUP_INSTANCE_ID=SEAT
        )
        await stage.simulator.bought(EVENTS // 4)
        proxy.cut_replies(api_key=JOIN_GROUP)
        other = stage.start_worker(KAFKA_GROUP_INSTANCE_ID="seat-2")

        async def is_lost() -> bool:
            return proxy.lost_replies() > 0

        await wait_until("the reply to a join is lost", is_lost, 30)
        await stage.until_shared_by(2)
        await stage.until_done(EVENTS)
        assert [await each.stop() for each in (worker, other)] == [0, 0]
        verdict = await stage.examine(seed=SEED)
        verdict.require()
        assert verdict.bought_again == 0
