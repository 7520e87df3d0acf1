"""Signals as the end of a coroutine: it is cancelled once, so that it can take down what it set up."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818 - no error: somebody wished it
    """A signal came, and the coroutine has ended. The text is the signal's name."""

    def __init__(self, caught: signal.Signals) -> None:
        super().__init__(caught.name)
        self.number = caught.value


async def until_signalled(coroutine: Coroutine[None, None, T]) -> T:
    """Run it to its end; on SIGINT, SIGTERM or SIGHUP cancel it, wait for its end and raise Interrupted.

    From then on this process ignores these signals: its end is near and bounded, and a second Ctrl-C must not leave
    processes or directories behind.
    """
    task, loop = asyncio.ensure_future(coroutine), asyncio.get_running_loop()
    caught: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if not caught:
            _unhandle(loop)
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            task.cancel()
        caught.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        raise Interrupted(caught[0]) from None
    finally:
        if not caught:
            _unhandle(loop)


def _unhandle(loop: asyncio.AbstractEventLoop) -> None:
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
