"""Signals as the end of a coroutine: it is cancelled once, so that it can take down what it set up."""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818 - no error: somebody wished it
    """A signal came, and the coroutine has ended. The text is the signal's name."""

    def __init__(self, caught: signal.Signals) -> None:
        super().__init__(caught.name)
        self.number = caught.value


async def until_signalled(coroutine: Coroutine[None, None, T]) -> T:
    """Run it to its end; on SIGINT, SIGTERM or SIGHUP cancel it, wait for its end and raise Interrupted.

    From then on these signals do nothing in this process: its end is near and bounded, and a second Ctrl-C must not
    leave processes or directories behind.
    """
    task, loop = asyncio.ensure_future(coroutine), asyncio.get_running_loop()
    caught: list[signal.Signals] = []
    arrivals = itertools.count()

    # One handler, which is never exchanged: between two of them, as with the loop's own handlers, which are removed
    # before others can be set, a further signal would find Python's, and end the cleaning up or the process.
    def interrupt(number: int, _: FrameType | None) -> None:
        if next(arrivals) == 0:  # indivisible: a signal may interrupt its own handler
            caught.append(signal.Signals(number))
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        with signals_held_back():  # one that comes between the two settings of a handler would be complained of
            for number in _SIGNALS:  # as it ends, the interpreter would set a handler of ours back to the default
                signal.signal(number, signal.SIG_IGN)
        raise Interrupted(caught[0]) from None
    finally:
        if not caught:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Let no signal reach this thread meanwhile, nor ever the threads that it starts, since they inherit its mask."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
