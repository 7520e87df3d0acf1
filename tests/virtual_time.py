"""An asyncio loop whose clock stands still while anything can run, and then jumps to the next timer.

- Hours pass in milliseconds, and in the same order every time: no test waits, none depends on the machine's speed.
- Where nothing is scheduled any more nothing can ever happen: that is a deadlock, and it is raised as one.
- Pipes and sockets are looked at but never waited for: whoever needs the network needs a real loop.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")
P = ParamSpec("P")

LIMIT_SECONDS = 24 * 3600.0  # virtual: a test that takes longer hangs
POLL_SECONDS = 0.01


class DeadlockError(Exception):
    """Every task waits, and for no timer."""


class _Selector(selectors.SelectSelector):
    """Moves the loop's clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.jump: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or self.jump is None or timeout == 0:
            return ready
        if timeout is None:
            raise DeadlockError("every task waits and nothing is scheduled")
        self.jump()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module's rules. The clock starts at 1,000: nothing may take 0 for "never"."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        self._now = 1000.0
        self.faults: list[Mapping[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))
        selector.jump = self._jump

    def time(self) -> float:
        return self._now

    def stand_still(self, seconds: float) -> None:
        """Pass time in which nothing runs: the machine slept, the process was stopped."""
        self._now += seconds

    def _jump(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # the loop's own heap
        self._now = max(self._now, timers[0].when())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time. What a callback raised unseen fails the test as well."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        result = runner.run(_bounded(coroutine))
        assert loop.faults == []
        return result


async def _bounded(coroutine: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await coroutine


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an asynchronous test one that runs in virtual time."""

    @functools.wraps(test)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return wrapped


async def elapse(seconds: float) -> None:
    """Let virtual time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "only virtual time may pass in a test"
    passed = loop.create_future()
    timer = loop.call_later(seconds, _pass, passed)
    try:
        await passed
    finally:
        timer.cancel()


def _pass(passed: asyncio.Future[None]) -> None:
    if not passed.cancelled():  # its task may be cancelled and not have run since
        passed.set_result(None)


def stand_still(seconds: float) -> None:
    """Let virtual time pass in which nothing runs, as after SIGSTOP and SIGCONT."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "only virtual time may pass in a test"
    loop.stand_still(seconds)


async def until(fact: Callable[[], object], seconds: float = 600.0) -> None:
    """Let virtual time pass until this is true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not fact():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} virtual seconds"
        await elapse(POLL_SECONDS)
