"""The whole pipeline under the API's quota: kept in every window, used up, shared by replicas, few requests a track."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.fake_analyst import FakeAnalyst
from tests.pipeline.scene import Scene
from tests.virtual_time import elapse, until, virtual
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault
from worker.pipeline.facts import CallFinished, QuotaWaited

if TYPE_CHECKING:
    from tests.pipeline.scene import Running


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("phase", [0.0, 17.3, 59.9])
@pytest.mark.parametrize("per_minute", [10, 60, 300])
@virtual
async def test_no_window_of_the_api_is_ever_overdrawn_and_little_is_left(per_minute: int, phase: float) -> None:
    tracks = per_minute * 3
    scene = Scene(partitions=2, analyst=FakeAnalyst(2, seconds=45, per_minute=per_minute, phase=phase))
    for number in range(tracks):
        scene.submit(f"track-{number}", number % 2)
    scene.worker(per_minute=per_minute, slots=per_minute * 2, first_poll=40)
    began = now()
    await scene.decided(3600)
    assert scene.analyst.throttled == 0
    assert set(scene.analyst.purchases.values()) == {1}
    minutes = Counter(int((call.at - phase) // 60) for call in scene.analyst.calls)
    assert max(minutes.values()) <= per_minute
    requests = len(scene.analyst.calls)
    assert requests <= 2.7 * tracks
    if per_minute <= 60:  # above, what a lane's metadata can hold of jobs is the bound
        assert requests / (now() - began) > 0.8 * (per_minute - 1) / 60


@virtual
async def test_a_shared_key_is_heeded_through_the_headers() -> None:
    """Somebody else uses two thirds of the quota: what the replies say keeps us within the rest."""
    scene = Scene(analyst=FakeAnalyst(1, seconds=0.5, per_minute=20))
    for number in range(100):
        scene.submit(f"track-{number}")
    scene.worker(per_minute=60)
    await scene.decided(3600)
    assert scene.analyst.throttled <= 6
    assert set(scene.analyst.purchases.values()) == {1}


@virtual
async def test_a_429_pauses_everybody_for_as_long_as_it_says() -> None:
    scene = Scene(analyst=FakeAnalyst())
    scene.analyst.submissions["track-0"].append(Fault(FaultKind.THROTTLED, "429", retry_after_seconds=30))
    scene.submit("track-0")
    worker = scene.worker()
    await until(lambda: worker.seen(CallFinished))
    began = now()
    for number in range(1, 5):
        scene.submit(f"track-{number}")
    await until(lambda: len(scene.analyst.calls) > 1)
    assert 29 < now() - began < 31
    await scene.decided()


@virtual
async def test_what_waits_for_quota_is_told() -> None:
    scene = Scene(analyst=FakeAnalyst(2, seconds=5))
    for number in range(20):
        scene.submit(f"track-{number}")
    worker = scene.worker(per_minute=60)
    await scene.decided()
    waits = worker.seen(QuotaWaited)
    assert {each.operation for each in waits} == {"submit", "poll"}
    assert sum(each.seconds for each in waits if each.operation == "submit") <= now()
    assert all(each.seconds > 0 for each in waits)


# Replicas.


def allowed(*workers: Running) -> list[float | None]:
    return [worker.worker.status().quota.allowed_per_minute for worker in workers]


@virtual
async def test_replicas_divide_the_quota_by_their_partitions() -> None:
    """And one without partitions has none of it."""
    scene = Scene(partitions=3)
    first = scene.worker(per_minute=60)
    await scene.ready()
    assert allowed(first) == [60]
    second = scene.worker(per_minute=60)
    await scene.ready()
    assert sorted(allowed(first, second), key=float) == [20, 40]  # type: ignore[arg-type]  # no limit is unset
    third, spare = scene.worker(per_minute=60), scene.worker(per_minute=60)
    await scene.ready()
    assert sorted(allowed(first, second, third, spare), key=float) == [0, 20, 20, 20]  # type: ignore[arg-type]
    for worker in (first, third, spare):
        await worker.stop()
    await scene.ready(second)
    assert allowed(second) == [60]
    await second.stop()


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("seed", range(6))
@virtual
async def test_workers_that_come_and_go_share_the_key_without_a_429(generation: int, seed: int) -> None:
    """Started, stopped and killed at any time, with the windows of the API beginning at any."""
    rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
    analyst = FakeAnalyst(generation, seconds=20, per_minute=60, phase=rng.uniform(0, 60))
    scene = Scene(partitions=6, analyst=analyst)
    for number in range(500):
        scene.submit(f"track-{number}", number % 6)
    workers = [scene.worker(per_minute=60, slots=64, first_poll=20)]
    for _ in range(8):
        await elapse(rng.uniform(5, 90))
        if len(workers) > 1 and rng.random() < 0.5:
            leaver = workers.pop(rng.randrange(len(workers)))
            await (scene.crash(leaver) if rng.random() < 0.5 else leaver.stop())
        else:
            workers.append(scene.worker(per_minute=60, slots=64, first_poll=20))
    await scene.decided(7200)
    assert analyst.throttled == 0


# Requests a track.


def tracks(scene: Scene, count: int, seed: int = 1) -> None:
    """Submit so many; an analysis takes 46 s, 30 % more or less."""
    rng = random.Random(seed)  # noqa: S311 - no secret: a seeded test
    for number in range(count):
        name = f"track-{number}"
        scene.submit(name, number % 4)
        scene.analyst.slow[name] = 46 * rng.uniform(0.7, 1.3)


def polls_a_track(scene: Scene) -> float:
    """Of the middle of the tracks: the first teach when to poll."""
    submitted = [call.item_id for call in scene.analyst.calls if call.operation == "submit"]
    middle = set(submitted[len(submitted) // 3 :])
    return sum(call.operation == "poll" and call.item_id in middle for call in scene.analyst.calls) / len(middle)


@virtual
async def test_with_a_short_quota_a_poll_waits_until_it_is_worth_one() -> None:
    """There are slots to spare: waiting costs none of the throughput, a poll too early does."""
    scene = Scene(partitions=4, analyst=FakeAnalyst(2, per_minute=60))
    tracks(scene, 600)
    scene.worker(per_minute=60, slots=100, first_poll=25)
    await scene.decided(7200)
    assert scene.analyst.throttled == 0
    assert polls_a_track(scene) < 1.04


@virtual
async def test_where_slots_are_short_or_quota_is_not_a_result_is_fetched_sooner() -> None:
    for slots, per_minute in ((16, 60), (64, 0)):
        scene = Scene(partitions=4, analyst=FakeAnalyst(2))
        tracks(scene, 600)
        scene.worker(per_minute=per_minute, slots=slots, first_poll=25)
        await scene.decided(14400)
        assert 1.1 < polls_a_track(scene) < 1.3
        await scene.stop()


@virtual
async def test_jobs_that_hang_do_not_use_up_the_quota_of_the_others() -> None:
    """Forty are polled until their deadline, as many times a minute as the quota has requests."""
    scene = Scene(partitions=4, analyst=FakeAnalyst(2, seconds=45, per_minute=60))
    for number in range(140):
        scene.submit(f"track-{number}", number % 4)
        if number < 40:
            scene.analyst.slow[f"track-{number}"] = 1e6
    scene.worker(per_minute=60, slots=64, first_poll=45)
    await until(lambda: len(scene.broker.visible) >= 100, 560)
    await scene.decided(3600)
