"""What our own code raises, wherever it is called, ends the worker; no record stays under way for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.fake_analyst import FakeAnalyst
from tests.fakes import FakePublisher
from tests.pipeline.scene import POISON, Scene
from tests.virtual_time import VirtualLoop, elapse
from worker.pipeline.facts import DeadLettered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from tests.pipeline.scene import Running
    from worker.domain.record import Message
    from worker.domain.submission import TrackSubmitted
    from worker.flow.publication import Committed
    from worker.flow.replies import Reply
    from worker.pipeline.facts import Fact


class FullDisk(list["Fact"]):
    """A log whose disk is full for one line."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    def append(self, fact: Fact) -> None:
        if self.full and isinstance(fact, DeadLettered):
            self.full = False
            raise OSError(28, "No space left on device")
        super().append(fact)


def _run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In virtual time; what callbacks raise is the test's subject and kept by the loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())


def _ended_or_done(scene: Scene, worker: Running, records: int) -> bool:
    committed = scene.broker.committed.get(0)
    return worker.task.done() or (committed is not None and committed.offset == records)


def test_a_log_line_that_cannot_be_written_leaves_no_record_under_way_for_ever() -> None:
    """The wake after a call is the loop's callback: what it raises there must end the worker, or change nothing."""
    facts = FullDisk()

    async def play() -> None:
        scene = Scene(analyst=FakeAnalyst(1, seconds=5))
        scene.submit("track-0")
        scene.submit_raw("poison", POISON)
        scene.submit("track-1")
        worker = scene.worker(slots=1)
        worker.calls._observe = facts.append
        await scene.ready()
        facts.full = True
        await elapse(600)
        assert _ended_or_done(scene, worker, 3), scene.point()

    _run(play)


class Leaking(FakeAnalyst):
    """A library's own cancellation escapes from the first submission."""

    leaked = False

    async def submit(self, track: TrackSubmitted) -> Reply:
        await elapse(0.1)
        if not self.leaked:
            self.leaked = True
            raise asyncio.CancelledError
        return await super().submit(track)


def test_a_cancellation_that_nobody_asked_for_leaves_no_record_under_way_for_ever() -> None:
    """A TaskGroup takes a cancelled task for one that was meant to end."""

    async def play() -> None:
        scene = Scene(analyst=Leaking(1, seconds=5))
        scene.submit("track-0")
        worker = scene.worker()
        await elapse(600)
        assert _ended_or_done(scene, worker, 1)

    _run(play)


class LeakingPublisher(FakePublisher):
    """A library's own cancellation escapes from the first publication of all."""

    leaks: list[None]  # as many as are to come; shared with its successors

    async def publish(self, messages: Sequence[Message], commit: Committed) -> None:
        if self.leaks:
            self.leaks.pop()
            raise asyncio.CancelledError
        await super().publish(messages, commit)


def test_a_lane_that_ends_by_a_cancellation_that_nobody_asked_for_does_not_end_unnoticed() -> None:
    """Its records would be analysed and never published, and nothing would say so."""

    async def play() -> None:
        scene = Scene(analyst=FakeAnalyst(1, seconds=5))
        scene.submit("track-0")
        worker = scene.worker()
        leaks = [None]

        def new_publisher(partition: int) -> LeakingPublisher:
            publisher = LeakingPublisher(scene.broker, worker.source, partition)
            publisher.leaks = leaks
            return publisher

        worker.worker._new_publisher = new_publisher
        await elapse(600)
        assert _ended_or_done(scene, worker, 1)

    _run(play)
