"""Histories of events, faults, rebalances and crashes over two or three workers: what can happen, and how all end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.fake_analyst import FakeAnalyst
from tests.fake_broker import Step, Way
from tests.pipeline.scene import POISON, Running, Scene
from tests.virtual_time import elapse
from worker.flow.faults import FaultKind
from worker.flow.replies import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTITIONS = 3
MOST_WORKERS = 3
SOME_FAULTS = (FaultKind.CONNECT_FAILED, FaultKind.THROTTLED, FaultKind.KEY_REFUSED, FaultKind.UNAVAILABLE)


class History:
    """A scene in which things happen; each step is one of its methods."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._number = 0

    @property
    def running(self) -> list[Running]:
        return [worker for worker in self.scene.workers if not worker.task.done()]

    def pick(self, which: int) -> Running | None:
        return self.running[which % len(self.running)] if self.running else None

    async def end(self) -> None:
        """Heal everything and wait for the last decision."""
        self.scene.broker.away = False
        self.scene.worker()  # those that run may be about to stop
        await self.scene.decided(3600)
        assert set(await self.scene.stop()) <= {0}
        await elapse(60)
        self.scene.verify()
        for partition, log in self.scene.broker.input.items():
            assert not log or self.scene.point(partition).watermark == log[-1].offset + 1
            assert not log or self.scene.point(partition).jobs == {}

    def name(self) -> str:
        self._number += 1
        return f"track-{self._number}"


@dataclass(frozen=True, slots=True)
class Deliver:
    partition: int
    key: int | None
    count: int
    fault: FaultKind | None
    poison: bool
    seconds: float

    async def happen(self, history: History) -> None:
        scene = history.scene
        key = b"%d" % self.key if self.key is not None else None
        for _ in range(self.count):
            name = history.name()
            scene.analyst.slow[name] = self.seconds
            if self.fault is not None:
                scene.analyst.submissions[name].append(Fault(self.fault, "scripted"))
            scene.submit(name, self.partition, key, gap=self.count % 2)
        if self.poison:
            scene.submit_raw(history.name(), POISON, self.partition, key)


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float

    async def happen(self, _: History) -> None:
        await elapse(self.seconds)


@dataclass(frozen=True, slots=True)
class Join:
    async def happen(self, history: History) -> None:
        if len(history.running) < MOST_WORKERS:
            history.scene.worker(rebalance_drain=60.0, drain=120.0)


@dataclass(frozen=True, slots=True)
class Leave:
    which: int

    async def happen(self, history: History) -> None:
        worker = history.pick(self.which)
        if worker is not None:
            worker.worker.stop("history")


@dataclass(frozen=True, slots=True)
class Rebalance:
    async def happen(self, history: History) -> None:
        history.scene.broker.group.rebalance()


@dataclass(frozen=True, slots=True)
class FailPublication:
    partition: int
    step: Step
    way: Way

    async def happen(self, history: History) -> None:
        fenced_early = self.way is Way.FENCED_AFTER and self.step is not Step.COMMIT
        if not fenced_early:
            history.scene.broker.faults[self.partition].append((self.step, self.way))


@dataclass(frozen=True, slots=True)
class Crash:
    which: int

    async def happen(self, history: History) -> None:
        worker = history.pick(self.which)
        if worker is not None:
            await history.scene.crash(worker)


@dataclass(frozen=True, slots=True)
class Expire:
    which: int
    notices_after: float

    async def happen(self, history: History) -> None:
        worker = history.pick(self.which)
        if worker is not None:
            history.scene.broker.group.expire(worker.source, self.notices_after)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Somebody else initialises a producer under the lane's transactional id."""

    partition: int

    async def happen(self, history: History) -> None:
        history.scene.broker.initialise(self.partition)


@dataclass(frozen=True, slots=True)
class BrokerAway:
    seconds: float

    async def happen(self, history: History) -> None:
        history.scene.broker.away = True
        await elapse(self.seconds)
        history.scene.broker.away = False


Happening = Deliver | Wait | Join | Leave | Rebalance | FailPublication | Crash | Expire | Foreign | BrokerAway

partitions = st.integers(0, PARTITIONS - 1)
workers = st.integers(0, MOST_WORKERS - 1)
seconds = st.sampled_from([0.0, 0.01, 0.1, 0.31, 0.5, 1.0, 1.6, 3.0, 7.0, 20.0])
deliveries = st.builds(
    Deliver,
    partitions,
    st.none() | st.integers(0, 3),
    st.integers(1, 6),
    st.none() | st.sampled_from(SOME_FAULTS),
    st.booleans(),
    st.sampled_from([0.1, 1.5, 4.0, 15.0]),
)
planned = st.one_of(
    deliveries,
    deliveries,
    st.builds(Wait, seconds),
    st.builds(Wait, seconds),
    st.builds(Join),
    st.builds(Leave, workers),
    st.builds(Rebalance),
    st.builds(FailPublication, partitions, st.sampled_from(Step), st.sampled_from([Way.FAILS, Way.REPLY_LOST])),
)
unplanned = st.one_of(
    planned,
    st.builds(FailPublication, partitions, st.sampled_from(Step), st.sampled_from(Way)),
    st.builds(Crash, workers),
    st.builds(Expire, workers, seconds),
    st.builds(Foreign, partitions),
    st.builds(BrokerAway, seconds),
)
generations = st.sampled_from([1, 2])


async def unfold(generation: int, happenings: Iterable[Happening]) -> History:
    history = History(Scene(PARTITIONS, FakeAnalyst(generation, seconds=1.5)))
    await Join().happen(history)
    for happening in happenings:
        await happening.happen(history)
    await history.end()
    return history
